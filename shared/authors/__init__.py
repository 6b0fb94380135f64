"""The module for authors of bots: the effect of an activity, and the end of a conversation."""

from enum import Enum

from botbuilder.core import TurnContext

_ENDED = "shared.authors.ended"


class Effect(Enum):
    """What an activity does to the session of its conversation.

    A session is one life of a conversation: from its first word to its expiry.
    """

    OPENS = "opens a session, or keeps one alive"
    KEEPS_ALIVE = "keeps a session alive; opens none"
    NONE = "does neither"


def end_conversation(turn_context: TurnContext) -> None:
    """End this conversation with this turn: its state is cleared, and no notice follows.

    Conversation state and private state are cleared when the turn is saved. User state stays. The
    same happens when the bot sends an `endOfConversation` activity; this is for channels whose
    clients do not know that type.
    """
    turn_context.turn_state[_ENDED] = True


def has_ended(turn_context: TurnContext) -> bool:
    """Whether the bot called `end_conversation` in this turn."""
    return _ENDED in turn_context.turn_state
