"""Reads an activity: the fingerprint of its copies, and how to reach its user later."""

from dataclasses import replace
from hashlib import sha256

from botbuilder.schema import Activity, ActivityTypes

from shared.connector.references import reference_of
from shared.domain.conversation import Conversation

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
    reference = reference_of(activity)
    if not is_from_user and not reference.is_group:
        known = session.reference.user if session.reference else None
        reference = replace(reference, user=known)
    return replace(session, reference=reference, locale=activity.locale or session.locale)
