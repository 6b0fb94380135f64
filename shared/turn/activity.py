"""What an activity says: who it is from, what tells its copies, how to reach its user later."""

from dataclasses import replace
from hashlib import sha256

from botbuilder.schema import Activity, ActivityTypes

from shared.connector.references import reference_of
from shared.domain.conversation import Conversation

_WITH_UNIQUE_IDS = {ActivityTypes.message, ActivityTypes.invoke, ActivityTypes.event}


def hash_of(activity: Activity) -> str:
    """What tells copies of one activity; empty if nothing does.

    An edited message keeps its id, so other kinds than these need their timestamp to tell.
    """
    parts = [activity.type, activity.id]
    if activity.type not in _WITH_UNIQUE_IDS:
        parts.append(activity.timestamp and activity.timestamp.isoformat())
    if not all(parts):
        return ""
    return sha256("|".join(parts).encode()).hexdigest()[:16]


def with_reference(
    session: Conversation, activity: Activity, *, is_from_user: bool
) -> Conversation:
    """The session with what it takes to reach the user later: service URLs change."""
    reference = reference_of(activity)
    if not is_from_user and not reference.is_group:
        known = session.reference.user if session.reference else None
        reference = replace(reference, user=known)
    return replace(session, reference=reference, locale=activity.locale or session.locale)
