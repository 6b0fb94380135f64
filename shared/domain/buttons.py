"""What a press of one of our buttons brings back: the `value` of a message."""

from typing import Final

# The button of a warning: keep the conversation.
STAY: Final = {"expiry": "stay"}


def asks_to_stay(value: object) -> bool:
    """Whether the value of a message is that of a warning's button."""
    return isinstance(value, dict) and value.get("expiry") == STAY["expiry"]
