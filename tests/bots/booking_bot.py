"""A bot of nested dialogs that books a journey; "help" interrupts them, "cancel" ends them."""

from typing import Any

from botbuilder.core import ActivityHandler, ConversationState, MessageFactory, TurnContext
from botbuilder.dialogs import (
    ComponentDialog,
    DialogContext,
    DialogExtensions,
    DialogTurnResult,
    DialogTurnStatus,
    WaterfallDialog,
)
from botbuilder.dialogs.choices import Choice
from botbuilder.dialogs.prompts import ChoicePrompt, ConfirmPrompt, PromptOptions, TextPrompt
from botbuilder.schema import ChannelAccount


class Booking:
    """What is asked for: a plain class, kept in the dialog's state."""

    def __init__(self) -> None:
        self.where = self.travel_class = ""


STATE_TYPES = (Booking,)


def asked(text: str, *choices: str) -> PromptOptions:
    retry = MessageFactory.text(f"Please answer: {text}")
    return PromptOptions(MessageFactory.text(text), retry, [Choice(each) for each in choices])


class BookingDialog(ComponentDialog):
    """Asks where to and in which class, and whether that is right; ends with the booking."""

    def __init__(self) -> None:
        super().__init__("booking")
        steps = [self._ask_where, self._ask_class, self._confirm, self._finish]
        self.add_dialog(WaterfallDialog("steps", steps))  # it begins with the first one added
        for prompt in (TextPrompt("text"), ChoicePrompt("choice"), ConfirmPrompt("confirm")):
            self.add_dialog(prompt)

    async def on_continue_dialog(self, inner_dc: DialogContext) -> Any:
        match inner_dc.context.activity.text:
            case "help":
                await inner_dc.context.send_activity("Show help here.")
                return DialogTurnResult(DialogTurnStatus.Waiting)
            case "cancel":
                await inner_dc.context.send_activity("Cancelling.")
                return await inner_dc.cancel_all_dialogs()
        return await super().on_continue_dialog(inner_dc)

    async def _ask_where(self, step: Any) -> Any:
        step.values["booking"] = Booking()
        return await step.prompt("text", asked("Where to?"))

    async def _ask_class(self, step: Any) -> Any:
        step.values["booking"].where = step.result
        return await step.prompt("choice", asked("Which class?", "first", "second"))

    async def _confirm(self, step: Any) -> Any:
        booking = step.values["booking"]
        booking.travel_class = step.result.value
        question = f"To {booking.where}, {booking.travel_class} class: is that right?"
        return await step.prompt("confirm", asked(question))

    async def _finish(self, step: Any) -> Any:
        return await step.end_dialog(step.values["booking"] if step.result else None)


class MainDialog(ComponentDialog):
    """Offers a journey, books it, and offers the next."""

    def __init__(self) -> None:
        super().__init__("main")
        self.add_dialog(WaterfallDialog("steps", [self._offer, self._book, self._say]))
        self.add_dialog(TextPrompt("text"))
        self.add_dialog(BookingDialog())

    async def _offer(self, step: Any) -> Any:
        return await step.prompt("text", asked(step.options or "What can I help you with today?"))

    async def _book(self, step: Any) -> Any:
        return await step.begin_dialog("booking")

    async def _say(self, step: Any) -> Any:
        if step.result:
            await step.context.send_activity(f"Booked: {step.result.where}.")
        return await step.replace_dialog("main", "What else can I do for you?")


class BookingBot(ActivityHandler):
    """Runs the dialog at each message, and when somebody joins."""

    def __init__(self, conversation_state: ConversationState, *_: object) -> None:
        self._state = conversation_state
        self._place = conversation_state.create_property("place")
        self._dialog = MainDialog()

    async def on_turn(self, turn_context: TurnContext) -> None:
        await super().on_turn(turn_context)
        await self._state.save_changes(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        await DialogExtensions.run_dialog(self._dialog, turn_context, self._place)

    async def on_members_added_activity(
        self, members_added: list[ChannelAccount], turn_context: TurnContext
    ) -> None:
        await self.on_message_activity(turn_context)


create_bot = BookingBot
