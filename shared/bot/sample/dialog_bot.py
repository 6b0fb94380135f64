"""A bot that answers each message by running one dialog."""

from botbuilder.core import ActivityHandler, BotState, ConversationState, TurnContext
from botbuilder.dialogs import Dialog, DialogContext, DialogSet, DialogState, DialogTurnStatus

from shared.bot.sample.mentions import text_to_bot


class DialogBot(ActivityHandler):
    """Runs `dialog` on every message, from its beginning if it is not under way.

    Activities other than messages are ActivityHandler's to route: override its `on_..._activity`.
    """

    def __init__(
        self, dialog: Dialog, conversation_state: ConversationState, *other_states: BotState
    ) -> None:
        self._dialog_id = dialog.id
        self._dialogs = DialogSet(conversation_state.create_property(DialogState.__name__))
        self._dialogs.add(dialog)
        self._states = (conversation_state, *other_states)

    async def on_turn(self, turn_context: TurnContext) -> None:
        """Handles the activity, then saves the states it changed."""
        await super().on_turn(turn_context)
        await self._save(turn_context)

    async def on_resumed(self, turn_context: TurnContext) -> None:
        """Asks the last question again, or begins the dialog, then saves the states it changed."""
        context = await self._dialog_context(turn_context)
        if context.active_dialog:
            await context.reprompt_dialog()
        else:
            await context.begin_dialog(self._dialog_id)
        await self._save(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        """Goes on with the dialog, or begins it."""
        turn_context.activity.text = text_to_bot(turn_context.activity)
        context = await self._dialog_context(turn_context)
        result = await context.continue_dialog()
        if result.status == DialogTurnStatus.Empty:
            await context.begin_dialog(self._dialog_id)

    async def _dialog_context(self, turn_context: TurnContext) -> DialogContext:
        # DialogExtensions.run_dialog does this too, but sends a trace with a copy of all state.
        context: DialogContext = await self._dialogs.create_context(turn_context)
        active = context.active_dialog
        if active and not await context.find_dialog(active.id):
            # Left from a dialog this bot had before a deployment: going on would raise every time.
            context.stack.clear()
        return context

    async def _save(self, turn_context: TurnContext) -> None:
        for state in self._states:
            await state.save_changes(turn_context)
