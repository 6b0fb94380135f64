"""A bot of three questions, made of the SDK's own dialogs and prompts: most tests chat with it."""

from dataclasses import dataclass
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
    DialogSet,
    DialogTurnResult,
    DialogTurnStatus,
    WaterfallDialog,
    WaterfallStepContext,
)
from botbuilder.dialogs.prompts import NumberPrompt, PromptOptions, TextPrompt
from botbuilder.schema import ChannelAccount

TRANSPORT, NAME, AGE = "Which transport?", "Which name?", "Which age?"
NO_NUMBER, KEPT = "That is no number.", "Kept: "

SURVEY, LINE, NUMBER = "survey", "line", "number"


@dataclass(frozen=True)
class Answers:
    """What a user has answered; kept in the user's state after the last question."""

    transport: str
    name: str
    age: int


STATE_TYPES = (Answers,)


class SurveyBot(ActivityHandler):
    """Asks for transport, name and age: whoever joins, and at the message after the last answer."""

    def __init__(
        self,
        conversation_state: ConversationState,
        user_state: UserState,
        private_state: PrivateConversationState,
    ) -> None:
        self._bags = (conversation_state, user_state, private_state)
        self._answers = user_state.create_property(Answers.__name__)
        self._dialogs = DialogSet(conversation_state.create_property("dialogs"))
        steps = [self._ask_transport, self._ask_name, self._ask_age, self._finish]
        self._dialogs.add(WaterfallDialog(SURVEY, steps))
        self._dialogs.add(TextPrompt(LINE))
        self._dialogs.add(NumberPrompt(NUMBER))

    async def on_turn(self, turn_context: TurnContext) -> None:
        await super().on_turn(turn_context)
        for bag in self._bags:
            await bag.save_changes(turn_context)

    async def on_resumed(self, turn_context: TurnContext) -> None:
        dialogs = await self._dialogs.create_context(turn_context)
        await dialogs.reprompt_dialog()

    async def on_members_added_activity(
        self, members_added: list[ChannelAccount], turn_context: TurnContext
    ) -> None:
        if turn_context.activity.from_property.id in [member.id for member in members_added]:
            await self.on_message_activity(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        dialogs = await self._dialogs.create_context(turn_context)
        result = await dialogs.continue_dialog()
        if result.status == DialogTurnStatus.Empty:
            await dialogs.begin_dialog(SURVEY)

    async def _ask_transport(self, step: WaterfallStepContext) -> DialogTurnResult:
        return await step.prompt(LINE, PromptOptions(MessageFactory.text(TRANSPORT)))

    async def _ask_name(self, step: WaterfallStepContext) -> DialogTurnResult:
        step.values["transport"] = step.result
        return await step.prompt(LINE, PromptOptions(MessageFactory.text(NAME)))

    async def _ask_age(self, step: WaterfallStepContext) -> DialogTurnResult:
        step.values["name"] = step.result
        question, again = MessageFactory.text(AGE), MessageFactory.text(NO_NUMBER)
        return await step.prompt(NUMBER, PromptOptions(question, retry_prompt=again))

    async def _finish(self, step: WaterfallStepContext) -> DialogTurnResult:
        said: Any = step.values
        age: Any = step.result
        answers = Answers(said["transport"], said["name"], int(age))
        await self._answers.set(step.context, answers)
        await step.context.send_activity(f"{KEPT}{answers}")
        ended: DialogTurnResult = await step.end_dialog()
        return ended


create_bot = SurveyBot
