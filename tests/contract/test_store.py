"""What every store does: on Azurite, with Cosmos DB or without, and in memory."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.conversation import Conversation, Participant, PrivateState, Status, TakenTurn
from shared.domain.errors import (
    ConflictError,
    NewerRowError,
    StateTooLargeError,
    StateUnreadableError,
    StorageUnavailableError,
)
from shared.domain.identity import ConversationKey, address_of, user_hash
from shared.domain.reference import Account, Reference
from shared.domain.store import StateStore
from shared.domain.sweep_record import SweepRecord
from shared.domain.times import due_seconds
from shared.domain.timing import NEVER, OwnTiming, Timing
from shared.domain.users import UserRow
from shared.domain.work import DeadLetter, DueRow
from shared.storage.cosmos_documents import Container
from shared.storage.cosmos_memory import DocumentMemory
from shared.storage.cosmos_store import CosmosStore
from shared.storage.cosmos_time_to_live_store import TimeToLiveStore
from shared.storage.table_account import Tables
from shared.storage.table_store import MAX_ROW_BYTES, TableStore
from shared.storage.tables import Operation, Row, Table
from tests.memory_container import MemoryContainer
from tests.memory_table import MemoryTable

SHARDS = 3
NOW = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)
DUE = int(NOW.timestamp())


@pytest.fixture(params=["azurite", "memory"])
def tables(request: pytest.FixtureRequest) -> tuple[Table, Table]:
    if request.param == "memory":
        return MemoryTable(), MemoryTable()
    pair: tuple[Table, Table] = request.getfixturevalue("two_azure_tables")
    return pair


@pytest.fixture
def containers(
    request: pytest.FixtureRequest, tables: tuple[Table, Table]
) -> tuple[Container, Container]:
    if isinstance(tables[0], MemoryTable):
        return MemoryContainer(), MemoryContainer()
    pair: tuple[Container, Container] = request.getfixturevalue("two_cosmos_containers")
    return pair


def store_of(kind: str, request: pytest.FixtureRequest) -> TableStore:
    tables: tuple[Table, Table] = request.getfixturevalue("tables")
    if kind == "rows":
        return TableStore(*tables, SHARDS)
    documents, user_documents = request.getfixturevalue("containers")
    return CosmosStore(
        *tables,
        SHARDS,
        documents=documents,
        user_documents=user_documents,
        memory=DocumentMemory(timedelta(seconds=160)),
        spare_time=lambda: timedelta(0),
    )


@pytest.fixture(params=["rows", "documents"])
def store(request: pytest.FixtureRequest, tables: tuple[Table, Table]) -> TableStore:
    del tables  # whose kinds are this fixture's too
    return store_of(request.param, request)


@pytest.fixture(params=["rows", "documents", "documents alone"])
def state_store(request: pytest.FixtureRequest, tables: tuple[Table, Table]) -> StateStore:
    """What is enough for turns: the kinds of `store`, and the one without a sweep."""
    del tables
    if request.param == "documents alone":
        conversations, users = request.getfixturevalue("containers")
        return TimeToLiveStore(conversations, users, SHARDS)
    return store_of(request.param, request)


# Bags that are no rows have no chunks and no keys of theirs.
rows_only = pytest.mark.parametrize("store", ["rows"], indirect=True)


def conversation(conversation_id: str = "talk", **changes: Any) -> Conversation:
    return Conversation(
        **{
            "address": address_of(ConversationKey("directline", conversation_id).hash, SHARDS),
            "session": "session1",
            "last_accessed": NOW,
            "readable_key": f"directline|{conversation_id}",
            "state": b"packed state",
            **changes,
        }
    )


def reference(conversation_id: str, **changes: Any) -> Reference:
    return Reference("directline", "https://channel.example/", conversation_id, **changes)


async def due_rows(store: TableStore, until: datetime = NOW) -> list[DueRow]:
    return [row for shard in store.shards async for page in store.due(shard, until) for row in page]


IDS: Sequence[str] = [
    "a/b\\c#d?e%f",
    "".join(map(chr, range(32))) + "\x7f\x85",
    "😀" * 1000,
    "x" * 2000,
    "19:meeting@thread.v2;messageid=1",
    "..",
    " ",
    "a|b",
]


@pytest.mark.parametrize("conversation_id", IDS, ids=ascii)
async def test_a_conversation_of_any_id_comes_back_as_it_was_saved(
    state_store: StateStore, conversation_id: str
) -> None:
    saved = await state_store.save(
        conversation(
            conversation_id,
            reference=reference(conversation_id, user=Account(conversation_id)),
            locale="it-IT",
            recent=(TakenTurn("a1", "w1"), TakenTurn("", "w2")),
            replies=b"packed replies",
            has_private=True,
            state_version="w1",
            quiet=True,
            kept_until=NOW + timedelta(seconds=59),
            users={"user": Participant("w2", 'W/"x"')},
        ),
        due=DUE,
    )
    assert saved.etag
    assert await state_store.load(saved.address) == saved


async def test_a_sweep_reads_all_of_a_conversation_but_what_its_bot_left(store: TableStore) -> None:
    saved = await store.save(
        conversation(
            reference=reference("talk"),
            locale="it-IT",
            replies=b"packed replies",
            moved=True,
            quiet=True,
            kept_until=NOW + timedelta(seconds=59),
            users={"user": Participant("w2", 'W/"x"')},
            has_own_rows=True,
        ),
        due=DUE,
    )
    tracking = await store.load_tracking(saved.address)
    assert tracking == replace(saved, state=None, replies=b"")


async def test_an_expired_conversation_comes_back_as_it_was_claimed(
    state_store: StateStore,
) -> None:
    saved = await state_store.save(
        conversation(reference=reference("talk"), recent=(TakenTurn("a", "w1"),)), due=DUE
    )
    claimed = await state_store.save(saved.claimed(NOW + timedelta(hours=1)))
    loaded = await state_store.load(saved.address)
    assert loaded == claimed
    assert claimed.status is Status.EXPIRED
    assert claimed.state == b""
    assert claimed.expired_at == NOW + timedelta(hours=1)
    assert claimed.lease_until == NOW + timedelta(hours=1, seconds=60)
    assert (claimed.attempts, claimed.recent) == (1, (TakenTurn("a", "w1"),))


async def test_a_claim_for_the_second_time_keeps_the_time_of_expiry(
    state_store: StateStore,
) -> None:
    first = (await state_store.save(conversation(), due=DUE)).claimed(NOW)
    second = first.claimed(NOW + timedelta(hours=1))
    assert (second.expired_at, second.attempts) == (NOW, 2)


async def test_every_store_puts_a_key_into_the_same_shard(state_store: StateStore) -> None:
    for n in range(100):
        key = ConversationKey("directline", str(n)).hash
        assert state_store.address(key) == address_of(key, SHARDS)


async def test_a_conversation_that_is_not_there_is_none(store: TableStore) -> None:
    address = address_of(ConversationKey("directline", "nobody").hash, SHARDS)
    assert await store.load(address) is None
    assert await store.load_tracking(address) is None


async def test_tracking_comes_without_the_state_and_cannot_be_written_back(
    store: TableStore,
) -> None:
    saved = await store.save(conversation(state=bytes(200_000)), due=DUE)
    tracking = await store.load_tracking(saved.address)
    assert tracking == replace(saved, state=None)
    with pytest.raises(ValueError, match="without its state"):
        await store.save(tracking)


async def test_two_first_messages_at_once_open_one_session(store: TableStore) -> None:
    results = await asyncio.gather(
        *(store.save(conversation(session=f"session{n}"), due=DUE) for n in range(5)),
        return_exceptions=True,
    )
    opened = [result for result in results if isinstance(result, Conversation)]
    conflicts = [result for result in results if isinstance(result, ConflictError)]
    assert (len(opened), len(conflicts)) == (1, 4)
    assert [row.session for row in await due_rows(store)] == [opened[0].session]


async def test_of_fifty_writers_at_one_version_exactly_one_wins(state_store: StateStore) -> None:
    saved = await state_store.save(conversation(), due=DUE)
    results = await asyncio.gather(
        *(state_store.save(replace(saved, locale=f"w{n}")) for n in range(50)),
        return_exceptions=True,
    )
    winners = [result for result in results if isinstance(result, Conversation)]
    assert len(winners) == 1
    assert await state_store.load(saved.address) == winners[0]


async def test_a_stale_etag_writes_nothing_not_even_the_other_rows(store: TableStore) -> None:
    stale = await store.save(conversation(), due=DUE)
    current = await store.save(replace(stale, locale="other"))
    with pytest.raises(ConflictError):
        await store.save(
            replace(stale, session="session2", has_private=True),
            due=DUE - 5,
            private=[PrivateState("ann", b"private", "v1")],
        )
    assert await store.load(stale.address) == current
    assert [row.session for row in await due_rows(store)] == ["session1"]
    assert (await store.load_private(replace(current, session="session2"), "ann")).state == b""


async def test_a_private_bag_counts_for_its_session_only(state_store: StateStore) -> None:
    saved = await state_store.save(
        conversation(has_private=True), due=DUE, private=[PrivateState("ann", b"hers", "v1")]
    )
    assert await state_store.load_private(saved, "ann") == PrivateState("ann", b"hers", "v1")
    assert await state_store.load_private(saved, "bob") == PrivateState("bob", b"", "")
    later = replace(saved, session="later")
    assert await state_store.load_private(later, "ann") == PrivateState("ann", b"", "")


@pytest.mark.parametrize("size", [0, 1, 63_999, 64_000, 64_001, 128_000, 700_000])
async def test_state_of_any_size_up_to_the_limit_comes_back(
    state_store: StateStore, size: int
) -> None:
    saved = await state_store.save(conversation(state=bytes([7]) * size), due=DUE)
    assert await state_store.load(saved.address) == saved


async def test_a_smaller_state_leaves_no_chunk_of_a_larger_one(state_store: StateStore) -> None:
    large = await state_store.save(conversation(state=bytes(200_000)), due=DUE)
    small = await state_store.save(replace(large, state=b"small"))
    assert await state_store.load(large.address) == small


async def test_a_row_above_the_limit_is_refused_and_nothing_written(store: TableStore) -> None:
    address = conversation().address
    with pytest.raises(StateTooLargeError, match="700 KiB"):
        await store.save(conversation(state=bytes(MAX_ROW_BYTES)), due=DUE)
    too_large = PrivateState("ann", bytes(MAX_ROW_BYTES + 1), "v1")
    with pytest.raises(StateTooLargeError):
        await store.save(conversation(), due=DUE, private=[too_large])
    with pytest.raises(StateTooLargeError):
        await store.save_user("user", UserRow(bytes(400_000), before=bytes(400_000)))
    assert await store.load(address) is None
    assert await due_rows(store) == []


@rows_only
async def test_a_chunk_that_is_missing_is_an_error_that_names_the_row(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    saved = await store.save(conversation(state=bytes(200_000)), due=DUE)
    address = saved.address
    row = await tables[0].get(address.shard, f"c|{address.key}")
    assert row is not None
    columns = {name: value for name, value in row.columns.items() if name != "State01"}
    await tables[0].write([Operation("replace", replace(row, columns=columns))])
    with pytest.raises(StateUnreadableError, match=rf"{address.shard}/c\|{address.key}: a chunk"):
        await store.load(address)


@pytest.mark.parametrize("column", ["SessionId", "LastAccessed", "Status", "ConversationKey"])
async def test_a_column_that_is_missing_is_an_error_that_names_the_row(
    store: TableStore, tables: tuple[Table, Table], column: str
) -> None:
    saved = await store.save(conversation(), due=DUE)
    row = await tables[0].get(saved.address.shard, f"c|{saved.address.key}")
    assert row is not None
    columns = {name: value for name, value in row.columns.items() if name != column}
    await tables[0].write([Operation("replace", replace(row, columns=columns))])
    with pytest.raises(StateUnreadableError, match=saved.address.key):
        await store.load(saved.address)


# Users


async def test_a_user_comes_back_as_it_was_saved(state_store: StateStore) -> None:
    row = UserRow(
        state=bytes(100_000),
        before=b"as it was",
        writer="w1",
        address=conversation().address,
        session="session1",
        base_etag='W/"1"',
        written_at=NOW,
        last_accessed=NOW,
        lasts_until=NOW + timedelta(seconds=100),
        counts_anyway=True,
    )
    saved, index_etag = await state_store.save_user("user", row)
    assert saved is not None
    assert saved == replace(row, etag=saved.etag)
    assert index_etag == ""
    assert await state_store.load_user("user") == saved
    assert await state_store.load_user("nobody") is None


async def test_of_concurrent_writers_of_a_user_exactly_one_wins(state_store: StateStore) -> None:
    async def race(row: UserRow) -> int:
        results = await asyncio.gather(
            *(state_store.save_user("user", replace(row, writer=f"w{n}")) for n in range(10)),
            return_exceptions=True,
        )
        return sum(isinstance(result, ConflictError) for result in results)

    assert await race(UserRow(b"first")) == 9
    current = await state_store.load_user("user")
    assert current is not None
    assert await race(current) == 9


# Due rows


async def test_due_rows_come_oldest_first_up_to_the_time_and_no_further(store: TableStore) -> None:
    for number in range(5):
        await store.save(conversation(f"talk{number}"), due=DUE + number)
    rows = await due_rows(store, NOW + timedelta(seconds=2))
    assert sorted(row.due_seconds - DUE for row in rows) == [0, 1, 2]
    for shard in store.shards:
        due = [row.due_seconds async for page in store.due(shard, NOW) for row in page]
        assert due == sorted(due)


async def test_refiled_rows_move_to_their_new_time(store: TableStore) -> None:
    for number in range(12):
        await store.save(conversation(f"talk{number}"), due=DUE)
    for shard in store.shards:
        rows = [row async for page in store.due(shard, NOW) for row in page]
        await store.refile([(row, replace(row, due_seconds=DUE + 100)) for row in rows])
    assert await due_rows(store) == []
    later = await due_rows(store, NOW + timedelta(seconds=100))
    assert len(later) == 12


async def test_rows_are_moved_and_removed_together(store: TableStore) -> None:
    for number in range(24):
        await store.save(conversation(f"talk{number}"), due=DUE)
    rows = await due_rows(store)
    stay = {row: replace(row, due_seconds=DUE + 100) for row in rows[::3]}
    for shard in store.shards:
        of_shard = [row for row in rows if row.address.shard == shard]
        await store.refile([(row, stay.get(row)) for row in of_shard])
    found = await due_rows(store, NOW + timedelta(seconds=100))
    assert {row.address for row in found} == {row.address for row in stay}
    assert {row.due_seconds for row in found} == {DUE + 100}


async def test_a_row_that_another_sweep_has_removed_keeps_no_other_one(store: TableStore) -> None:
    for number in range(8):
        await store.save(conversation(f"talk{number}"), due=DUE)
    rows = await due_rows(store)
    for shard in store.shards:
        of_shard = [row for row in rows if row.address.shard == shard]
        for row in of_shard[:1]:
            await store.remove(row)
        await store.refile([(row, None) for row in of_shard])
    assert await due_rows(store) == []


async def test_a_row_refiled_to_the_same_second_stays(store: TableStore) -> None:
    await store.save(conversation(), due=DUE)
    rows = await due_rows(store)
    await store.refile([(row, row) for row in rows])
    assert await due_rows(store) == rows


async def test_a_work_item_says_how_often_users_were_warned_and_since_when(
    store: TableStore,
) -> None:
    await store.save(conversation(), due=DUE)
    (row,) = await due_rows(store)
    assert (row.warned, row.warned_since) == (0, None)
    since = NOW - timedelta(seconds=100.123457)
    warned = replace(row, due_seconds=DUE + 50, warned=2, warned_since=since)
    await store.warn(row, warned)
    (found,) = await due_rows(store, NOW + timedelta(seconds=60))
    assert (found, found.warned, found.warned_since) == (warned, 2, since)
    moved = replace(found, due_seconds=DUE + 55)
    await store.refile([(found, moved)])
    (found,) = await due_rows(store, NOW + timedelta(seconds=60))
    assert (found, found.warned, found.warned_since) == (moved, 2, since)


async def test_of_two_sweeps_one_warns(store: TableStore) -> None:
    await store.save(conversation(), due=DUE)
    (row,) = await due_rows(store)
    warned = replace(row, due_seconds=DUE + 50, warned=1, warned_since=NOW)
    results = await asyncio.gather(
        *(store.warn(row, warned) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in results if each] == [ConflictError] * 2
    with pytest.raises(ConflictError):
        await store.warn(warned, warned)


async def test_a_work_item_takes_the_place_of_those_that_there_are(store: TableStore) -> None:
    saved = await store.save(conversation(), due=DUE)
    rows = await store.due_rows_of(saved.address)
    saved = await store.save(saved, due=DUE - 20, instead_of=rows)
    assert [row.due_seconds for row in await store.due_rows_of(saved.address)] == [DUE - 20]
    with pytest.raises(ConflictError):  # another sweep has moved it meanwhile
        await store.save(saved, due=DUE - 30, instead_of=rows)
    again = await store.due_rows_of(saved.address)
    await store.save(saved, due=DUE - 20, instead_of=again)
    assert await store.due_rows_of(saved.address) == again


async def test_a_work_item_that_takes_their_place_says_what_they_say_of_warnings(
    store: TableStore,
) -> None:
    saved = await store.save(conversation(), due=DUE)
    (row,) = await store.due_rows_of(saved.address)
    warned = replace(row, due_seconds=DUE + 5, warned=1, warned_since=saved.last_accessed)
    await store.warn(row, warned)
    rows = await store.due_rows_of(saved.address)
    saved = await store.save(saved, due=DUE - 20, instead_of=rows)
    (now,) = await store.due_rows_of(saved.address)
    assert (now.due_seconds, saved.warned(now)) == (DUE - 20, 1)
    used = await store.save(saved.used_at(NOW + timedelta(seconds=1)), due=DUE, instead_of=[now])
    (now,) = await store.due_rows_of(saved.address)
    assert used.warned(now) == 0


async def test_the_times_that_the_bots_code_has_set_are_stored(state_store: StateStore) -> None:
    for own in (
        OwnTiming(NEVER),
        OwnTiming(timedelta(seconds=1.5), (timedelta(seconds=60), timedelta(seconds=20)), False),
        OwnTiming(keep_until=NOW, warn_before=()),
        None,
    ):
        talk = replace(conversation(str(own)), own=own, begun_at=NOW)
        saved = await state_store.save(talk, due=DUE)
        found = await state_store.load(saved.address)
        assert found
        assert (found.own, found.begun_at) == (own, NOW)


async def test_a_row_that_ends_early_stays_until_then_with_what_still_counts(
    store: TableStore,
) -> None:
    private = [PrivateState("ann", b"hers", "v1")]
    users = {"ann": Participant("w1"), "bob": Participant()}
    saved = await store.save(conversation(has_private=True, users=users), due=DUE, private=private)
    (row,) = await store.due_rows_of(saved.address)
    claimed = await store.save(saved.claimed(NOW))
    until = NOW + timedelta(seconds=500)
    await store.settle_later(claimed, row, until)
    found = await store.load(saved.address)
    assert found
    assert (found.status, found.quiet, found.lease_until) == (Status.EXPIRED, True, until)
    assert (found.users, found.has_private, found.is_told) == (users, False, True)
    (moved,) = await store.due_rows_of(saved.address)
    assert moved.due_seconds == due_seconds(until)
    assert (await store.load_private(found, "ann")).state == b""
    with pytest.raises(ConflictError):
        await store.settle_later(claimed, moved, until)


async def test_a_claim_for_a_hook_leaves_the_state_until_the_end_is_told(store: TableStore) -> None:
    saved = await store.save(
        conversation(state_version="v1", users={"ann": Participant("w1")}), due=DUE
    )
    (row,) = await store.due_rows_of(saved.address)
    tracking = await store.load_tracking(saved.address)
    assert tracking
    claimed = await store.save(tracking.claimed(NOW, keeps_state=True))
    found = await store.load(saved.address)
    assert found == replace(claimed, state=saved.state)
    assert (found.status, found.resume_until) == (Status.EXPIRED, None)
    with pytest.raises(ConflictError):
        await store.save(tracking.claimed(NOW, keeps_state=True))

    again = replace(claimed, lease_until=NOW, attempts=5)
    await store.retry_later(again, row, DUE + 10)
    found = await store.load(saved.address)
    assert found
    assert (found.state, found.attempts) == (saved.state, 5)

    (row,) = await store.due_rows_of(saved.address)
    told_at = replace(again, etag=found.etag)
    await store.settle_later(told_at, row, NOW + timedelta(seconds=500))
    found = await store.load(saved.address)
    assert found
    assert (found.state, found.bags, found.is_told) == (b"", None, True)


@pytest.mark.parametrize("is_dead", [False, True])
async def test_settling_takes_the_state_that_a_hook_has_read(
    store: TableStore, containers: tuple[Container, Container], is_dead: bool
) -> None:
    users = {"ann": Participant("w1")}
    await store.save(conversation(state_version="v1", users=users), due=DUE)
    (row,) = await due_rows(store)
    tracking = await store.load_tracking(row.address)
    assert tracking
    claimed = await store.save(tracking.claimed(NOW, keeps_state=True))
    if is_dead:
        letter = DeadLetter(row.address, row.session, NOW, NOW, 1, "no use", 400)
        await store.settle_dead(claimed, row, letter)
    else:
        await store.settle(claimed)
    assert await store.load(row.address) is None
    assert [each async for each in containers[0].about("ann")] == []


async def test_a_row_that_a_sweep_sees_twice_is_moved_once(store: TableStore) -> None:
    await store.save(conversation("one"), due=DUE)
    (before,) = await due_rows(store)
    seen_again, later = replace(before, due_seconds=DUE + 20), replace(before, due_seconds=DUE + 30)
    await store.refile([(before, seen_again)])
    await store.refile([(before, later), (seen_again, later)])
    assert await due_rows(store, NOW + timedelta(seconds=60)) == [later]


async def test_a_row_refiled_by_two_sweeps_is_there_once(store: TableStore) -> None:
    await store.save(conversation("one"), due=DUE)
    rows = await due_rows(store)
    moves = [(row, replace(row, due_seconds=DUE + 5)) for row in rows]
    await asyncio.gather(*(store.refile(moves) for _ in range(3)))
    assert len(await due_rows(store, NOW + timedelta(seconds=100))) == 1


async def test_retry_later_moves_the_due_row_and_the_lease_together(store: TableStore) -> None:
    saved = await store.save(conversation(), due=DUE)
    (row,) = await due_rows(store)
    claimed = await store.save(saved.claimed(NOW))
    leased = replace(claimed, lease_until=NOW + timedelta(seconds=10))
    await store.retry_later(leased, row, DUE + 10)
    assert await due_rows(store) == []
    loaded = await store.load(saved.address)
    assert loaded is not None
    assert loaded.lease_until == NOW + timedelta(seconds=10)
    with pytest.raises(ConflictError):
        await store.retry_later(leased, replace(row, due_seconds=DUE + 10), DUE + 20)


async def test_settling_removes_the_conversation_at_that_version_only(store: TableStore) -> None:
    saved = await store.save(conversation(), due=DUE)
    claimed = await store.save(saved.claimed(NOW))
    reclaimed = await store.save(claimed.claimed(NOW))
    with pytest.raises(ConflictError):
        await store.settle(claimed)
    await store.settle(reclaimed)
    assert await store.load(saved.address) is None
    await store.settle(reclaimed)  # gone already: no error


async def test_settling_a_conversation_whose_user_is_back_leaves_the_new_session(
    store: TableStore,
) -> None:
    saved = await store.save(conversation(), due=DUE)
    claimed = await store.save(saved.claimed(NOW))
    back = await store.save(replace(saved, session="session2", etag=claimed.etag), due=DUE + 100)
    await store.settle(claimed)
    assert await store.load(saved.address) == back


async def test_cleaning_up_removes_the_sessions_leftovers_and_no_others(store: TableStore) -> None:
    saved = await store.save(
        conversation(has_private=True),
        due=DUE,
        private=[PrivateState("ann", b"1", "v1"), PrivateState("bob", b"1", "v1")],
    )
    (row,) = await due_rows(store)
    back = await store.save(
        replace(saved, session="session2"), due=DUE + 5, private=[PrivateState("ann", b"2", "v2")]
    )
    assert await store.delete_leftovers(row)
    await store.remove(row)
    assert [each.session for each in await due_rows(store, NOW + timedelta(seconds=9))] == [
        "session2"
    ]
    assert (await store.load_private(back, "ann")).state == b"2"
    over = replace(back, session="session1")
    assert (await store.load_private(over, "bob")).state == b""
    assert await store.delete_leftovers(row)  # again: no error
    await store.remove(row)


# Dead letters


ANN = user_hash("directline", "ann")


async def put_aside(
    store: TableStore, conversation_id: str = "talk", **changes: Any
) -> tuple[Conversation, DueRow, DeadLetter]:
    """A conversation that expired, its due row, and the dead letter that it may become."""
    told = reference(conversation_id, user=Account("ann"))
    opened = conversation(conversation_id, **{"reference": told, **changes})
    address = opened.address
    _, index_etag = await store.save_user(ANN, None, joining=address)
    users = {ANN: Participant(index_etag=index_etag)}
    private = [PrivateState("ann", b"1", "v1")]
    opened = replace(opened, users=users, has_private=True)
    saved = await store.save(opened, due=DUE, private=private)
    claimed = await store.save(saved.claimed(NOW))
    letter = DeadLetter(
        address,
        claimed.session,
        expired_at=NOW,
        dead_at=NOW + timedelta(seconds=3),
        attempts=3,
        reason="no use",
        status=500,
        code="ServiceError",
        readable_key=claimed.readable_key,
        reference=claimed.reference,
        locale=claimed.locale,
    )
    return claimed, DueRow(address, claimed.session, DUE), letter


async def all_dead_letters(store: TableStore) -> list[DeadLetter]:
    return [
        letter
        for shard in store.shards
        async for page in store.dead_letters(shard)
        for letter in page
    ]


async def entries(tables: tuple[Table, Table]) -> list[str]:
    return [row.key async for page in tables[1].query(ANN, "in|", "in|~") for row in page]


@pytest.mark.parametrize("changes", [{}, {"locale": "it-IT"}])
async def test_a_dead_letter_takes_the_place_of_conversation_and_due_row(
    store: TableStore, tables: tuple[Table, Table], changes: dict[str, Any]
) -> None:
    claimed, row, letter = await put_aside(store, **changes)
    await store.settle_dead(claimed, row, letter)
    assert await all_dead_letters(store) == [letter]
    assert await store.load(letter.address) is None
    assert await due_rows(store) == []
    assert (await store.load_private(claimed, "ann")).state == b""
    key = f"|{DUE + 1:010d}|{letter.address.key}|session1"
    assert isinstance(await tables[0].get(letter.address.shard, f"x{key}"), Row)
    (entry,) = await store.joined(ANN)  # the conversation's own entry is gone
    assert (entry.address, entry.session) == (letter.address, letter.session)


async def test_a_dead_letter_without_status_code_user_or_locale_comes_back(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    group = reference("talk", is_group=True)
    claimed, row, letter = await put_aside(store, reference=group)
    letter = replace(letter, status=None, code="")
    await store.settle_dead(claimed, row, letter)
    assert await all_dead_letters(store) == [letter]
    assert await entries(tables) == []  # it names nobody


async def test_settling_dead_at_another_version_keeps_nothing(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    claimed, row, letter = await put_aside(store)
    back = await store.save(replace(claimed, session="session2"), due=DUE + 100)
    with pytest.raises(ConflictError):
        await store.settle_dead(claimed, row, letter)
    assert await all_dead_letters(store) == []
    assert await store.load(letter.address) == back
    assert await due_rows(store) == [row]
    assert not any("session1" in key for key in await entries(tables))


async def test_of_two_that_settle_dead_at_once_one_letter_is_left(store: TableStore) -> None:
    claimed, row, letter = await put_aside(store)
    await asyncio.gather(
        *(store.settle_dead(claimed, row, letter) for _ in range(3)), return_exceptions=True
    )
    assert await all_dead_letters(store) == [letter]
    assert await due_rows(store) == []


async def test_a_replayed_dead_letter_is_an_expired_conversation_that_is_due(
    store: TableStore,
) -> None:
    await store.settle_dead(*(aside := await put_aside(store, locale="it-IT")))
    letter = aside[2]
    assert await store.replay(letter, NOW + timedelta(days=3))
    assert await all_dead_letters(store) == []
    conversation = await store.load(letter.address)
    (entry,) = await store.joined(ANN)
    assert entry.session == ""
    assert conversation == Conversation(
        letter.address,
        letter.session,
        last_accessed=NOW + timedelta(days=3),
        status=Status.EXPIRED,
        readable_key="directline|talk",
        reference=letter.reference,
        locale="it-IT",
        state=b"",
        users={ANN: Participant(index_etag=entry.etag)},
        expired_at=NOW + timedelta(days=3),
        etag=conversation.etag if conversation else "",
    )
    (row,) = await due_rows(store, NOW + timedelta(days=3, seconds=1))
    assert (row.address, row.session) == (letter.address, letter.session)


async def test_a_dead_letter_whose_user_is_back_is_dropped_at_its_replay(store: TableStore) -> None:
    await store.settle_dead(*(aside := await put_aside(store)))
    letter = aside[2]
    back = await store.save(conversation(session="session2"), due=DUE + 100)
    assert not await store.replay(letter, NOW)
    assert await all_dead_letters(store) == []
    assert await store.load(letter.address) == back
    assert await store.joined(ANN) == []


async def test_a_dead_letter_that_is_gone_is_not_replayed(store: TableStore) -> None:
    await store.settle_dead(*(aside := await put_aside(store)))
    letter = aside[2]
    await store.drop(letter)
    await store.drop(letter)  # again: no error
    assert not await store.replay(letter, NOW)
    assert await store.load(letter.address) is None
    assert await due_rows(store) == []


async def test_of_two_replays_at_once_one_conversation_is_left(store: TableStore) -> None:
    await store.settle_dead(*(aside := await put_aside(store)))
    await asyncio.gather(*(store.replay(aside[2], NOW) for _ in range(2)))
    assert await all_dead_letters(store) == []
    assert await store.load(aside[2].address) is not None
    assert len(await due_rows(store, NOW + timedelta(seconds=1))) == 1


async def test_a_dropped_dead_letter_leaves_nothing(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    await store.settle_dead(*(aside := await put_aside(store)))
    await store.settle_dead(*(other := await put_aside(store, "other")))
    await store.drop(aside[2])
    assert await all_dead_letters(store) == [other[2]]
    assert len(await entries(tables)) == 1


async def test_a_users_list_leads_to_the_dead_letter(store: TableStore) -> None:
    await store.settle_dead(*(await put_aside(store)))
    (entry,) = await store.joined(ANN)
    assert await store.drop_listed(entry)
    assert not await store.drop_listed(entry)
    assert await all_dead_letters(store) == []
    await store.leave(ANN, entry)
    assert await store.joined(ANN) == []


async def test_dead_letters_come_in_the_order_of_their_expiry(store: TableStore) -> None:
    for number in range(5):
        claimed, row, letter = await put_aside(store, f"talk{number}")
        letter = replace(letter, expired_at=NOW - timedelta(seconds=number))
        await store.settle_dead(claimed, row, letter)
    for shard in store.shards:
        times = [each.expired_at async for page in store.dead_letters(shard) for each in page]
        assert times == sorted(times)
    assert len(await all_dead_letters(store)) == 5


async def test_a_damaged_dead_letter_is_left_out_and_the_log_names_its_row(
    store: TableStore, tables: tuple[Table, Table], caplog: pytest.LogCaptureFixture
) -> None:
    await store.settle_dead(*await put_aside(store, "another"))
    await store.settle_dead(*(aside := await put_aside(store)))
    shard = aside[2].address.shard
    found = [row async for page in tables[0].query(shard, "x|", "x|~") for row in page]
    (row,) = [row for row in found if aside[2].address.key in row.key]
    columns = {name: value for name, value in row.columns.items() if name != "DeadAt"}
    await tables[0].write([Operation("replace", replace(row, columns=columns))])
    assert len(await all_dead_letters(store)) == 1
    assert f"row {shard}/{row.key} is damaged" in caplog.text


async def test_a_row_of_a_newer_form_is_neither_read_nor_deleted(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    saved = await store.save(
        conversation(has_private=True), private=[PrivateState("ann", b"1", "")]
    )
    await store.save_user("ann", UserRow(b"1"), saved.address)
    for table in tables:
        for row in [
            each
            for partition in ("ann", saved.address.shard)
            async for page in table.query(partition, "", "~")
            for each in page
        ]:
            newer = replace(row, columns={**row.columns, "Form": 2})
            await table.write([Operation("replace", newer)])
    with pytest.raises(NewerRowError, match=r"form 2"):
        await store.load(saved.address)
    with pytest.raises(NewerRowError):
        await store.load_tracking(saved.address)
    with pytest.raises(NewerRowError):
        await store.joined("ann")
    if store.KIND == "tables":
        with pytest.raises(NewerRowError):
            await store.load_private(saved, "ann")
        with pytest.raises(NewerRowError):
            await store.load_user("ann")
        with pytest.raises(NewerRowError):
            await store.delete_user("ann")
        with pytest.raises(NewerRowError):
            await store.delete_private(saved.address, "ann")


# Sessions that are kept to be resumed

RESUMABLE = Timing(timedelta(seconds=100), resume_within=timedelta(hours=1))


async def kept_alone(store: TableStore, state: bytes = b"kept state") -> Conversation:
    """An expired conversation that was told and may be resumed, with Ann's private bag."""
    bag = [PrivateState("ann", b"her kept bag", "v1")]
    begun = conversation(state=state, state_version="w1", has_private=True)
    await store.save(begun, due=DUE, private=bag)
    found = await store.load_tracking(begun.address)
    assert found
    claimed = await store.save(found.claimed(NOW, RESUMABLE))
    (row,) = await store.due_rows_of(begun.address)
    await store.settle_later(claimed, row, NOW + timedelta(seconds=3660))
    kept = await store.load(begun.address)
    assert kept
    return kept


