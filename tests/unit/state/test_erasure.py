"""Erasing a user: everything goes, whatever happens meanwhile, and nothing comes back."""

import asyncio
import re
import zlib
from dataclasses import asdict, replace
from typing import Any

import pytest

from shared.domain.conversation import Conversation
from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import user_hash
from shared.expiry.notice import NoticeResult, Verdict
from shared.state.erasure import Receipt, asks_for_erasure
from shared.storage.observed_table import ObservedTable
from shared.storage.tables import Row
from tests.bot_in_memory import (
    CHANNEL,
    BotInMemory,
    FunctionBot,
    activity,
    count_in_every_bag,
)
from tests.faults import FaultyTable, do_once, once
from tests.memory_table import MemoryTable

GROUP: dict[str, Any] = {"conversation": {"id": "group", "isGroup": True}}
ANN = user_hash(CHANNEL, "ann")


class Bot(BotInMemory):
    """A bot that counts in every bag, on tables that can fail."""

    def __init__(self) -> None:
        self.memory = MemoryTable(), MemoryTable()
        self.faulty = FaultyTable(self.memory[0]), FaultyTable(self.memory[1])
        super().__init__(
            FunctionBot(count_in_every_bag), conversations=self.faulty[0], users=self.faulty[1]
        )

    async def erase(self) -> Receipt:
        return await self.erasure.erase(CHANNEL, "ann")

    def rows(self) -> list[Row]:
        return [row for table in self.memory for row in table.rows.values()]

    def rows_about(self, user: str) -> list[Row]:
        """Every row that has the user's id or hash anywhere, in whatever is packed there too."""
        wanted = re.compile(rf"\b{re.escape(user)}\b|{user_hash(CHANNEL, user)}")
        return [row for row in self.rows() if wanted.search(_everything_in(row))]


def _everything_in(row: Row) -> str:
    parts = [row.partition, row.key]
    for value in row.columns.values():
        if isinstance(value, bytes):
            value = zlib.decompress(value) if value else b""  # noqa: PLW2901 - the same, readable
        parts.append(str(value))
    return " ".join(parts)


async def test_everything_about_the_user_goes_and_the_receipt_counts_it() -> None:
    bot = Bot()
    await bot.say()
    await bot.say(conversation={"id": "second"})
    await bot.say(**GROUP)
    await bot.say(sender="bob", **GROUP)
    receipt = await bot.erase()
    assert asdict(receipt) == {
        "user_data": 1,
        "private_conversation_data": 3,
        "personal_conversations": 2,
        "due_rows": 2,
        "dead_letters": 0,
        "left": 0,
    }
    assert bot.rows_about("ann") == []
    assert await bot.say(sender="bob", **GROUP) == ["3 2 2"]


async def test_shared_conversation_data_stay() -> None:
    bot = Bot()
    await bot.say(**GROUP)
    await bot.erase()
    assert await bot.say(**GROUP) == ["2 1 1"]


async def test_a_conversation_that_others_write_in_is_shared_even_if_no_channel_says_so() -> None:
    bot = Bot()
    await bot.say()
    await bot.say(sender="bob")
    await bot.say()
    await bot.erase()
    assert bot.rows_about("ann") == []
    assert await bot.say(sender="bob") == ["4 2 2"]


async def test_erasing_again_finds_nothing() -> None:
    bot = Bot()
    await bot.say()
    await bot.erase()
    assert await bot.erase() == Receipt()
    assert bot.rows() == []


async def test_no_notice_goes_to_an_erased_user() -> None:
    bot = Bot()
    await bot.say()
    bot.clock.sleep(103)
    await bot.erase()
    assert (await bot.sweep()).looked_at == 0


async def test_a_pending_notice_goes_too() -> None:
    bot = Bot()
    await bot.say()
    row = await bot.row()
    assert row is not None
    await bot.store.save(row.claimed(bot.clock.now))
    await bot.erase()
    assert bot.rows() == []


