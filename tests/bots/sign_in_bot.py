"""A bot whose users sign in: OAuthPrompt, by code, by event, in Teams and by token exchange."""

from typing import Any

from botbuilder.core import ConversationState, TurnContext
from botbuilder.core.teams import TeamsActivityHandler
from botbuilder.dialogs import (
    DialogSet,
    DialogTurnResult,
    DialogTurnStatus,
    WaterfallDialog,
    WaterfallStepContext,
)
from botbuilder.dialogs.prompts import OAuthPrompt, OAuthPromptSettings

STATE_TYPES = ()

CONNECTION = "the-connection"
SETTINGS = OAuthPromptSettings(CONNECTION, "Please sign in", "Sign in", timeout=300_000)


class SignInBot(TeamsActivityHandler):
    """Asks whoever writes to sign in, and says whether they did; "logout" signs them out."""

    def __init__(self, conversation_state: ConversationState, *_: object) -> None:
        self._state = conversation_state
        self._dialogs = DialogSet(conversation_state.create_property("dialogs"))
        self._prompt = OAuthPrompt("sign in", SETTINGS)
        self._dialogs.add(self._prompt)
        self._dialogs.add(WaterfallDialog("steps", [self._ask, self._say]))

    async def on_turn(self, turn_context: TurnContext) -> None:
        await super().on_turn(turn_context)
        await self._state.save_changes(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        if turn_context.activity.text != "logout":
            await self._run(turn_context)
            return
        if hasattr(turn_context.adapter, "sign_out_user"):  # the older one
            await turn_context.adapter.sign_out_user(turn_context, CONNECTION)
        else:
            await self._prompt.sign_out_user(turn_context)
        await turn_context.send_activity("You have been signed out.")

    async def on_token_response_event(self, turn_context: TurnContext) -> None:
        await self._run(turn_context)

    async def on_teams_signin_verify_state(self, turn_context: TurnContext) -> None:
        await self._run(turn_context)

    async def _run(self, turn_context: TurnContext) -> None:
        dialogs = await self._dialogs.create_context(turn_context)
        result = await dialogs.continue_dialog()
        if result.status == DialogTurnStatus.Empty:
            await dialogs.begin_dialog("steps")

    @staticmethod
    async def _ask(step: WaterfallStepContext) -> DialogTurnResult:
        begun: DialogTurnResult = await step.begin_dialog("sign in")
        return begun

    @staticmethod
    async def _say(step: WaterfallStepContext) -> DialogTurnResult:
        result: Any = step.result
        # An event's is plain JSON, as the SDK hands it on.
        token = result.get("token") if isinstance(result, dict) else result and result.token
        await step.context.send_activity(f"Your token is {token}" if token else "Not signed in.")
        ended: DialogTurnResult = await step.end_dialog()
        return ended


create_bot = SignInBot
