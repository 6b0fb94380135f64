"""Exporting a user: everything that is stored about one user, and nothing about others."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.domain.conversation import Conversation
from shared.domain.errors import NewerRowError
from shared.domain.identity import user_hash
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
