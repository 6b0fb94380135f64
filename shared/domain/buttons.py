"""What a press of one of our buttons brings back: the `value` of a message."""

from typing import Any, Final

# The button of a warning: keep the conversation.
STAY: Final = {"expiry": "stay"}

_RESUME: Final = "resume"


def asks_to_stay(value: object) -> bool:
    """Whether the value of a message is that of a warning's button."""
    return isinstance(value, dict) and value.get("expiry") == STAY["expiry"]


def resume_value(session: str) -> dict[str, Any]:
    """The value of the button that resumes this session."""
    return {"expiry": _RESUME, "session": session}


def session_to_resume(value: object) -> str | None:
    """The session whose button was pressed, from outside: any text; None: it is no such press."""
    if not isinstance(value, dict) or value.get("expiry") != _RESUME:
        return None
    session = value.get("session")
    return session if isinstance(session, str) else ""
