"""What an activity says: who it is from, what tells its copies, how to reach its user later."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

from botbuilder.schema import Activity, ActivityTypes, ChannelAccount

from shared.connector.service_urls import tenant_of
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
    where = activity.conversation
    user = _account(activity.from_property)
    if not is_from_user:
        user = session.reference.get("user") if session.reference else None
    reference = {
        "channelId": activity.channel_id,
        "serviceUrl": activity.service_url,
        # A group's notice goes to the group, not to who spoke last.
        "user": None if where.is_group else user,
        "bot": _account(activity.recipient),
        "conversation": _present(
            id=where.id,
            isGroup=where.is_group,
            conversationType=where.conversation_type,
            tenantId=tenant_of(where),
        ),
    }
    return replace(
        session, reference=_present(**reference), locale=activity.locale or session.locale
    )


def _account(account: ChannelAccount | None) -> dict[str, Any] | None:
    """Ids only: names are personal data that no notice needs."""
    if account is None:
        return None
    return _present(id=account.id, aadObjectId=account.aad_object_id, role=account.role)


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
