"""The sample conversation: a few questions, a look at the answers, a profile."""

from collections.abc import Mapping, Sequence
from typing import Any

from botbuilder.core import MessageFactory, UserState
from botbuilder.dialogs import (
    ComponentDialog,
    DialogTurnResult,
    WaterfallDialog,
    WaterfallStepContext,
)
from botbuilder.dialogs.choices import Choice
from botbuilder.dialogs.prompts import PromptOptions
from botbuilder.schema import Activity, InputHints, TextFormatTypes
from botframework.connector import Channels

from shared.authors import end_conversation
from shared.bot.sample.prompts import (
    NO,
    YES,
    EnglishChoicePrompt,
    LinePrompt,
    PicturePrompt,
    WholeNumberPrompt,
)
from shared.bot.sample.user_profile import UserProfile

TRANSPORTS = [Choice("Car"), Choice("Bus"), Choice("Bicycle")]
LONGEST_NAME = 100  # characters
LOWEST_AGE, HIGHEST_AGE = 1, 149  # years

# The ids of the prompts are stored with a conversation that waits for an answer.
CHOICE, NAME, AGE, PICTURE = "choice", "name", "age", "picture"


class ProfileDialog(ComponentDialog):
    """Asks for transport, name, age and picture; keeps the profile if the user confirms it.

    One instance serves all conversations at once, and a step may run twice for one message (when
    another message changed the conversation meanwhile). So nothing is kept on `self`: the answers
    so far are in the step's `values`, which are part of the conversation state.
    """

    def __init__(self, user_state: UserState) -> None:
        super().__init__(ProfileDialog.__name__)
        self._profile = user_state.create_property(UserProfile.__name__)
        steps = [
            self._ask_transport,
            self._ask_name,
            self._ask_whether_to_give_age,
            self._ask_age,
            self._ask_picture,
            self._ask_whether_ok,
            self._finish,
        ]
        self.add_dialog(WaterfallDialog(WaterfallDialog.__name__, steps))  # the first one begins
        self.add_dialog(EnglishChoicePrompt(CHOICE))
        self.add_dialog(LinePrompt(NAME, longest=LONGEST_NAME))
        self.add_dialog(WholeNumberPrompt(AGE, lowest=LOWEST_AGE, highest=HIGHEST_AGE))
        self.add_dialog(PicturePrompt(PICTURE))

    async def _ask_transport(self, step: WaterfallStepContext) -> DialogTurnResult:
        question = _question(
            "Which transport do you use: car, bus or bicycle?",
            "Please choose a transport: car, bus or bicycle.",
            TRANSPORTS,
        )
        return await step.prompt(CHOICE, question)

    async def _ask_name(self, step: WaterfallStepContext) -> DialogTurnResult:
        step.values["transport"] = step.result
        question = _question(
            "What is your name?", f"Please give a name of 1 to {LONGEST_NAME} characters."
        )
        return await step.prompt(NAME, question)

    async def _ask_whether_to_give_age(self, step: WaterfallStepContext) -> DialogTurnResult:
        step.values["name"] = step.result
        question = _question(
            "Would you like to give your age (yes or no)?",
            "Please answer yes or no: would you like to give your age?",
            [YES, NO],
        )
        return await step.prompt(CHOICE, question)

    async def _ask_age(self, step: WaterfallStepContext) -> DialogTurnResult:
        if step.result != YES.value:
            return await step.next(None)
        question = _question(
            "What is your age?",
            f"Please give your age as a whole number from {LOWEST_AGE} to {HIGHEST_AGE}.",
        )
        return await step.prompt(AGE, question)

    async def _ask_picture(self, step: WaterfallStepContext) -> DialogTurnResult:
        step.values["age"] = step.result
        if step.result is not None:
            await step.context.send_activity(f"I have your age as {step.result}.")
        # Teams delivers an uploaded file only to bots that ask for it with a consent card.
        if step.context.activity.channel_id == Channels.ms_teams:
            return await step.next(None)
        question = _question(
            "Please attach a picture of yourself (JPEG or PNG), or type anything to skip this.",
            "That is not a JPEG or PNG picture. Attach one, or type anything to skip this.",
        )
        return await step.prompt(PICTURE, question)

    async def _ask_whether_ok(self, step: WaterfallStepContext) -> DialogTurnResult:
        step.values["picture"] = step.result
        question = _question(
            f"{_profile(step.values).describe()}. Is this ok?",
            "Please answer yes or no. Is this ok?",
            [YES, NO],
        )
        return await step.prompt(CHOICE, question)

    async def _finish(self, step: WaterfallStepContext) -> DialogTurnResult:
        profile = _profile(step.values)
        if step.result == YES.value:
            # The only use of UserState: turns that do not touch it cost no storage request for it.
            await self._profile.set(step.context, profile)
            await step.context.send_activity(_plain(f"Your profile is kept: {profile.describe()}."))
        else:
            await step.context.send_activity(_plain(f"All right, {profile.name}: nothing is kept."))
        end_conversation(step.context)  # nobody is told that a finished conversation has expired
        ended: DialogTurnResult = await step.end_dialog()
        return ended


def _question(text: str, retry: str, choices: Sequence[Choice] = ()) -> PromptOptions:
    hint = InputHints.expecting_input  # a channel with speech opens the microphone
    return PromptOptions(
        prompt=_plain(text, hint),
        retry_prompt=_plain(retry, hint),
        choices=list(choices),
    )


def _plain(text: str, hint: InputHints = InputHints.accepting_input) -> Activity:
    """A text in which nothing is markup: it may hold what the user has typed."""
    message: Activity = MessageFactory.text(text, input_hint=hint)
    message.text_format = TextFormatTypes.plain
    return message


def _profile(answers: Mapping[str, Any]) -> UserProfile:
    return UserProfile(**answers)