async def kept_beside(
    store: TableStore, state: bytes = b"kept state", new_state: bytes = b"new state"
) -> Conversation:
    """A new session that has begun in its place, with another private bag of Ann's."""
    alone = await kept_alone(store, state)
    kept = alone.as_kept(NOW, RESUMABLE)
    begun = replace(conversation(session="session2", has_private=True), etag=alone.etag)
    begun = replace(begun.keeping(kept), state=new_state, state_version="w2")
    bag = [PrivateState("ann", b"her new bag", "v2")]
    await store.save(begun, due=DUE, private=bag)
    found = await store.load(begun.address)
    assert found
    return found


async def test_what_a_sweep_writes_of_a_session_that_may_be_resumed_leaves_its_state(
    store: TableStore,
) -> None:
    kept = await kept_alone(store)
    assert (kept.status, kept.is_told, kept.state) == (Status.EXPIRED, True, b"kept state")
    assert kept.resume_until == NOW + timedelta(hours=1)
    assert (await store.load_private(kept, "ann")).state == b"her kept bag"
    (row,) = await store.due_rows_of(kept.address)
    assert (row.is_told, row.due_seconds) == (True, DUE + 3661)
    tracking = await store.load_tracking(kept.address)
    assert tracking
    await store.save(kept)  # another writer
    with pytest.raises(ConflictError):
        await store.save(tracking.claimed(NOW, RESUMABLE))
    with pytest.raises(ConflictError):
        await store.retry_later(tracking, row, DUE)


