"""Any row may be damaged, and only that row suffers.

Every kind of row, each of its columns, each way to damage it: the other conversations go on, and so
do the sweep, the status and the commands. A row of a newer form stays exactly as it is.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from shared.cli import dead_letters
from shared.domain.conversation import Conversation
from shared.domain.errors import NewerRowError
from shared.domain.identity import ConversationKey, user_hash
from shared.expiry.notice import NoticeResult, Verdict
from shared.expiry.report import record_of
from shared.expiry.status import Schedule, gather_status
from shared.storage.table_store import CONTROL
from shared.storage.tables import Operation, Row
from tests import texts
from tests.bot_in_memory import CHANNEL, BotInMemory, FunctionBot, count_in_every_bag
from tests.memory_table import MemoryTable

IDLE = 100
TABLES = ("conversations", "users")
ANN: dict[str, Any] = {"sender": "ann", "conversation": {"id": "ann", "isGroup": False}}
BOB: dict[str, Any] = {"sender": "bob", "conversation": {"id": "bob", "isGroup": False}}
LOST = "lost"  # the conversation of the dead letter
WAITING = "waiting"  # the conversation whose notice is tried again

BOMB = zlib.compress(bytes(40_000_000), 9)


def _cut_off(value: object) -> object:
    match value:
        case str():
            return value[: len(value) // 2] + " "
        case bytes():
            return value[: len(value) // 2]
    return None


# What may stand in a column instead of its value.
DAMAGES: dict[str, Callable[[Any], Any]] = {
    "missing": lambda _: None,
    "text": lambda _: "some text",
    "number": lambda _: 5,
    "negative": lambda _: -1,
    "flag": lambda _: True,
    "bytes": lambda _: b"\x00\xff",
    "inflated": lambda _: BOMB,
    "time": lambda _: datetime(9999, 12, 31, tzinfo=UTC),
    "naive time": lambda _: datetime(2026, 11, 22),  # noqa: DTZ001 - on purpose
    "deep": lambda _: "[" * 30_000,
    "another JSON": lambda _: '{"a": [1, {"b": null}]}',
    "list": lambda _: "[[1, 2], 3]",
    "nulls": lambda _: '{"conversation": null, "channelId": null, "serviceUrl": null, "at": null}',
    "cut off": _cut_off,
    "control characters": lambda _: "\x1b]52;c;aGk=\x07",
}


def _ignore(line: str) -> None:
    del line


class World(BotInMemory):
    """Ann's and Bob's conversations, a waiting notice, a dead letter, a record, a control row."""

    def table(self, name: str) -> MemoryTable:
        """The table of this name."""
        table = {"conversations": self.conversations, "users": self.users}[name]
        assert isinstance(table, MemoryTable)
        return table

    async def look(self) -> None:
        """What operators look at goes on: status, dead letters, the control row."""
        await gather_status(self.store, Schedule(60, 60), 45, self.policy, self.clock.now)
        await dead_letters.show(self.store, _ignore)
        await self.store.control()

    async def end_everything(self) -> None:
        """Sweep until nothing is due any more."""
        for _ in range(2):
            self.clock.sleep(2 * IDLE)
            await self.sweep(with_timeout=True)
        await self.look()


async def _build() -> World:
    world = World(FunctionBot(count_in_every_bag))

    async def verdict(conversation: Conversation) -> NoticeResult:
        dead = conversation.readable_key.endswith(LOST)
        return NoticeResult(Verdict.DEAD if dead else Verdict.TRY_LATER)

    for name in (LOST, WAITING):
        await world.say(sender=name, conversation={"id": name, "isGroup": False}, locale="it-IT")
    world.clock.sleep(IDLE + 3)
    await world.say(**ANN, locale="it-IT")
    report = await world.sweep(verdict, with_timeout=True)
    assert (report.dead_lettered, report.retried_later) == (1, 1)
    await world.store.record_sweep(record_of(report, world.clock.now), 0)
    await world.say(**BOB)
    await world.say(**ANN)
    return world


@cache
def _stored() -> tuple[datetime, dict[str, list[Row]]]:
    world = asyncio.run(_build())
    return world.clock.now, {name: list(world.table(name).rows.values()) for name in TABLES}


def _rows() -> dict[str, tuple[str, Row]]:
    """A row of each kind, with its table; of conversations an active and an expired one."""
    of_bob = (user_hash(CHANNEL, "bob"), ConversationKey(CHANNEL, "bob").hash)
    found: dict[str, tuple[str, Row]] = {}
    for table, rows in _stored()[1].items():
        for row in rows:
            if not any(name in f"{row.partition}{row.key}" for name in of_bob):
                kind = f"{row.key.split('|')[0]}{'|' * row.key.count('|')}"
                found[f"{table} {kind} {row.columns.get('Status', '')}"] = (table, row)
    return found


async def _world(*changed: tuple[str, Row]) -> World:
    """The world with these rows over its own."""
    now, tables = _stored()
    world = World(FunctionBot(count_in_every_bag))
    world.clock.now = now
    for table, row in [*((name, row) for name in TABLES for row in tables[name]), *changed]:
        await world.table(table).write([Operation("upsert", row)])
    return world


def _damages(row: Row) -> Iterator[tuple[str, Row]]:
    """The row with each damage, and what that is."""
    for column, value in row.columns.items():
        for kind, damage in DAMAGES.items():
            if (column, kind) == ("Form", "number"):
                continue  # that is a newer version's row
            other = damage(value)
            columns = {**row.columns, column: other}
            if other is None:
                del columns[column]
            yield f"{column}: {kind}", replace(row, columns=columns)


def _bad_keys(row: Row) -> Iterator[tuple[str, Row]]:
    kind, *parts = row.key.split("|")
    if parts:
        yield "key: short", replace(row, key=f"{kind}|x")
        yield "key: long", replace(row, key=f"{row.key}|more|and|more")
        yield "key: strange", replace(row, key="|".join([kind, *("!" for _ in parts)]))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns that meet another writer try again at once."""
    monkeypatch.setattr("shared.turn.turn.random.uniform", lambda *_: 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", _rows())
async def test_a_damaged_row_costs_the_others_nothing(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    table, row = _rows()[name]
    for damage, damaged in _damages(row):
        caplog.clear()
        world = await _world((table, damaged))
        await world.look()
        assert await world.say(**BOB) == ["2 2 2"], damage
        first, second = await world.say(**ANN), await world.say(**ANN)
        if first == second == [texts.SOMETHING_WENT_WRONG]:
            assert row.key == "user", damage  # kept, and named
            assert row.partition in caplog.text, damage
        else:
            assert texts.SOMETHING_WENT_WRONG not in [*first, *second], damage
        await world.end_everything()
        assert world.keys().count("c") + world.keys().count("d") == 1, damage  # the control row
        assert not (await world.erasure.erase(CHANNEL, "ann")).left, damage
        assert not (await world.erasure.erase(CHANNEL, "bob")).left, damage


@pytest.mark.slow
@pytest.mark.parametrize("name", _rows())
async def test_a_sweep_ends_what_it_cannot_read(name: str) -> None:
    table, row = _rows()[name]
    for damage, damaged in [*_damages(row)][::3]:
        world = await _world((table, damaged))
        await world.end_everything()
        assert world.keys().count("c") + world.keys().count("d") == 1, damage
        told = {body["conversation"]["id"] for _, _, body in world.connector.sent}
        assert {"bob", WAITING} - told <= {_conversation_of(row)}, damage


@pytest.mark.parametrize("name", _rows())
async def test_a_malformed_key_costs_the_others_nothing(name: str) -> None:
    table, row = _rows()[name]
    for damage, damaged in _bad_keys(row):
        world = await _world((table, damaged))
        await world.table(table).write([Operation("delete", replace(row, etag=""))])
        await world.look()
        assert await world.say(**BOB) == ["2 2 2"], damage
        assert texts.SOMETHING_WENT_WRONG not in await world.say(**ANN), damage
        await world.end_everything()
        due = [key for _, key in world.table("conversations").rows if key[:2] == "d|"]
        assert due in ([], ["d|x"]), damage  # no range of times reaches that one
        assert not (await world.erasure.erase(CHANNEL, "ann")).left, damage


@pytest.mark.parametrize("name", _rows())
async def test_a_row_of_a_newer_form_stays_as_it_is(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    table, row = _rows()[name]
    world = await _world((table, replace(row, columns={**row.columns, "Form": 2})))
    before = world.table(table).rows[row.partition, row.key]
    named: list[str] = []

    async def attempt(work: Awaitable[object]) -> None:
        try:
            await work
        except NewerRowError as error:
            named.append(str(error))

    await attempt(world.say(**ANN))
    assert await world.say(**BOB) == ["2 2 2"]
    for _ in range(3):
        world.clock.sleep(2 * IDLE)
        await attempt(world.sweep(with_timeout=row.key == CONTROL))
    for who in ("ann", "bob", LOST, WAITING):
        await attempt(world.erasure.erase(CHANNEL, who))
    await attempt(dead_letters.drop(world.store, dead_letters.Selection(), _ignore))
    await attempt(world.store.sweeps())
    assert world.table(table).rows[row.partition, row.key] == before
    assert f"{row.partition}/{row.key} is of form 2" in caplog.text + "".join(named)


def _conversation_of(row: Row) -> str:
    names = (LOST, WAITING, "ann", "bob")
    keys = {ConversationKey(CHANNEL, name).hash: name for name in names}
    return next((name for key, name in keys.items() if key in row.key), "")
