"""The ids of messages that a turn keeps in state before the channel has given them.

A message goes out after its turn's commit, so what the bot keeps is a placeholder. Once the channel
has given the id, one more write puts it in the placeholder's place.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal
from uuid import uuid4

from shared.domain.conversation import Conversation, PrivateState, Status
from shared.domain.errors import ConflictError
from shared.domain.identity import Address, life_of
from shared.domain.store import StateStore
from shared.state import codec

BagName = Literal["conversation", "private", "user"]

# Writes of one row that others may spoil. Each of them has saved something, so this ends.
_MOST_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class KeptIds:
    """Which bags hold placeholders of a turn's messages: of this life, and of this user."""

    bags: Collection[BagName]
    session: str
    user: str


async def put_ids(
    store: StateStore,
    address: Address,
    kept: KeptIds,
    ids: Mapping[str, str],
    saved: Conversation | None = None,
) -> None:
    """Write the ids that the channel gave in the place of their placeholders.

    Whatever others have saved meanwhile stays. A session that is over is left alone.

    Args:
        store: the store of the rows.
        address: the conversation's.
        kept: where the placeholders are.
        ids: by placeholder.
        saved: the conversation's row as the turn saved it, which saves a read; None: not known.

    Raises:
        ConflictError: others were faster each time.
        StateDecodeError: a bag is damaged.
        StoreError: any other reason not to write. A placeholder that stays stands for nothing.
    """
    for attempt in range(_MOST_ATTEMPTS):
        with suppress(ConflictError):
            if not {"conversation", "private"}.isdisjoint(kept.bags):
                await _put_in_session(store, address, kept, ids, None if attempt else saved)
            if "user" in kept.bags:
                await _put_in_user(store, kept.user, ids)
            return
    raise ConflictError("others were faster each time")


async def _put_in_session(
    store: StateStore,
    address: Address,
    kept: KeptIds,
    ids: Mapping[str, str],
    row: Conversation | None,
) -> None:
    row = row or await store.load(address)
    if row is None or row.life != life_of(kept.session) or row.status is not Status.ACTIVE:
        return
    private: list[PrivateState] = []
    if "private" in kept.bags and row.has_private:
        bag = await store.load_private(row, kept.user)
        private = [replace(bag, state=await _with_ids(bag.state, ids), version=_new_version())]
        private = [each for each in private if each.state != bag.state]
    before = row.state or b""
    state = await _with_ids(before, ids)
    if state != before:
        # Whoever has read the placeholder over REST must not write it back.
        row = replace(row, state=state, state_version=_new_version())
    elif not private:
        return
    await store.save(row, private=private)


async def _put_in_user(store: StateStore, user: str, ids: Mapping[str, str]) -> None:
    """The same in the user's row. Which of its two states counts is not touched."""
    row = await store.load_user(user)
    if row is None:
        return
    state, before = await _with_ids(row.state, ids), await _with_ids(row.before, ids)
    if (state, before) != (row.state, row.before):
        await store.save_user(user, replace(row, state=state, before=before))


async def _with_ids(packed: bytes, ids: Mapping[str, str]) -> bytes:
    if len(packed) > codec.LARGE_BYTES:
        return await asyncio.to_thread(codec.with_ids, packed, ids)
    return codec.with_ids(packed, ids)


def _new_version() -> str:
    return uuid4().hex[:16]
