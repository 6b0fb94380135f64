"""Where an activity comes from, as a value of the domain."""

from typing import Any

from botbuilder.schema import (
    Activity,
    ChannelAccount,
    ConversationAccount,
    ConversationReference,
)

from shared.domain.reference import Account, Reference


def reference_of(activity: Activity) -> Reference:
    """What it takes to reach the activity's conversation later.

    A group's names no user: its notice goes to the group, not to who spoke last.
    """
    where = activity.conversation
    return Reference(
        channel=activity.channel_id,
        service_url=activity.service_url,
        conversation_id=where.id,
        is_group=where.is_group,
        conversation_type=where.conversation_type,
        tenant=_tenant_of(where),
        user=None if where.is_group else _account(activity.from_property),
        bot=_account(activity.recipient),
        # The adapter sets it for authenticated callers, and removes what others sent.
        is_anonymous=activity.caller_id is None,
    )


def conversation_reference(reference: Reference) -> ConversationReference:
    """A stored reference, as the SDK has it."""
    accounts: dict[str, Any] = {
        "user": channel_account(reference.user),
        "bot": channel_account(reference.bot),
    }
    return ConversationReference(
        channel_id=reference.channel,
        service_url=reference.service_url,
        conversation=conversation_of(reference),
        **accounts,
    )


def conversation_of(reference: Reference) -> ConversationAccount:
    """The conversation of a stored reference, as activities name it."""
    fields: dict[str, Any] = {  # which may be None, whatever the SDK's annotations say
        "is_group": reference.is_group,
        "conversation_type": reference.conversation_type,
        "tenant_id": reference.tenant,
    }
    where = ConversationAccount(id=reference.conversation_id, **fields)
    where.additional_properties = {**reference.conversation_others}
    return where


def channel_account(account: Account | None) -> ChannelAccount | None:
    """A stored account, as activities name it."""
    if account is None:
        return None
    fields: dict[str, Any] = {"aad_object_id": account.aad_object_id, "role": account.role}
    named = ChannelAccount(id=account.id, **fields)
    named.additional_properties = {**account.others}
    return named


def _tenant_of(where: ConversationAccount) -> str | None:
    """The conversation's tenant: the SDK knows it by another name than Teams sends it by."""
    return where.tenant_id or (where.additional_properties or {}).get("tenantId")


def _account(account: ChannelAccount | None) -> Account | None:
    if account is None:
        return None
    return Account(id=account.id, aad_object_id=account.aad_object_id, role=account.role)
