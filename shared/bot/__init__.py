"""The bot and its dialogs: what a user of this project replaces."""

from botbuilder.core import Bot, ConversationState, PrivateConversationState, UserState

from shared.bot.sample.dialog_bot import DialogBot
from shared.bot.sample.profile_dialog import ProfileDialog
from shared.bot.sample.user_profile import UserProfile

__all__ = ["STATE_TYPES", "create_bot"]

# Dataclasses your dialogs put into state. Types that are not listed here are refused on saving.
STATE_TYPES: tuple[type, ...] = (UserProfile,)


def create_bot(
    conversation_state: ConversationState,
    user_state: UserState,
    private_state: PrivateConversationState,
) -> Bot:
    """Returns the bot of this app; called once per process.

    To run your own dialog, put it where ProfileDialog is, and its dataclasses into STATE_TYPES.
    It serves all conversations at once and may run twice for one message: keep what it learns in
    the states, never on `self`.
    """
    return DialogBot(ProfileDialog(user_state), conversation_state, user_state, private_state)
