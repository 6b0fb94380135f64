"""Where an activity comes from, as a value of the domain."""

from botbuilder.schema import Activity, ChannelAccount, ConversationAccount

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


def _tenant_of(where: ConversationAccount) -> str | None:
    """The conversation's tenant: the SDK knows it by another name than Teams sends it by."""
    return where.tenant_id or (where.additional_properties or {}).get("tenantId")


def _account(account: ChannelAccount | None) -> Account | None:
    if account is None:
        return None
    return Account(id=account.id, aad_object_id=account.aad_object_id, role=account.role)
