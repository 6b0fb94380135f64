"""A group of any size: every member is answered, and no turn costs more than in a small one."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from shared.domain.conversation import USERS_IN_ROW, Conversation
from shared.domain.identity import user_hash
from shared.expiry.notice import NoticeResult, Verdict
from shared.state import codec
from shared.state.state_data import BotData, StateData
from shared.storage import table_store
from shared.storage.tables import Operation, Row, Table
from tests.bot_in_memory import (
    CHANNEL,
    BotInMemory,
    FunctionBot,
    InCosmos,
    activity,
    count_in_every_bag,
)
from tests.faults import FaultyTable, do_once, once
from tests.memory_table import MemoryTable

GROUP: dict[str, Any] = {"conversation": {"id": "talk", "isGroup": True}}
MANY = 400
IDLE = 103


def bot_of(*, in_cosmos: bool = False) -> BotInMemory:
    cosmos = InCosmos() if in_cosmos else None
    return BotInMemory(FunctionBot(count_in_every_bag), cosmos=cosmos)


def rows_of(bot: BotInMemory) -> tuple[MemoryTable, MemoryTable]:
    assert isinstance(bot.conversations, MemoryTable)
    assert isinstance(bot.users, MemoryTable)
    return bot.conversations, bot.users


def requests(bot: BotInMemory) -> int:
    return sum(table.requests for table in rows_of(bot))


async def cost_of(bot: BotInMemory, sender: str) -> int:
    before = requests(bot)
    await bot.say(sender=sender, **GROUP)
    return requests(bot) - before


def size_of(bot: BotInMemory) -> int:
    conversations, _ = rows_of(bot)
    (row,) = [row for (_, key), row in conversations.rows.items() if key.startswith("c|")]
    return sum(len(str(value)) for value in row.columns.values())


@pytest.fixture
def small() -> BotInMemory:
    """A bot whose conversations' rows name one user only."""
    bot = bot_of()
    bot.store.users_in_row = 1
    return bot


@pytest.mark.slow
async def test_every_member_is_answered_and_counts_alone() -> None:
    bot = bot_of()
    for number in range(MANY):
        assert await bot.say(sender=f"u{number}", **GROUP) == [f"{number + 1} 1 1"]
    for number in (0, USERS_IN_ROW - 1, USERS_IN_ROW, MANY - 1):
        said = await bot.say(sender=f"u{number}", **GROUP)
        assert said[0].split()[1:] == ["2", "2"]


@pytest.mark.slow
async def test_neither_requests_nor_bytes_grow_with_the_members() -> None:
    bot = bot_of()
    await bot.say(sender="u0", **GROUP)
    second = [await cost_of(bot, "u1"), await cost_of(bot, "u1")]
    for number in range(2, MANY):
        await bot.say(sender=f"u{number}", **GROUP)
        if number == 2 * USERS_IN_ROW:
            size = size_of(bot)
    assert second == [await cost_of(bot, "late"), await cost_of(bot, "late")]
    assert second[1] == await cost_of(bot, f"u{MANY // 2}")
    assert abs(size_of(bot) - size) < 20  # the count has more digits


@pytest.mark.parametrize("is_group", [True, None])
async def test_another_process_counts_on(small: BotInMemory, is_group: bool | None) -> None:
    where: dict[str, Any] = {"conversation": {"id": "talk", "isGroup": is_group}}
    other = small.another_process()
    other.store.users_in_row = 1
    for number in range(1, 4):
        for bot in (small, other):
            for sender in ("ann", "bob", "cid"):
                said = await bot.say(sender=sender, **where)
                assert said[0].split()[1] == str(2 * number - (bot is small))