async def dead(_: Conversation) -> NoticeResult:
    return NoticeResult(Verdict.DEAD, 500)


async def test_dead_letters_that_name_the_user_go_too_and_are_counted() -> None:
    bot = Bot()
    await bot.say()
    await bot.say(conversation={"id": "second"})
    await bot.say(sender="bob", conversation={"id": "bobs"})
    await bot.say(**GROUP)
    bot.clock.sleep(103)
    assert (await bot.sweep(dead)).dead_lettered == 4
    await bot.say()  # back in one of them: both the letter and the new session go
    receipt = await bot.erase()
    assert (receipt.dead_letters, receipt.personal_conversations, receipt.left) == (2, 1, 0)
    assert bot.rows_about("ann") == []
    assert len(bot.rows_about("bob")) == 3  # his bag, his letter, and what leads there
    assert len(await bot.dead_letters()) == 2  # the group's names nobody


@pytest.mark.parametrize("back", [False, True], ids=["away", "back"])
@pytest.mark.parametrize("table", [0, 1])
@pytest.mark.parametrize(
    "at",
    [
        "write upsert d|",
        "get user",
        "write delete user",
        "query in|",
        "get c|",
        "get x|",
        "write delete x|",
        "write delete c|",
        "write delete in|",
    ],
)
async def test_a_letter_written_or_replayed_during_an_erasure_goes_too(
    at: str, table: int, *, back: bool
) -> None:
    bot = Bot()
    await bot.say()
    if back:
        bot.clock.sleep(103)
        await bot.sweep(dead)
        await bot.say()
    bot.clock.sleep(103)
    other = bot.another_process()

    async def put_aside_replayed_put_aside() -> None:
        await other.sweep(dead)
        for letter in await other.dead_letters():
            await other.store.replay(letter, bot.clock.now)
            bot.clock.sleep(10)
            await other.sweep(dead)

    bot.faulty[table].before = do_once(at, put_aside_replayed_put_aside)
    await bot.erase()
    bot.clock.sleep(70)
    await bot.sweep()
    assert bot.rows_about("ann") == []


@pytest.mark.parametrize("at", ["write upsert in|", "write insert c|"])
async def test_an_erasure_during_a_replay_is_not_undone_by_it(at: str) -> None:
    bot = Bot()
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep(dead)
    (letter,) = await bot.dead_letters()
    for table in bot.faulty:
        table.before = do_once(at, bot.erase)
    await bot.store.replay(letter, bot.clock.now)
    bot.clock.sleep(70)
    await bot.sweep()
    about = bot.rows_about("ann")
    assert [row.columns.keys() for row in about if row.key[:3] != "in|"] == []


@pytest.mark.parametrize("at", ["write upsert in|", "write delete p|", "write delete c|"])
async def test_an_erasure_during_the_writing_of_a_letter_is_not_undone_by_it(at: str) -> None:
    bot = Bot()
    await bot.say()
    bot.clock.sleep(103)
    for table in bot.faulty:
        table.before = do_once(at, bot.erase)
    await bot.sweep(dead)
    assert await bot.dead_letters() == []
    bot.clock.sleep(70)
    await bot.sweep()
    assert bot.rows_about("ann") == []


async def test_leftovers_of_an_ended_session_go_too() -> None:
    bot = Bot()
    await bot.say(**GROUP)
    await bot.say(sender="bob", **GROUP)
    bot.clock.sleep(100)
    await bot.say(sender="bob", **GROUP)  # a new session: ann's private row is a leftover
    await bot.erase()
    assert bot.rows_about("ann") == []


