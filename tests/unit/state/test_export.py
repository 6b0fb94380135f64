"""Exporting a user: everything that is stored about one user, and nothing about others."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.conversation import Conversation
from shared.domain.errors import NewerRowError
from shared.domain.identity import user_hash
from shared.domain.timing import Timing
from shared.expiry.notice import NoticeResult, Verdict
from shared.state.export import Exports
from shared.storage.tables import Operation, Row
from shared.turn.replies import unpacked_json
from tests.bot_in_memory import CHANNEL, BotInMemory, FunctionBot, InCosmos, count_in_every_bag
from tests.memory_table import MemoryTable

GROUP: dict[str, Any] = {"conversation": {"id": "group", "isGroup": True}}
ANN = user_hash(CHANNEL, "ann")
STORES: dict[str, Callable[[], InCosmos | None]] = {
    "tables": lambda: None,
    "cosmos": InCosmos,
    "cosmos alone": lambda: InCosmos(alone=True),
}


async def exported(bot: BotInMemory, user: str = "ann") -> dict[str, Any]:
    exports = Exports(bot.state_store, now=bot.clock, replies=unpacked_json)
    found: dict[str, Any] = json.loads(
        "".join([piece async for piece in exports.of_user(CHANNEL, user)])
    )
    return found


def in_memory() -> BotInMemory:
    return BotInMemory(FunctionBot(count_in_every_bag))


def table(bot: BotInMemory, name: str = "conversations") -> MemoryTable:
    found = getattr(bot, name)
    assert isinstance(found, MemoryTable)
    return found


async def change(bot: BotInMemory, name: str, prefix: str, **columns: object) -> Row:
    """Change columns of the rows that begin so; returns the last."""
    changed = None
    for row in list(table(bot, name).rows.values()):
        if row.key.startswith(prefix):
            changed = replace(row, columns={**row.columns, **columns})
            await table(bot, name).write([Operation("upsert", changed)])
    assert changed is not None
    return changed


@pytest.mark.parametrize("store", STORES)
async def test_it_holds_every_kind_of_data_about_the_user(store: str) -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag), cosmos=STORES[store]())
    await bot.say(locale="it-IT")
    await bot.say()
    await bot.say(**GROUP)
    await bot.say(sender="bob", **GROUP)
    found = await exported(bot)
    assert (found["channelId"], found["userId"], found["userHash"]) == (CHANNEL, "ann", ANN)
    assert found["userData"] == [{"count": 3}, {"count": 2}]
    assert (found["deadLetters"], found["unreadable"]) == ([], [])
    personal, group = sorted(found["conversations"], key=lambda each: each["conversation"])[::-1]
    assert personal["conversation"] == f"{CHANNEL}|talk"
    assert personal["isPersonal"]
    assert (personal["conversationData"], personal["privateData"]) == ({"count": 2}, {"count": 2})
    assert personal["reference"]["user"] == {"id": "ann"}
    assert "2 2 2" in json.dumps(personal["lastReplies"])
    assert not group["isPersonal"]
    assert group["privateData"] == {"count": 1}
    assert "conversationData" not in group  # the group's
    assert "bob" not in json.dumps(found)


async def test_of_a_stranger_there_is_nothing() -> None:
    bot = in_memory()
    await bot.say(sender="bob")
    found = await exported(bot)
    assert (found["userData"], found["conversations"], found["deadLetters"]) == ([], [], [])


async def test_it_changes_nothing() -> None:
    bot = in_memory()
    await bot.say()
    before = {name: dict(table(bot, name).rows) for name in ("conversations", "users")}
    await exported(bot)
    assert before == {name: table(bot, name).rows for name in before}


async def test_dead_letters_and_what_ended_sessions_left_are_in_it() -> None:
    async def dead(_: Conversation) -> NoticeResult:
        return NoticeResult(Verdict.DEAD, 500)

    bot = in_memory()
    await bot.say(locale="it-IT")
    bot.clock.sleep(103)
    await bot.sweep(dead)
    await bot.say(conversation={"id": "second"})
    bot.clock.sleep(103)
    # Back before the sweep: the new session has no private data yet, but the old one's is there.
    bot.bot._on_turn = _say_nothing  # type: ignore[attr-defined]
    await bot.say(conversation={"id": "second"})
    found = await exported(bot)
    (letter,) = found["deadLetters"]
    assert (letter["conversation"], letter["locale"]) == (f"{CHANNEL}|talk", "it-IT")
    assert letter["reference"]["user"] == {"id": "ann"}
    (second,) = found["conversations"]
    assert (second["privateData"], second["conversationData"]) == ({"count": 1}, None)


async def _say_nothing(_: FunctionBot, __: object) -> None:
    pass


@pytest.mark.parametrize("name", ["conversations", "users"])
@pytest.mark.parametrize("value", [b"\xff", zlib.compress(b"[" * 30_000), 5, "text"])
async def test_a_damaged_row_is_named_and_the_rest_is_there(name: str, value: object) -> None:
    bot = in_memory()
    await bot.say()
    await bot.say(sender="ann", **GROUP)
    kinds = {"conversations": ("c|", "p|"), "users": ("user",)}[name]
    for kind in kinds:
        await change(bot, name, kind, State00=value)
    found = await exported(bot)
    assert found["unreadable"]
    if name == "users":
        assert len(found["conversations"]) == 2
    else:
        assert found["userData"] == [{"count": 2}, {"count": 1}]


async def test_an_entry_that_leads_nowhere_is_named() -> None:
    bot = in_memory()
    await bot.say()
    await table(bot, "users").write([Operation("upsert", Row(ANN, "in|!|!|!", {}))])
    found = await exported(bot)
    assert found["unreadable"] == [f"users: row {ANN}/in|!|!|!"]
    assert len(found["conversations"]) == 1


@pytest.mark.parametrize(("name", "prefix"), [("users", "user"), ("conversations", "p|")])
async def test_with_a_row_of_a_newer_version_it_is_no_export(name: str, prefix: str) -> None:
    bot = in_memory()
    await bot.say()
    await change(bot, name, prefix, Form=2)
    with pytest.raises(NewerRowError):
        await exported(bot)


async def test_it_is_ascii_without_control_characters() -> None:
    bot = in_memory()
    await bot.say(locale="\x1b]52;c;aGk=\x07é\x9b")
    exports = Exports(bot.state_store, now=bot.clock, replies=unpacked_json)
    text = "".join([piece async for piece in exports.of_user(CHANNEL, "ann\x1b[2J")])
    text += "".join([piece async for piece in exports.of_user(CHANNEL, "ann")])
    assert text.isascii()
    assert text.replace("\n", "").isprintable()


RESUMABLE = Timing(timedelta(seconds=100), resume_within=timedelta(hours=1))


def resumable(store: str) -> BotInMemory:
    return BotInMemory(FunctionBot(count_in_every_bag), RESUMABLE, cosmos=STORES[store]())


async def expire(bot: BotInMemory) -> None:
    bot.clock.sleep(103)
    await bot.sweep()


@pytest.mark.parametrize("store", ["tables", "cosmos"])
async def test_what_is_kept_to_be_resumed_is_in_it(store: str) -> None:
    bot = resumable(store)
    await bot.say()
    await expire(bot)
    (found,) = (await exported(bot))["conversations"]
    assert (found["conversationData"], found["privateData"]) == ({"count": 1}, {"count": 1})
    assert found["resumableUntil"] == f"{bot.clock() + timedelta(hours=1):%Y-%m-%dT%H:%M:%S+00:00}"
    assert "before" not in found


@pytest.mark.parametrize("store", ["tables", "cosmos"])
@pytest.mark.parametrize("newer", [False, True])
async def test_a_session_that_is_kept_beside_a_new_one_is_in_it(store: str, newer: bool) -> None:
    bot = resumable(store)
    for _ in range(3):
        await bot.say()
    await expire(bot)
    if newer:  # then its private bags stand where the kept ones stood
        await bot.say()
        await expire(bot)
    await bot.say()
    (found,) = (await exported(bot))["conversations"]
    assert (found["conversationData"], found["privateData"]) == ({"count": 1}, {"count": 1})
    count = {"count": 1 if newer else 3}
    assert found["before"] == {
        "resumableUntil": f"{bot.clock() + timedelta(hours=1):%Y-%m-%dT%H:%M:%S+00:00}",
        "conversationData": count,
        "privateData": count,
    }


@pytest.mark.parametrize("store", ["tables", "cosmos"])
async def test_of_a_kept_session_of_a_group_only_the_users_own_data_are_in_it(store: str) -> None:
    bot = resumable(store)
    await bot.say(**GROUP)
    await bot.say(sender="bob", **GROUP)
    await expire(bot)
    await bot.say(sender="bob", **GROUP)
    (found,) = (await exported(bot))["conversations"]
    assert found["before"].keys() == {"resumableUntil", "privateData"}
    assert (found["privateData"], found["before"]["privateData"]) == (None, {"count": 1})


async def test_what_a_session_left_that_was_given_up_is_in_it() -> None:
    bot = resumable("tables")
    for _ in range(3):
        await bot.say()
    await expire(bot)
    await bot.say()
    await bot.say()
    (found,) = (await exported(bot))["conversations"]
    assert found["before"] == {"resumableUntil": None, "privateData": {"count": 3}}


async def test_a_damaged_kept_row_is_named_and_the_rest_is_there() -> None:
    bot = resumable("tables")
    await bot.say()
    await expire(bot)
    await bot.say()
    row = next(row for row in table(bot).rows.values() if row.key.endswith("|kept"))
    await change(bot, "conversations", row.key, SessionId=5)
    found = await exported(bot)
    assert row.key in found["unreadable"][0]
    (talk,) = found["conversations"]
    assert talk["before"]["privateData"] == {"count": 1}