async def test_a_turn_that_died_before_its_commit_does_not_count(small: BotInMemory) -> None:
    await small.say(sender="ann", **GROUP)
    await small.say(sender="bob", **GROUP)
    dying = FaultyTable(small.conversations)
    dying.before = once("write replace c|", asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await on(small, dying).say(sender="bob", **GROUP)
    assert await small.say(sender="bob", **GROUP) == ["3 2 2"]


async def test_a_commit_whose_answer_was_lost_counts_once(small: BotInMemory) -> None:
    await small.say(sender="ann", **GROUP)
    await small.say(sender="bob", **GROUP)
    losing = FaultyTable(small.conversations)
    losing.after = once("write replace c|")
    assert await on(small, losing).say(sender="bob", **GROUP) == ["3 2 2"]
    assert await small.say(sender="bob", **GROUP) == ["4 3 3"]


async def test_user_state_outlives_the_end_of_the_conversation(small: BotInMemory) -> None:
    for sender in ("ann", "bob", "cid"):
        await small.say(sender=sender, **GROUP)
    await small.take(activity(type="endOfConversation", sender="ann", **GROUP))
    other = on(small, small.conversations)
    assert await other.say(sender="bob", **GROUP) == ["1 2 1"]
    small.clock.sleep(IDLE)
    await small.sweep()
    assert await on(small, small.conversations).say(sender="cid", **GROUP) == ["1 2 1"]


@pytest.mark.parametrize("verdict", [Verdict.DELIVERED, Verdict.DEAD])
@pytest.mark.parametrize("in_cosmos", [False, True])
async def test_a_sweep_removes_all_of_them_in_steps(
    monkeypatch: pytest.MonkeyPatch, verdict: Verdict, *, in_cosmos: bool
) -> None:
    monkeypatch.setattr(table_store, "MOST_LEFTOVERS", 20)
    bot = bot_of(in_cosmos=in_cosmos)
    for number in range(60):
        await bot.say(sender=f"u{number}", **GROUP)
    notices = 0

    async def notice(_: Conversation) -> NoticeResult:
        nonlocal notices
        notices += 1
        return NoticeResult(verdict)

    bot.clock.sleep(IDLE)
    conversations, users = rows_of(bot)
    steps = []
    while any(key.startswith(("c|", "d|")) for _, key in conversations.rows):
        await bot.sweep(notice)
        steps.append(sum(key.startswith("p|") for _, key in conversations.rows))
    assert notices == 1
    assert len(steps) > 2
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == 0
    assert [key for _, key in users.rows if key.startswith("in|")] == []


async def test_a_member_who_is_back_during_the_sweep_keeps_what_is_new(small: BotInMemory) -> None:
    for sender in ("ann", "bob", "cid"):
        await small.say(sender=sender, **GROUP)
    small.clock.sleep(IDLE)
    table = FaultyTable(small.conversations)
    # The conversation is gone, its leftovers are not.
    table.before = do_once("query p|", lambda: small.say(sender="bob", **GROUP))
    sweeping = on(small, table)
    await sweeping.sweep()
    assert await on(small, small.conversations).say(sender="bob", **GROUP) == ["2 3 2"]
    receipt = await small.erasure.erase(CHANNEL, "bob")
    assert (receipt.user_data, receipt.private_conversation_data) == (1, 1)


@pytest.mark.parametrize("in_cosmos", [False, True])
async def test_an_erasure_leaves_nothing_of_a_member(*, in_cosmos: bool) -> None:
    bot = bot_of(in_cosmos=in_cosmos)
    names = [f"u{number}" for number in range(USERS_IN_ROW + 4)]
    for name in names:
        await bot.say(sender=name, **GROUP)
    for name in (names[-1], names[0]):
        receipt = await bot.erasure.erase(CHANNEL, name)
        assert (receipt.user_data, receipt.private_conversation_data) == (1, 1)
        assert (receipt.personal_conversations, receipt.left) == (0, 0)
        hashed = user_hash(CHANNEL, name)
        for table in rows_of(bot):
            assert not [at for at in table.rows if hashed in "|".join(at)]
            assert not [row for row in table.rows.values() if hashed in str(row.columns)]
        assert await bot.say(sender=name, **GROUP) == [f"{len(names) + 1} 1 1"] or name == names[0]
    assert (await bot.say(sender=names[-2], **GROUP))[0].split()[1:] == ["2", "2"]


async def test_the_last_named_user_of_a_crowd_is_not_alone(small: BotInMemory) -> None:
    for sender in ("ann", "bob"):
        await small.say(sender=sender)  # the channel does not say that it is a group
    await small.erasure.erase(CHANNEL, "ann")
    await small.say(sender="cid")
    assert (await small.erasure.erase(CHANNEL, "cid")).personal_conversations == 0
    assert await small.say(sender="bob") == ["4 2 2"]


async def test_rest_keeps_private_data_of_every_member() -> None:
    bot = bot_of()
    data = StateData(bot.store, policy=bot.policy, now=bot.clock)
    for number in range(MANY):
        await data.save_private(CHANNEL, "talk", f"u{number}", BotData({"n": number}, ""))
    before = requests(bot)
    await data.save_private(CHANNEL, "talk", "u399", BotData({"n": 0}, ""))
    after = requests(bot)
    await data.save_private(CHANNEL, "talk", "u0", BotData({"n": 0}, ""))
    assert after - before == requests(bot) - after
    assert (await data.get_private(CHANNEL, "talk", "u398")).data == {"n": 398}
    assert (await bot.erasure.erase(CHANNEL, "u399")).private_conversation_data == 1
    assert size_of(bot) < 3000


# Two versions side by side: the earlier one knows neither own rows nor their columns


async def test_an_earlier_version_takes_the_turn_of_an_own_row_for_committed(
    small: BotInMemory,
) -> None:
    await small.say(sender="ann", **GROUP)
    await small.say(sender="bob", **GROUP)
    _, users = rows_of(small)
    row = users.rows[user_hash(CHANNEL, "bob"), "user"]
    # It judges by Writer: without one, the state in the row counts.
    assert "Writer" not in row.columns
    assert codec.unpack(row.columns["State00"]) == {"count": 1}


async def test_what_an_earlier_version_writes_is_read(small: BotInMemory) -> None:
    for sender in ("ann", "bob", "cid"):
        await small.say(sender=sender, **GROUP)
    conversations, users = rows_of(small)
    # It takes a turn of Bob's: names him in the conversation, and drops what it does not know.
    await small.say(sender="bob", **GROUP)
    bob = user_hash(CHANNEL, "bob")
    row = users.rows[bob, "user"]
    writer = row.columns["OwnRowWriter"]
    old = {name: value for name, value in row.columns.items() if name != "OwnRowWriter"}
    await write(users, replace(row, columns={**old, "Writer": writer}, etag=""))
    (c,) = [row for (_, key), row in conversations.rows.items() if key.startswith("c|")]
    named = {**json.loads(c.columns["Users"]), bob: [writer, ""]}
    kept = {name: value for name, value in c.columns.items() if name not in ("HasOwnRows", "Form")}
    await write(conversations, replace(c, columns={**kept, "Users": json.dumps(named)}, etag=""))
    (own,) = [row for (_, key), row in conversations.rows.items() if key.endswith(f"{bob}|w")]
    await write(conversations, replace(own, columns={**own.columns, "Writer": "before"}, etag=""))
    again = on(small, conversations)
    assert await again.say(sender="bob", **GROUP) == ["5 3 3"]
    assert await again.say(sender="cid", **GROUP) == ["6 2 2"]


@pytest.mark.slow
async def test_a_row_that_names_hundreds_is_read_and_written(small: BotInMemory) -> None:
    small.store.users_in_row = 300
    for number in range(300):
        await small.say(sender=f"u{number}", **GROUP)
    new = BotInMemory(
        small.bot,
        small.timing,
        small.clock,
        small.conversations,
        small.users,
        small.connector,
    )
    assert await new.say(sender="u299", **GROUP) == ["301 2 2"]
    assert await new.say(sender="late", **GROUP) == ["302 1 1"]
    assert await new.say(sender="late", **GROUP) == ["303 2 2"]


async def write(table: MemoryTable, row: Row) -> None:
    await table.write([Operation("upsert", row)])


def on(bot: BotInMemory, conversations: Table) -> BotInMemory:
    """Another process, whose requests about conversations go through this table."""
    other = replace(bot, conversations=conversations)
    other.store.users_in_row = bot.store.users_in_row
    return other