async def test_when_its_time_is_over_a_claim_takes_its_state(store: TableStore) -> None:
    kept = await kept_alone(store)
    tracking = await store.load_tracking(kept.address)
    assert tracking
    claimed = await store.save(tracking.claimed(NOW + timedelta(seconds=3660), RESUMABLE))
    found = await store.load(kept.address)
    assert found
    assert (found.state, found.resume_until, found.bags) == (b"", None, None)
    await store.settle(claimed)
    assert await store.load(kept.address) is None
    assert (await store.load_private(replace(kept, bags=None), "ann")).state == b""


# A row holds 700 KiB. State that does not compress needs eleven columns for that.
@pytest.mark.parametrize("size", [0, 1, 64_000, 690_000])
async def test_both_sessions_have_their_state_up_to_the_limit(store: TableStore, size: int) -> None:
    old, new = bytes([7]) * size, bytes([9]) * size
    beside = await kept_beside(store, old, new)
    assert beside.state == new
    kept = await store.load_kept(beside)
    assert kept
    assert (kept.session, kept.state) == ("session1", old)
    assert (await store.load_private(beside, "ann")).state == b"her new bag"
    resumed = beside.resumed(kept, NOW)
    assert (await store.load_private(resumed, "ann")).state == b"her kept bag"
    saved = await store.save(resumed, due=DUE, forgetting=replace(kept, bags=beside.bags))
    found = await store.load(saved.address)
    assert found
    assert (found.session, found.state, found.kept) == ("session1.1", old, None)
    assert (await store.load_private(found, "ann")).state == b"her kept bag"


