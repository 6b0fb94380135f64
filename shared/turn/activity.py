"""Reads an activity: the fingerprint of its copies, and how to reach its user later."""

from hashlib import sha256

from botbuilder.schema import Activity, ActivityTypes

from shared.connector.references import reference_of
from shared.domain.conversation import Conversation
from shared.domain.values import replace

_WITH_UNIQUE_IDS = {ActivityTypes.message, ActivityTypes.invoke, ActivityTypes.event}


def hash_of(activity: Activity) -> str:
    """A fingerprint that two copies of one activity share; empty if the activity has no id.

    An edited message keeps its id. So activities of other types than these need their timestamp.
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
    """The session with the newest reference to its user: service URLs change."""
    reference, known = reference_of(activity), session.reference
    if not is_from_user and not reference.is_group:
        reference = replace(reference, user=known.user if known else None)
    if known and not reference.conversation_type:  # some kinds of activities do not say it
        reference = replace(reference, conversation_type=known.conversation_type)
    return replace(session, reference=reference, locale=activity.locale or session.locale)
