"""The names of a conversation and a user, and their place in the store."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from uuid import uuid4


@dataclass(frozen=True)
class ConversationKey:
    """The name of a conversation on its channel.

    Raises:
        ValueError: the channel id holds the separator `|`, so two keys could look the same.
    """

    channel_id: str
    conversation_id: str

    def __post_init__(self) -> None:
        if "|" in self.channel_id:
            raise ValueError("channelId must not contain '|'")

    @cached_property
    def hash(self) -> str:
        """32 hexadecimal digits, a key that a table accepts; ids may have any shape and length."""
        return sha256(f"{self.channel_id}|{self.conversation_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a conversation lives: its shard (a partition) and its key within it."""

    shard: str
    key: str


def new_session_id() -> str:
    """An id for one life of a conversation."""
    return uuid4().hex[:16]


def life_of(session: str) -> str:
    """The life that a session belongs to: a session that is resumed has another id, and its life.

    What names a life counts again once its session is resumed. Due rows name sessions, so an old
    one never stands for the session that goes on.
    """
    return session.partition(".")[0]


def resumed_session_id(session: str) -> str:
    """The id of a session that goes on with the life of this one."""
    life, _, number = session.partition(".")
    return f"{life}.{int(number) + 1 if number.isdecimal() else 1}"


def user_hash(channel_id: str, user_id: str) -> str:
    """The hash of a user, for keys: 32 hexadecimal digits of channel and user id."""
    name = f"{channel_id}/users/{user_id}"
    content = name.encode()
    if name.index("/users/") != len(channel_id):
        # The channel id holds the separator itself, so another pair has the same name. All other
        # hashes stay as they are in stored rows: none of them is made of a byte that no text has.
        content = b"\xff%d|" % len(channel_id) + content
    return sha256(content).hexdigest()[:32]


def tenant_hash(channel_id: str, tenant_id: str) -> str:
    """The hash of a tenant of a channel, for keys: 32 hexadecimal digits."""
    return sha256(f"{channel_id}/tenants/{tenant_id}".encode()).hexdigest()[:32]


def shard_name(number: int) -> str:
    """The name of a shard; `number` counts from 0."""
    return f"s{number:03d}"


def address_of(key: str, shard_count: int) -> Address:
    """The place of a conversation in a store with this number of shards.

    `key` is `ConversationKey.hash`; or the user's hash, for the due row of an erasure.
    """
    return Address(shard_name(int(key[:4], 16) % shard_count), key)