async def test_a_new_session_that_another_writer_was_faster_than_keeps_nothing(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    alone = await kept_alone(store)
    kept = alone.as_kept(NOW, RESUMABLE)
    await store.save(alone)
    begun = replace(conversation(session="session2"), etag=alone.etag).keeping(kept)
    with pytest.raises(ConflictError):
        await store.save(begun, due=DUE)
    address = alone.address
    assert await tables[0].get(address.shard, f"p|{address.key}|kept") is None
    found = await store.load(address)
    assert found
    assert found.state == b"kept state"


async def test_a_later_turn_reads_of_the_kept_session_only_that_it_is_there(
    store: TableStore,
) -> None:
    beside = await kept_beside(store)
    assert beside.kept
    assert (beside.kept.state, beside.kept.until) == (None, NOW + timedelta(hours=1))
    again = await store.save(replace(beside, state=b"newer state"))
    kept = await store.load_kept(again)
    assert kept
    assert kept.state == b"kept state"


@pytest.mark.parametrize("by", ["a turn", "a sweep"])
async def test_what_was_given_up_is_gone_and_the_new_session_stays(
    store: TableStore, by: str
) -> None:
    beside = await kept_beside(store)
    assert beside.kept
    if by == "a turn":
        await store.save(replace(beside, kept=None), forgetting=beside.kept)
    else:
        for _ in range(2):  # it is no error if it is gone
            await store.delete_kept(beside.address, beside.kept)
    kept = await store.load_kept(beside)
    assert kept is None or kept.state == b""
    found = await store.load(beside.address)
    assert found
    assert found.state == b"new state"
    assert (await store.load_private(found, "ann")).state == b"her new bag"


@rows_only
async def test_a_kept_row_that_is_gone_is_no_conflict_but_for_who_resumes(
    store: TableStore,
) -> None:
    beside = await kept_beside(store)
    kept = await store.load_kept(beside)
    assert kept
    await store.delete_kept(beside.address, kept)
    with pytest.raises(ConflictError):
        await store.save(beside.resumed(kept, NOW), due=DUE, forgetting=kept)
    again = await store.save(replace(beside, kept=None, state=b"newer"), forgetting=kept)
    assert await store.load(beside.address) == again
    with pytest.raises(ConflictError):
        await store.save(replace(beside, kept=None), forgetting=kept)  # an old version


@rows_only
async def test_a_kept_row_that_is_damaged_is_an_error_that_names_it(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    beside = await kept_beside(store, bytes(200_000))
    shard, key = beside.address.shard, f"p|{beside.address.key}|kept"
    row = await tables[0].get(shard, key)
    assert row
    columns = {name: value for name, value in row.columns.items() if name != "State01"}
    await tables[0].write([Operation("replace", replace(row, columns=columns))])
    with pytest.raises(StateUnreadableError, match=r"\|kept: a chunk"):
        await store.load_kept(beside)
    await store.delete_kept(beside.address, None)
    assert await store.load_kept(beside) is None


@rows_only
async def test_a_kept_row_of_a_newer_form_is_neither_read_nor_deleted(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    beside = await kept_beside(store)
    shard, key = beside.address.shard, f"p|{beside.address.key}|kept"
    row = await tables[0].get(shard, key)
    assert row
    await tables[0].write([Operation("replace", replace(row, columns={**row.columns, "Form": 2}))])
    with pytest.raises(NewerRowError):
        await store.load_kept(beside)
    with pytest.raises(NewerRowError):
        await store.delete_kept(beside.address, beside.kept)


@rows_only
@pytest.mark.parametrize(
    "kept",
    [
        "[",
        "[]",
        '{"session": "x"}',
        '{"session": "a|b", "until": "2026-11-22T12:00:00+00:00"}',
        '{"session": "x", "until": "2026-11-22T12:00:00"}',
        '{"session": "x", "until": 5}',
        '{"session": "x", "until": "2026-11-22T12:00:00+00:00", "place": "a|b"}',
        '{"session": "x", "until": "2026-11-22T12:00:00+00:00", "timing": 5}',
        '{"session": "x", "until": "2026-11-22T12:00:00+00:00", "bags": 5}',
    ],
)
async def test_a_damaged_kept_session_is_an_error_that_names_the_row(
    store: TableStore, tables: tuple[Table, Table], kept: str
) -> None:
    saved = await store.save(conversation(), due=DUE)
    shard, key = saved.address.shard, f"c|{saved.address.key}"
    row = await tables[0].get(shard, key)
    assert row
    await tables[0].write(
        [Operation("replace", replace(row, columns={**row.columns, "Kept": kept}))]
    )
    with pytest.raises(StateUnreadableError, match=re.escape(f"{shard}/{key}")):
        await store.load(saved.address)


# The table itself


async def test_the_shard_count_is_recorded_once(tables: tuple[Table, Table]) -> None:
    assert (await TableStore(*tables, 64).control()).shard_count == 64
    assert (await TableStore(*tables, 4).control()).shard_count == 64


async def test_the_kind_of_the_store_is_recorded_and_tables_of_old_are_of_the_first_kind(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    assert (await store.control()).state_store == store.KIND
    row = await tables[0].get("ctl", "ctl")
    assert row is not None
    columns = {name: value for name, value in row.columns.items() if name != "StateStore"}
    await tables[0].write([Operation("replace", replace(row, columns=columns))])
    assert (await store.control()).state_store == "tables"


async def test_the_control_row_comes_back_as_it_was_saved(store: TableStore) -> None:
    fresh = await store.control()
    saved = await store.save_control(
        replace(
            fresh,
            expire_after=timedelta(seconds=60),
            policy="a fingerprint",
            longest=timedelta(hours=1),
            longest_now=timedelta(minutes=2),
            looked_until=NOW,
            over_at=NOW + timedelta(hours=1),
        )
    )
    assert await store.control() == saved
    with pytest.raises(ConflictError):
        await store.save_control(fresh)


async def test_due_rows_can_be_asked_for_from_a_time_on(store: TableStore) -> None:
    for number in range(5):
        await store.save(conversation(f"talk{number}"), due=DUE + number)
    later = [
        row.due_seconds - DUE
        for shard in store.shards
        async for page in store.due(shard, NOW + timedelta(seconds=3), after=NOW)
        for row in page
    ]
    assert sorted(later) == [1, 2, 3]


async def test_conversations_spread_over_all_shards() -> None:
    store = TableStore(MemoryTable(), MemoryTable(), 64)
    shards = {store.address(ConversationKey("c", str(n)).hash).shard for n in range(2000)}
    assert shards == set(store.shards)


async def test_a_table_that_does_not_exist_is_unavailable_storage(azure_tables: Tables) -> None:
    missing = azure_tables.table("nosuchtable")
    store = TableStore(missing, missing, SHARDS)
    with pytest.raises(StorageUnavailableError):
        await store.load(conversation().address)
    with pytest.raises(StorageUnavailableError):
        await store.save(conversation(), due=DUE)
    with pytest.raises(StorageUnavailableError):
        await store.save_user("user", UserRow(b""))
    with pytest.raises(StorageUnavailableError):
        await due_rows(store)
    with pytest.raises(StorageUnavailableError):
        await store.control()


async def test_no_answer_is_unavailable_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Tables.OPTIONS, "retry_total", 0)
    nowhere = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:9/a"
    async with Tables(connection_string=nowhere) as tables:
        store = TableStore(tables.table("t"), tables.table("u"), SHARDS)
        with pytest.raises(StorageUnavailableError):
            await store.load(conversation().address)


@rows_only
async def test_the_rows_keys_are_as_the_documentation_says(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    saved = await store.save(
        conversation(has_private=True), due=DUE, private=[PrivateState("ann", b"1", "v1")]
    )
    shard, key = saved.address.shard, saved.address.key
    for row_key in (f"c|{key}", f"p|{key}|ann", f"d|{DUE:010d}|{key}|session1"):
        assert isinstance(await tables[0].get(shard, row_key), Row)


async def test_records_of_sweeps_come_back_newest_first_one_for_each_slot(
    store: TableStore,
) -> None:
    older = SweepRecord(NOW, {"expired": 3}, 1.5, 2.5, 0.1, 7)
    newer = SweepRecord(NOW + timedelta(seconds=60), error="StorageUnavailableError")
    await store.control()  # in the same partition, and no record
    await store.record_sweep(SweepRecord(NOW - timedelta(hours=1)), 1)
    await store.record_sweep(older, 1)
    await store.record_sweep(newer, 2)
    assert list(await store.sweeps()) == [newer, older]


async def test_the_newest_service_url_of_a_tenant_is_kept_apart_from_other_rows(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    await store.control()
    assert await store.service_url("a" * 32) == ""
    await store.keep_service_url("a" * 32, "https://one/")
    await store.keep_service_url("a" * 32, "https://two/")
    assert await store.service_url("a" * 32) == "https://two/"
    assert await store.service_url("b" * 32) == ""
    assert list(await store.sweeps()) == []
    damaged = Row("ctl", f"url|{'a' * 32}", {"ServiceUrl": 5})
    await tables[0].write([Operation("upsert", damaged)])
    assert await store.service_url("a" * 32) == ""


async def test_dead_letters_are_told_apart_from_other_rows_oldest_first(
    store: TableStore, tables: tuple[Table, Table]
) -> None:
    await store.save(conversation(), due=DUE)
    shard = conversation().address.shard
    for late in (7, 3):
        row = Row(shard, f"x|{DUE + late:010d}|{late:032x}|session1")
        await tables[0].write([Operation("insert", row)])
    found = [at async for page in store.dead_letter_times(shard) for at in page]
    assert found == [datetime.fromtimestamp(DUE + late, UTC) for late in (3, 7)]
