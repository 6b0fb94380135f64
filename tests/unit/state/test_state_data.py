"""The old service's operations beside a bot at work: one set of data, and no lost update."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from botbuilder.core import TurnContext

from shared import texts
from shared.domain.errors import StateTooLargeError, StorageUnavailableError
from shared.domain.identity import user_hash
from shared.state.state_data import BotData, InvalidDataError, PreconditionFailedError, StateData
from shared.storage.table_store import TableStore
from tests.bot_in_memory import CHANNEL, SHARDS, BotInMemory, FunctionBot, count_in_every_bag
from tests.faults import FaultyTable, do_once
from tests.memory_table import MemoryTable

KINDS = {"user": ["ann"], "conversation": ["talk"], "private": ["talk", "ann"]}
PLACE = {"conversation": 0, "user": 1, "private": 2}


class Face:
    """One kind of data of one bot, as a caller from outside sees it."""

    def __init__(self, bot: BotInMemory, kind: str) -> None:
        self.bot = bot
        self.kind = kind
        self._data = StateData(bot.state_store, policy=bot.policy, now=bot.clock)
        self._ids = [CHANNEL, *KINDS[kind]]

    async def get(self) -> BotData:
        get: Callable[..., Awaitable[BotData]] = getattr(self._data, f"get_{self.kind}")
        return await get(*self._ids)

    async def save(self, data: Any, etag: str = "") -> BotData:
        save: Callable[..., Awaitable[BotData]] = getattr(self._data, f"save_{self.kind}")
        return await save(*self._ids, BotData(data, etag))


@pytest.fixture(params=KINDS)
def face(request: pytest.FixtureRequest) -> Face:
    return Face(BotInMemory(FunctionBot(count_in_every_bag)), request.param)


async def test_where_nothing_was_saved_data_is_null_and_the_etag_a_star(face: Face) -> None:
    assert await face.get() == BotData(None, "*")


@pytest.mark.parametrize("data", [{"a": [1, None]}, [{"trail": "x", "miles": 8.2}], 5, "x", False])
async def test_what_was_saved_is_got_with_its_etag(face: Face, data: Any) -> None:
    saved = await face.save(data)
    assert saved.data == data
    assert saved.etag not in ("", "*")
    assert await face.get() == saved


async def test_saving_null_or_an_empty_object_is_as_if_nothing_was_saved(face: Face) -> None:
    nothings: list[Any] = [None, {}]
    for nothing in nothings:
        await face.save({"a": 1})
        assert await face.save(nothing) == BotData(None, "*")
        assert await face.get() == BotData(None, "*")


async def test_a_matching_etag_saves_and_a_stale_one_changes_nothing(face: Face) -> None:
    first = await face.save({"n": 1})
    second = await face.save({"n": 2}, first.etag)
    assert second.etag != first.etag
    with pytest.raises(PreconditionFailedError):
        await face.save({"n": 3}, first.etag)
    assert await face.get() == second


async def test_a_star_matches_only_where_nothing_was_saved(face: Face) -> None:
    await face.save({"n": 1}, "*")
    with pytest.raises(PreconditionFailedError):
        await face.save({"n": 2}, "*")
    assert (await face.get()).data == {"n": 1}


async def test_an_etag_matches_nothing_where_nothing_was_saved(face: Face) -> None:
    with pytest.raises(PreconditionFailedError):
        await face.save({"n": 1}, "abc")


async def test_of_fifty_writers_of_one_version_one_wins(face: Face) -> None:
    etag = "*"
    for _ in range(3):
        results = await asyncio.gather(
            *(face.save({"n": number}, etag) for number in range(50)), return_exceptions=True
        )
        (winner,) = [result for result in results if isinstance(result, BotData)]
        assert await face.get() == winner
        etag = winner.etag


async def test_the_bot_sees_what_was_saved_and_its_changes_are_got(face: Face) -> None:
    await face.bot.say()
    before = await face.get()
    assert before.data == {"count": 1}
    await face.save({"count": 41}, before.etag)
    (reply,) = await face.bot.say()
    assert reply.split()[PLACE[face.kind]] == "42"
    assert (await face.get()).data == {"count": 42}


async def test_a_message_that_changes_nothing_keeps_the_etag() -> None:
    async def do_nothing(_: FunctionBot, __: TurnContext) -> None:
        return

    for kind in KINDS:
        face = Face(BotInMemory(FunctionBot(do_nothing)), kind)
        saved = await face.save({"a": 1})
        await face.bot.say()
        assert await face.get() == saved


async def test_a_save_in_the_middle_of_a_turn_loses_neither(face: Face) -> None:
    table = FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_every_bag), conversations=table)
    await bot.say()
    other = Face(bot.another_process(), face.kind)
    table.before = do_once("write replace c|", lambda: other.save({"count": 10}))
    (reply,) = await bot.say()
    assert reply.split()[PLACE[face.kind]] == "11"


async def test_a_turn_in_the_middle_of_a_save_with_an_etag_makes_it_fail(face: Face) -> None:
    table, users = FaultyTable(MemoryTable()), FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_every_bag), conversations=table, users=users)
    await bot.say()
    slow = Face(bot, face.kind)
    etag = (await slow.get()).etag
    other = bot.another_process()
    table.before = users.before = do_once("write replace", other.say)
    with pytest.raises(PreconditionFailedError):
        await slow.save({"count": 10}, etag)
    assert (await slow.get()).data != {"count": 10}


async def test_typed_values_come_out_tagged_and_go_back_as_they_were(face: Face) -> None:
    values = {"price": Decimal("1.50"), "at": datetime(2026, 1, 2, tzinfo=UTC), "t": (1, 2)}
    seen: list[Any] = []

    async def keep(bot: FunctionBot, context: TurnContext) -> None:
        bag = getattr(bot, face.kind).create_property("values")
        seen.append(await bag.get(context))
        await bag.set(context, values)

    bot = BotInMemory(FunctionBot(keep))
    outside = Face(bot, face.kind)
    await bot.say()
    got = await outside.get()
    assert got.data["values"]["price"] == {"$type": "decimal", "value": "1.50"}
    await outside.save(got.data, got.etag)
    await bot.say()
    assert seen == [None, values]


@pytest.mark.parametrize(
    "data", [{"a": {"$type": "os.system"}}, {"$type": "nonsense"}, [{"$type": "decimal"}]]
)
async def test_an_unknown_type_is_refused_and_nothing_changed(face: Face, data: Any) -> None:
    saved = await face.save({"n": 1})
    with pytest.raises(InvalidDataError):
        await face.save(data)
    assert await face.get() == saved


async def test_too_much_is_refused_and_nothing_changed(face: Face) -> None:
    face.bot.state_store = TableStore(face.bot.conversations, face.bot.users, SHARDS, 2048)
    small = Face(face.bot, face.kind)
    saved = await small.save({"n": 1})
    with pytest.raises(StateTooLargeError):
        await small.save({"n": "".join(map(chr, range(0x4E00, 0x5E00)))})
    assert await small.get() == saved


@pytest.mark.parametrize("kind", ["conversation", "private"])
async def test_a_save_for_an_unknown_conversation_opens_a_session_that_ends_silently(
    kind: str,
) -> None:
    face = Face(BotInMemory(FunctionBot(count_in_every_bag)), kind)
    await face.save({"count": 5})
    assert face.bot.keys()[:2] == ["c", "d"]
    face.bot.clock.sleep(103)
    report = await face.bot.sweep()
    assert (report.expired, report.notified) == (1, 0)
    assert face.bot.connector.sent == []
    assert face.bot.keys() == []


@pytest.mark.parametrize("kind", ["conversation", "private"])
async def test_the_users_first_message_goes_on_with_what_was_saved(kind: str) -> None:
    face = Face(BotInMemory(FunctionBot(count_in_every_bag)), kind)
    await face.save({"count": 5})
    (reply,) = await face.bot.say()
    assert reply.split()[PLACE[kind]] == "6"
    face.bot.clock.sleep(103)
    await face.bot.sweep()
    assert face.bot.connector.texts[-1] == texts.EXPIRED


async def test_a_save_never_moves_the_last_access(face: Face) -> None:
    await face.bot.say()
    before = await face.bot.row()
    face.bot.clock.sleep(50)
    await face.save({"count": 5})
    after = await face.bot.row()
    assert before is not None
    assert after is not None
    assert after.last_accessed == before.last_accessed
    assert after.reference == before.reference
    face.bot.clock.sleep(53)
    assert (await face.bot.sweep()).notified == 1


@pytest.mark.parametrize("kind", ["conversation", "private"])
async def test_data_of_a_stale_conversation_are_gone(kind: str) -> None:
    face = Face(BotInMemory(FunctionBot(count_in_every_bag)), kind)
    await face.bot.say()
    face.bot.clock.sleep(100)
    assert await face.get() == BotData(None, "*")
    await face.save({"count": 5})
    (reply,) = await face.bot.say()
    assert reply.split()[PLACE[kind]] == "6"


async def test_private_data_saved_for_a_user_are_erased_with_the_user() -> None:
    face = Face(BotInMemory(FunctionBot(count_in_every_bag)), "private")
    await face.save({"count": 5})
    receipt = await face.bot.erasure.erase(CHANNEL, "ann")
    assert (receipt.private_conversation_data, receipt.left) == (1, 0)
    assert await face.get() == BotData(None, "*")


async def test_while_a_turn_commits_a_read_waits_and_then_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.state.state_data.random.uniform", lambda *_: 0)
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.say()
    conversations, users = bot.conversations, bot.users
    assert isinstance(conversations, MemoryTable)
    assert isinstance(users, MemoryTable)
    # As a turn leaves it that opens a session and stands between its two writes.
    conversations.rows.clear()
    row = await bot.store.load_user(user_hash(CHANNEL, "ann"))
    assert row is not None
    with pytest.raises(StorageUnavailableError, match="which state counts"):
        await Face(bot, "user").get()
    bot.clock.sleep(40)
    assert (await Face(bot, "user").get()).data == {"count": 1}
