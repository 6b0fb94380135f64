"""Ids of messages that a bot keeps in state, and what they stand for in later turns."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.schema import Activity, ConversationReference

from shared.connector.client import ConnectorError
from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import user_hash
from shared.state import codec
from tests.bot_in_memory import (
    CHANNEL,
    SERVICE_URL,
    BotInMemory,
    FakeConnector,
    FunctionBot,
    InCosmos,
    activity,
)
from tests.faults import FaultyTable, do_once, once
from tests.memory_table import MemoryTable

BAGS = ("conversation", "private", "user")
GROUP: dict[str, Any] = {"conversation": {"id": "talk", "isGroup": True}}


async def sent_by(context: TurnContext, text: str) -> str:
    sent = await context.send_activity(text)
    assert sent is not None
    return str(sent.id)


async def keep_cards(bot: FunctionBot, context: TurnContext) -> None:
    """Keep the id of a card in the bags that are named, change it, take it back, or show it."""
    command, *bags = context.activity.text.split()
    properties = [getattr(bot, name).create_property("card") for name in bags]
    if command == "card":
        id_ = await sent_by(context, "the card")
        for each in properties:
            await each.set(context, {"ids": [id_]})
        return
    for each in properties:
        (id_,) = (await each.get(context, {"ids": ["none"]}))["ids"]
        if command == "change":
            await context.update_activity(Activity(id=id_, type="message", text="changed"))
        elif command == "drop":
            await context.delete_activity(id_)
        else:
            await context.send_activity(id_)


@pytest.fixture
def tables() -> tuple[FaultyTable, FaultyTable]:
    return FaultyTable(MemoryTable()), FaultyTable(MemoryTable())


@pytest.fixture
def bot(tables: tuple[FaultyTable, FaultyTable]) -> BotInMemory:
    conversations, users = tables
    return BotInMemory(FunctionBot(keep_cards), conversations=conversations, users=users)


def on_the_wire(connector: FakeConnector) -> list[tuple[str, str, str]]:
    """Method, id in the path (of what was answered) and text of each request."""
    return [
        (method, path.split("/activities")[1].strip("/"), body.get("text", ""))
        for method, path, body in connector.sent
    ]


def last_id(bot: BotInMemory) -> str:
    return bot.connector.ids[-1]


@pytest.mark.parametrize("another_process", [False, True])
@pytest.mark.parametrize("bag", BAGS)
async def test_an_id_in_state_is_the_channels_in_the_next_turn(
    bot: BotInMemory, bag: str, *, another_process: bool
) -> None:
    await bot.say(f"card {bag}")
    card = last_id(bot)
    later = bot.another_process() if another_process else bot
    assert await later.say(f"show {bag}") == [card]
    await later.say(f"change {bag}")
    await later.say(f"drop {bag}")
    assert on_the_wire(bot.connector)[-2:] == [("PUT", card, "changed"), ("DELETE", card, "")]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("bag", BAGS)
async def test_the_same_in_cosmos_db(bag: str, *, alone: bool) -> None:
    bot = BotInMemory(FunctionBot(keep_cards), cosmos=InCosmos(alone=alone))
    await bot.say(f"card {bag}")
    card = last_id(bot)
    assert await bot.another_process().say(f"show {bag}") == [card]


async def test_an_id_in_all_three_bags_is_the_channels_in_each(bot: BotInMemory) -> None:
    everywhere = " ".join(BAGS)
    await bot.say(f"card {everywhere}")
    card = last_id(bot)
    assert await bot.say(f"show {everywhere}") == [card] * 3


@pytest.mark.parametrize(
    ("bag", "more"), [("", (0, 0)), ("conversation", (1, 0)), ("private", (2, 0)), ("user", (0, 2))]
)
async def test_only_a_turn_that_keeps_an_id_makes_more_requests(
    bag: str, more: tuple[int, int]
) -> None:
    """One write more; of private and user state one read more, too."""

    async def keep(bot: FunctionBot, context: TurnContext) -> None:
        sent = await sent_by(context, "the card")
        for name in BAGS:
            kept = sent if name == bag else context.activity.id
            await getattr(bot, name).create_property("card").set(context, kept)

    async def requests(keeping: Callable[..., Any]) -> tuple[int, int]:
        tables = MemoryTable(), MemoryTable()
        bot = BotInMemory(FunctionBot(keeping), conversations=tables[0], users=tables[1])
        await bot.say()
        tables[0].requests = tables[1].requests = 0
        await bot.say()
        return tables[0].requests, tables[1].requests

    async def keep_none(bot: FunctionBot, context: TurnContext) -> None:
        await context.send_activity("the card")
        for name in BAGS:
            await getattr(bot, name).create_property("card").set(context, context.activity.id)

    usual = await requests(keep_none)
    found = await requests(keep)
    assert (found[0] - usual[0], found[1] - usual[1]) == more


async def test_no_placeholder_reaches_the_channel(bot: BotInMemory) -> None:
    for text in ("card user", "change user", "card conversation", "change conversation user"):
        await bot.say(text)
    assert all("held-" not in f"{path}{body}" for _, path, body in bot.connector.sent)


# Other writers


@pytest.mark.parametrize("bag", BAGS)
async def test_what_others_save_before_the_id_is_written_stays(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable], bag: str
) -> None:
    other = replace(bot, bot=FunctionBot(_note))

    async def note() -> None:
        await other.say(f"note {bag}")

    table = tables[1] if bag == "user" else tables[0]
    table.before = _before_the_write_of_ids(bot, note)
    await bot.say(f"card {bag}")
    card = bot.connector.ids[0]
    assert await bot.say(f"show {bag}") == [card]
    assert await replace(bot, bot=FunctionBot(_show_note)).say(bag) == ["noted"]


async def _note(bot: FunctionBot, context: TurnContext) -> None:
    _, bag = context.activity.text.split()
    await getattr(bot, bag).create_property("note").set(context, "noted")


async def _show_note(bot: FunctionBot, context: TurnContext) -> None:
    note = getattr(bot, context.activity.text).create_property("note")
    await context.send_activity(await note.get(context, "lost"))


async def test_a_turn_that_runs_again_keeps_the_id_of_what_was_sent(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    await bot.say("card conversation")
    other = bot.another_process()
    tables[0].before = do_once("write replace c|", lambda: other.say("show conversation"))
    await bot.say("card conversation")
    assert bot.bot.runs == 4  # type: ignore[attr-defined] # a FunctionBot: it ran again
    assert await bot.say("show conversation") == [bot.connector.ids[2]]


async def test_a_commit_whose_answer_is_lost_is_known_and_its_id_is_written(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    tables[0].after = once("write insert c|")
    await bot.say("card conversation")
    card = last_id(bot)
    assert await bot.say("show conversation") == [card]


async def test_a_session_that_is_over_meanwhile_stays_over(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    await bot.say("card conversation private")
    other = bot.another_process()

    async def expire() -> None:
        bot.clock.sleep(103)
        await other.sweep()

    await bot.say("card conversation private")
    assert bot_keys(tables) == ["c", "d", "p"]
    tables[0].before = _before_the_write_of_ids(bot, expire)
    await bot.say("card conversation private")
    assert bot_keys(tables) == []


def _before_the_write_of_ids(bot: BotInMemory, work: Callable[[], Any]) -> Callable[[str], Any]:
    """Does `work` before the first write after the next message went out."""
    sent = len(bot.connector.sent)
    armed = [True]

    async def hook(doing: str) -> None:
        if len(bot.connector.sent) > sent and doing.startswith("write") and armed:
            armed.clear()
            await work()

    return hook


def bot_keys(tables: tuple[FaultyTable, FaultyTable]) -> list[str]:
    rows = tables[0]._table.rows  # type: ignore[attr-defined] # a MemoryTable
    return sorted(key[0] for _, key in rows)


async def test_an_expired_row_is_left_to_its_sweep(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    claimed = []

    async def claim() -> None:
        row = await bot.row()
        assert row is not None
        claimed.append(await bot.store.save(row.claimed(bot.clock.now)))

    tables[0].before = _before_the_write_of_ids(bot, claim)
    await bot.say("card conversation private")
    assert await bot.row() == claimed[0]


async def test_if_another_turn_of_the_user_was_not_committed_both_states_get_the_id(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    await bot.say("show", conversation={"id": "other"})
    dies = replace(bot, bot=FunctionBot(_note), conversations=FaultyTable(tables[0]))

    async def half_a_turn() -> None:
        dies.conversations.before = once("write replace", RuntimeError("dies"))  # type: ignore[attr-defined] # a FaultyTable
        await dies.say("note user", conversation={"id": "other"})

    tables[1].before = _before_the_write_of_ids(bot, half_a_turn)
    await bot.say("card user")
    card = bot.connector.ids[0]
    row = await bot.store.load_user(user_hash(CHANNEL, "ann"))
    assert row is not None
    assert codec.unpack(row.before) == {"card": {"ids": [card]}}
    assert codec.unpack(row.state) == {"card": {"ids": [card]}, "note": "noted"}
    assert await bot.say("show user") == [card]


async def test_an_erased_user_does_not_come_back_with_the_id(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    await bot.say("card " + " ".join(BAGS))

    async def erase() -> None:
        await bot.another_process().erasure.erase(CHANNEL, "ann")

    for table in tables:
        table.before = _before_the_write_of_ids(bot, erase)
        await bot.say("card " + " ".join(BAGS))
        assert bot_keys(tables) == []
        users = tables[1]._table.rows  # type: ignore[attr-defined] # a MemoryTable
        assert users == {}


async def test_a_copy_that_loses_leaves_the_placeholder_of_the_turn_that_was_saved(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    message = activity("card user")
    slow = FaultyTable(tables[0])
    copy = replace(bot, conversations=slow)
    commits, may_commit = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        commits.set()
        await may_commit.wait()

    slow.before = do_once("write insert c|", wait)

    async with asyncio.TaskGroup() as tasks:

        async def let_the_copy_write_the_user() -> None:
            tasks.create_task(copy.take(message))
            await commits.wait()

        tables[1].after = do_once("write insert user", let_the_copy_write_the_user)
        await bot.take(message)
        may_commit.set()
    assert bot.connector.texts == ["the card"]
    assert await bot.say("show user") == [bot.connector.ids[0]]


# What has not been sent, or nobody knows


async def test_an_id_that_was_never_written_is_sent_anew_and_then_known(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    """A process that dies between sending and that write is the same."""
    for bag in BAGS:
        table = tables[1] if bag == "user" else tables[0]
        table.before = _before_the_write_of_ids(bot, _fail)
        await bot.say(f"card {bag}")
        assert await bot.say(f"change {bag}") == ["changed"]
        changed = last_id(bot)
        assert await bot.another_process().say(f"show {bag}") == [changed]


async def _fail() -> None:
    raise StorageUnavailableError("no answer")


async def test_a_message_that_never_came_is_sent_by_its_update_and_not_deleted(
    bot: BotInMemory,
) -> None:
    bot.connector.refuse = lambda _: ConnectorError("blocked", status=403)
    await bot.say("card conversation")
    bot.connector.refuse = lambda _: None
    assert await bot.say("drop conversation") == []
    assert bot.connector.sent == []
    assert await bot.say("change conversation") == ["changed"]
    assert await bot.say("show conversation") == [bot.connector.ids[0]]


async def test_of_a_batch_that_is_sent_in_part_the_sent_ones_are_known(bot: BotInMemory) -> None:
    async def three(bot: FunctionBot, context: TurnContext) -> None:
        kept = bot.conversation.create_property("three")
        if context.activity.text == "send":
            await kept.set(
                context, [await sent_by(context, text) for text in ("one", "two", "three")]
            )
            return
        for id_, text in zip(await kept.get(context), ("1", "2", "3"), strict=True):
            await context.update_activity(Activity(id=id_, type="message", text=text))

    bot = replace(bot, bot=FunctionBot(three))

    def refuse_two(body: dict[str, Any]) -> ConnectorError | None:
        return ConnectorError("no", status=400) if body.get("text") == "two" else None

    bot.connector.refuse = refuse_two
    await bot.say("send")
    one = last_id(bot)
    bot.connector.refuse = lambda _: None
    await bot.another_process().say("change")
    assert on_the_wire(bot.connector)[1:] == [
        ("PUT", one, "1"),
        ("POST", on_the_wire(bot.connector)[2][1], "2"),
        ("POST", on_the_wire(bot.connector)[3][1], "3"),
    ]


async def test_a_channel_that_gives_no_id_leaves_the_placeholder() -> None:
    class Silent(FakeConnector):
        async def request(self, *arguments: Any, **options: Any) -> Any:
            await super().request(*arguments, **options)
            return {}

    bot = BotInMemory(FunctionBot(keep_cards), connector=Silent())
    await bot.say("card conversation")
    assert await bot.say("change conversation") == ["changed"]


# Copies of one activity, the end of a session, other versions


async def test_the_copy_that_sends_the_replies_of_a_dead_process_writes_their_id(
    bot: BotInMemory,
) -> None:
    message = activity("card " + " ".join(BAGS))
    died = bot.another_process()
    died.connector = FakeConnector()
    died.connector.refuse = lambda _: ConnectorError("gone", status=400)  # so it learns no id
    died.__post_init__()
    await died.take(message)
    bot.clock.sleep(10)
    await bot.take(message)
    assert bot.connector.texts == ["the card"]
    assert await bot.say("show " + " ".join(BAGS)) == [bot.connector.ids[0]] * 3


async def test_in_user_state_the_id_outlives_the_session(bot: BotInMemory) -> None:
    await bot.say("card user")
    card = last_id(bot)
    bot.clock.sleep(103)
    await bot.sweep()
    assert await bot.say("show user") == [card]


async def test_in_user_state_the_id_is_known_in_other_conversations(bot: BotInMemory) -> None:
    await bot.say("card user")
    card = last_id(bot)
    assert await bot.say("show user", conversation={"id": "elsewhere"}) == [card]


async def test_a_large_group_keeps_ids_too(bot: BotInMemory) -> None:
    bot.store.users_in_row = 1
    await bot.say("card conversation", sender="bob", **GROUP)
    await bot.say("card private user", sender="ann", **GROUP)
    card = last_id(bot)
    assert await bot.say("show private user", sender="ann", **GROUP) == [card, card]


async def test_a_turn_of_the_authors_own_code_keeps_ids(bot: BotInMemory) -> None:
    async def say(context: TurnContext) -> None:
        assert isinstance(bot.bot, FunctionBot)
        id_ = await sent_by(context, "the card")
        await bot.bot.conversation.create_property("card").set(context, {"ids": [id_]})
        await bot.bot.conversation.save_changes(context)

    await bot.say("hello")
    where = ConversationReference(
        channel_id=CHANNEL,
        service_url=SERVICE_URL,
        conversation=activity().conversation,
        bot=activity().recipient,
        user=activity().from_property,
    )
    await bot.turns.continue_conversation(where, say)
    card = last_id(bot)
    assert await bot.say("show conversation") == [card]


async def test_rest_clients_that_read_the_placeholder_cannot_write_it_back(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    read: list[str] = []

    async def read_version() -> None:
        row = await bot.row()
        assert row is not None
        private = await bot.store.load_private(row, user_hash(CHANNEL, "ann"))
        read.extend((row.state_version, private.version))

    tables[0].before = _before_the_write_of_ids(bot, read_version)
    await bot.say("card conversation private")
    row = await bot.row()
    assert row is not None
    private = await bot.store.load_private(row, user_hash(CHANNEL, "ann"))
    versions = (row.state_version, private.version)
    assert all(now not in ("", before) for now, before in zip(versions, read, strict=True))


async def test_nothing_of_this_is_left_in_the_rows_for_a_version_that_knows_no_placeholders(
    bot: BotInMemory, tables: tuple[FaultyTable, FaultyTable]
) -> None:
    """Going back a version finds plain ids: the state is all that changes."""
    await bot.say("card " + " ".join(BAGS))
    card = last_id(bot)
    row = await bot.row()
    assert row is not None
    assert codec.unpack(row.state or b"") == {"card": {"ids": [card]}}
    user = await bot.store.load_user(user_hash(CHANNEL, "ann"))
    assert user is not None
    assert codec.unpack(user.state) == {"card": {"ids": [card]}}


async def test_many_turns_at_once_in_two_processes_keep_all_their_ids() -> None:
    async def append(bot: FunctionBot, context: TurnContext) -> None:
        id_ = await sent_by(context, f"card {context.activity.text}")
        for bag in (bot.conversation, bot.user, bot.private):
            cards = bag.create_property("cards")
            await cards.set(context, [*await cards.get(context, []), id_])

    bot = BotInMemory(FunctionBot(append))
    other = bot.another_process()
    for number in range(5):
        await asyncio.gather(bot.say(f"a{number}"), other.say(f"b{number}"))
    row = await bot.row()
    assert row is not None
    user = await bot.store.load_user(user_hash(CHANNEL, "ann"))
    private = await bot.store.load_private(row, user_hash(CHANNEL, "ann"))
    assert user is not None
    for state in (row.state or b"", user.state, private.state):
        assert sorted(codec.unpack(state)["cards"]) == sorted(bot.connector.ids)
