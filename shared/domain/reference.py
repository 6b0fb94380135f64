"""The reference that reaches a conversation later, as its row and its dead letter keep it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.domain.identity import user_hash


class ConversationType(StrEnum):
    """The kinds of conversations, in the words of Teams."""

    PERSONAL = "personal"
    GROUP_CHAT = "groupChat"
    CHANNEL = "channel"


_TYPES = {each.value: each for each in ConversationType}


@dataclass(frozen=True, slots=True)
class Account:
    """A user or the bot, by ids only: names are personal data that no notice needs.

    `others` are the fields of the stored JSON that this code does not know; they stay there.
    """

    id: str
    aad_object_id: str | None = None
    role: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Account":
        """The account in stored JSON.

        Raises:
            KeyError: there is no id.
        """
        return cls(
            id=stored["id"],
            aad_object_id=stored.get("aadObjectId"),
            role=stored.get("role"),
            others=_without(stored, "id", "aadObjectId", "role"),
        )

    def to_json(self) -> dict[str, Any]:
        """The account as it is stored."""
        known = _present(id=self.id, aadObjectId=self.aad_object_id, role=self.role)
        return {**known, **self.others}


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a conversation is, and who is in it: the Bot Framework's ConversationReference.

    Attributes:
        channel: the channel's id.
        service_url: the address to send to; the channel may move it.
        conversation_id: the channel's id of the conversation; in Teams, of the thread.
        is_group: whether there are several users; None: the channel did not say.
        conversation_type: the channel's word for the kind, if it gave one.
        tenant: the id of the Microsoft Entra tenant, if there is one.
        user: who gets the notice; None in a group, whose notice goes to all.
        bot: the bot's account.
        is_anonymous: whether nobody checked the caller that named the service URL. Rows from
            before this mark count as checked.
        others: fields of the stored JSON that this code does not know; they stay there.
        conversation_others: the same, of the field `conversation`.
    """

    channel: str
    service_url: str
    conversation_id: str
    is_group: bool | None = None
    conversation_type: str | None = None
    tenant: str | None = None
    user: Account | None = None
    bot: Account | None = None
    is_anonymous: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)
    conversation_others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> ConversationType:
        """The kind of the conversation; where the channel gives no word, by `is_group`."""
        otherwise = ConversationType.GROUP_CHAT if self.is_group else ConversationType.PERSONAL
        return _TYPES.get(self.conversation_type or "", otherwise)

    @property
    def user_hash(self) -> str:
        """The hash of its user; empty for a group's."""
        return user_hash(self.channel, self.user.id) if self.user else ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Reference":
        """The reference in stored JSON.

        Raises:
            KeyError: the channel, the service URL or an id is missing.
        """
        where, user, bot = stored["conversation"], stored.get("user"), stored.get("bot")
        return cls(
            channel=stored["channelId"],
            service_url=stored["serviceUrl"],
            conversation_id=where["id"],
            is_group=where.get("isGroup"),
            conversation_type=where.get("conversationType"),
            tenant=where.get("tenantId"),
            user=Account.from_json(user) if user else None,
            bot=Account.from_json(bot) if bot else None,
            is_anonymous=bool(stored.get("isAnonymous")),
            others=_without(
                stored,
                *("channelId", "serviceUrl", "user", "bot", "conversation", "isAnonymous"),
            ),
            conversation_others=_without(where, "id", "isGroup", "conversationType", "tenantId"),
        )

    def to_json(self) -> dict[str, Any]:
        """The reference as it is stored, with its fields in the order of all earlier rows."""
        where = _present(
            id=self.conversation_id,
            isGroup=self.is_group,
            conversationType=self.conversation_type,
            tenantId=self.tenant,
        )
        known = _present(
            channelId=self.channel,
            serviceUrl=self.service_url,
            user=self.user.to_json() if self.user else None,
            bot=self.bot.to_json() if self.bot else None,
            conversation={**where, **self.conversation_others},
            isAnonymous=self.is_anonymous or None,
        )
        return {**known, **self.others}


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _without(stored: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name not in names}