async def test_of_many_users_only_the_one_is_touched() -> None:
    bot = Bot()
    await bot.say()
    talk, user = await bot.row(), await bot.store.load_user(ANN)
    assert talk is not None
    assert user is not None
    for number in range(1000):
        address = bot.address(f"talk{number}")
        await bot.store.save(
            replace(talk, address=address, users={}, reference=None, replies=b"", etag=""),
            due=number,
        )
        await bot.store.save_user(f"user{number}", replace(user, address=address, etag=""), address)
    about_ann = {id(row) for row in bot.rows_about("ann")}
    others = {id(row) for row in bot.rows() if talk.address.key not in row.key} - about_ann
    tables = [ObservedTable(table) for table in bot.memory]
    counted = BotInMemory(bot.bot, conversations=tables[0], users=tables[1], clock=bot.clock)
    await counted.erasure.erase(CHANNEL, "ann")
    assert others <= {id(row) for row in bot.rows()}
    assert sum(table.requests for table in tables) <= 20
    assert bot.rows_about("ann") == []


@pytest.mark.parametrize("table", [0, 1])
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("request_number", range(12))
async def test_a_crash_at_any_request_is_finished_by_a_sweep(
    request_number: int, where: str, table: int
) -> None:
    bot = Bot()
    await bot.say()
    await bot.say(**GROUP)
    await bot.say(sender="bob", **GROUP)
    left = [request_number]

    async def crash(doing: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageUnavailableError(f"crashed at {doing}")

    setattr(bot.faulty[table], where, crash)
    try:
        await bot.erase()
    except StorageUnavailableError:
        finished = False
    else:
        finished = True
    for each in bot.faulty:
        each.before = each.after = once("nothing")
    bot.clock.sleep(5)
    await bot.sweep()
    # Before its first write an erasure has not begun: the caller knows it failed.
    if finished or any(row.key.endswith("|erase") for row in bot.rows()) or request_number > 0:
        assert bot.rows_about("ann") == []
    assert not any(row.key.endswith("|erase") for row in bot.rows())


@pytest.mark.parametrize(
    "at",
    [
        "write upsert d|",
        "get user",
        "write delete user",
        "query in|",
        "get c|",
        "get p|",
        "write delete p|",
        "write delete c|",
        "write replace c|",
        "write delete in|",
    ],
)
@pytest.mark.parametrize("talk", [{}, GROUP], ids=["personal", "group"])
async def test_a_turn_at_any_moment_brings_no_old_data_back(at: str, talk: dict[str, Any]) -> None:
    bot = Bot()
    for _ in range(5):
        await bot.say(**talk)
    other = bot.another_process()
    meanwhile = do_once(at, lambda: other.say(**talk))
    for table in bot.faulty:
        table.before = meanwhile
    await bot.erase()
    await bot.say(**talk)
    # Whatever is there now was counted since: user and private data began anew.
    _, user, private = bot.connector.texts[-1].split()
    assert int(user) <= 3
    assert int(private) <= 3


@pytest.mark.parametrize("talk", [{}, GROUP], ids=["personal", "group"])
@pytest.mark.parametrize("at", ["write replace user", "write replace c|"])
async def test_an_erasure_in_the_middle_of_a_turn_is_not_undone_by_it(
    at: str, talk: dict[str, Any]
) -> None:
    bot = Bot()
    for _ in range(5):
        await bot.say(**talk)
    meanwhile = do_once(at, bot.erase)
    for table in bot.faulty:
        table.before = meanwhile
    await bot.say(**talk)
    _, user, private = bot.connector.texts[-1].split()
    assert (int(user), int(private)) == (1, 1)


async def test_two_erasures_at_once_leave_nothing() -> None:
    bot = Bot()
    await bot.say()
    await bot.say(**GROUP)
    await asyncio.gather(bot.erase(), bot.another_process().erasure.erase(CHANNEL, "ann"))
    assert bot.rows_about("ann") == []


async def test_a_users_list_ends_with_its_conversations() -> None:
    bot = Bot()
    await bot.say()
    await bot.say(**GROUP)
    bot.clock.sleep(103)
    await bot.sweep()
    assert [row.key for row in bot.rows()] == ["user"]


REMOVED: dict[str, Any] = {"type": "installationUpdate", "action": "remove"}


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        ({"type": "deleteUserData"}, True),
        ({"type": "deleteUserData", "conversation": {"id": "19:x", "isGroup": True}}, True),
        ({"type": "contactRelationUpdate", "action": "remove"}, True),
        ({"type": "contactRelationUpdate", "action": "add"}, False),
        ({"type": "installationUpdate", "action": "remove"}, True),
        ({**REMOVED, "conversation": {"id": "a:1", "conversationType": "personal"}}, True),
        ({**REMOVED, "conversation": {"id": "19:x", "isGroup": True}}, False),
        ({**REMOVED, "conversation": {"id": "19:x", "conversationType": "channel"}}, False),
        ({**REMOVED, "conversation": {"id": "19:x", "conversationType": "groupChat"}}, False),
        ({**REMOVED, "conversation": {"id": "19:x@thread.tacv2"}}, False),
        ({**REMOVED, "conversation": {"id": "19:x@thread.v2;messageid=1"}}, False),
        ({**REMOVED, "channelData": {"team": {"id": "19:x"}}}, False),
        ({"type": "installationUpdate", "action": "remove-upgrade"}, False),
        ({"type": "installationUpdate", "action": "add"}, False),
        ({"type": "installationUpdate"}, False),
        ({"type": "message", "action": "remove"}, False),
        ({"type": "conversationUpdate", "membersRemoved": [{"id": "ann"}]}, False),
    ],
)
def test_only_the_documented_activities_ask_for_erasure(
    fields: dict[str, Any], *, asks: bool
) -> None:
    asked = activity(**{"channelId": "msteams", **fields})
    assert asks_for_erasure(asked, are_ids_bound=False) is asks


