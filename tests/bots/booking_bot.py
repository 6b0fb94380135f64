"""A bot of nested dialogs that books a journey; "help" interrupts them, "cancel" ends them."""

from typing import Any

from botbuilder.core import (
    ActivityHandler,
    ConversationState,
    MessageFactory,
    PrivateConversationState,
    TurnContext,
    UserState,
)
from botbuilder.dialogs import (
    ComponentDialog,
    DialogContext,
    DialogExtensions,
    DialogTurnResult,
    DialogTurnStatus,
    WaterfallDialog,
    WaterfallStepContext,
)
from botbuilder.dialogs.choices import Choice
from botbuilder.dialogs.prompts import ChoicePrompt, ConfirmPrompt, PromptOptions, TextPrompt
from botbuilder.schema import ChannelAccount


class Booking:
    """What is asked for: a plain class, kept in the dialog's state."""

    def __init__(self) -> None:
        self.destination = self.travel_class = ""


STATE_TYPES = (Booking,)


def asked(text: str, *choices: str) -> PromptOptions:
    return PromptOptions(
        prompt=MessageFactory.text(text),
        retry_prompt=MessageFactory.text(f"Please answer: {text}"),
        choices=[Choice(each) for each in choices],
    )


class Interruptible(ComponentDialog):
    """A dialog that answers "help", and that "cancel" ends with all dialogs below it."""

    async def on_continue_dialog(self, inner_dc: DialogContext) -> DialogTurnResult:
        match (inner_dc.context.activity.text or "").lower():
            case "help":
                await inner_dc.context.send_activity("Show help here.")
                return DialogTurnResult(DialogTurnStatus.Waiting)
            case "cancel":
                await inner_dc.context.send_activity("Cancelling.")
                ended: DialogTurnResult = await inner_dc.cancel_all_dialogs()
                return ended
        return await super().on_continue_dialog(inner_dc)


class BookingDialog(Interruptible):
    """Asks where to, in which class, and whether that is right; ends with the booking."""

    def __init__(self) -> None:
        super().__init__("booking")
        steps = [self._ask_where, self._ask_class, self._confirm, self._finish]
        self.add_dialog(WaterfallDialog("steps", steps))  # the first one is where it begins
        for prompt in (TextPrompt("text"), ChoicePrompt("choice"), ConfirmPrompt("confirm")):
            self.add_dialog(prompt)

    async def _ask_where(self, step: WaterfallStepContext) -> DialogTurnResult:
        step.values["booking"] = Booking()
        return await step.prompt("text", asked("Where to?"))

    async def _ask_class(self, step: WaterfallStepContext) -> DialogTurnResult:
        booking: Any = step.values
        booking["booking"].destination = step.result
        return await step.prompt("choice", asked("Which class?", "first", "second"))

    async def _confirm(self, step: WaterfallStepContext) -> DialogTurnResult:
        said: Any = step
        booking = said.values["booking"]
        booking.travel_class = said.result.value
        question = f"To {booking.destination}, {booking.travel_class} class: is that right?"
        return await step.prompt("confirm", asked(question))

    async def _finish(self, step: WaterfallStepContext) -> DialogTurnResult:
        said: Any = step
        result = said.values["booking"] if said.result else None
        ended: DialogTurnResult = await step.end_dialog(result)
        return ended


class MainDialog(ComponentDialog):
    """Offers a journey, books it, and offers the next."""

    def __init__(self) -> None:
        super().__init__("main")
        self.add_dialog(WaterfallDialog("steps", [self._offer, self._book, self._say]))
        self.add_dialog(TextPrompt("text"))
        self.add_dialog(BookingDialog())

    async def _offer(self, step: WaterfallStepContext) -> DialogTurnResult:
        what: Any = step.options
        return await step.prompt("text", asked(what or "What can I help you with today?"))

    async def _book(self, step: WaterfallStepContext) -> DialogTurnResult:
        begun: DialogTurnResult = await step.begin_dialog("booking")
        return begun

    async def _say(self, step: WaterfallStepContext) -> DialogTurnResult:
        booking: Any = step.result
        if booking:
            await step.context.send_activity(f"Booked: {booking.destination}.")
        again: DialogTurnResult = await step.replace_dialog("main", "What else can I do for you?")
        return again


class BookingBot(ActivityHandler):
    """Runs the dialog at each message, and when somebody joins."""

    def __init__(
        self,
        conversation_state: ConversationState,
        user_state: UserState,
        private_state: PrivateConversationState,
    ) -> None:
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