@pytest.mark.parametrize("kind", ["deleteUserData", "contactRelationUpdate", "installationUpdate"])
@pytest.mark.parametrize("channel", ["directline", "webchat", "DirectLine", "emulator"])
@pytest.mark.parametrize("are_ids_bound", [True, False])
def test_where_clients_choose_ids_only_enhanced_authentication_vouches_for_them(
    kind: str, channel: str, *, are_ids_bound: bool
) -> None:
    asked = activity(type=kind, action="remove", channelId=channel)
    assert asks_for_erasure(asked, are_ids_bound=are_ids_bound) is are_ids_bound


async def test_to_leave_a_group_ends_its_conversation_without_a_word() -> None:
    bot = Bot()
    await bot.say(**GROUP)
    await bot.say()
    await bot.take(activity(**{**REMOVED, **GROUP}))
    sent = len(bot.connector.sent)
    assert await bot.store.has_user(ANN)
    bot.clock.sleep(103)
    await bot.sweep()
    told = [body["conversation"]["id"] for _, _, body in bot.connector.sent[sent:]]
    assert GROUP["conversation"]["id"] not in told


@pytest.mark.parametrize("talk", [{}, GROUP], ids=["personal", "group"])
async def test_a_first_turn_in_flight_keeps_nothing_that_a_later_erasure_would_not_find(
    talk: dict[str, Any],
) -> None:
    bot = Bot()
    bot.faulty[0].before = do_once("write insert c|", bot.erase)
    await bot.say(**talk)
    receipt = await bot.erase()
    assert (receipt.private_conversation_data, receipt.left) == (1, 0)
    assert bot.rows_about("ann") == []
    bot.clock.sleep(200)
    await bot.sweep()
    assert bot.rows() == []


async def test_what_stands_in_the_way_of_a_first_turn_is_swept_without_a_word() -> None:
    bot = Bot()
    await bot.store.save_user(ANN, None, bot.address())
    await bot.erase()
    bot.clock.sleep(5)
    await bot.sweep()
    assert bot.rows() == []
    assert bot.connector.sent == []


async def test_a_session_that_begins_during_an_erasure_still_expires() -> None:
    bot = Bot()
    await bot.say()
    other = bot.another_process()
    bot.faulty[0].after = do_once("write delete c|", lambda: other.say(sender="bob"))
    await bot.erase()
    bot.clock.sleep(103)
    report = await bot.sweep()
    assert (report.expired, report.notified) == (1, 1)
