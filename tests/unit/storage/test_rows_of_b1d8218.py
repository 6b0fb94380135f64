"""Rows that commit b1d8218 wrote, of every kind, are read and written as they are.

Only the mark of their form is added, which that commit did not know.

`rows_of_b1d8218.json` is what that commit's own code left in two tables: personal chats with Ann
and, on Direct Line, with Eve; a team with Ann and Bob; Mia, whose notice is tried again at another
address; Cid, whose notice is a dead letter; the erasure of Dan; a timeout that was made shorter.
"""

import base64
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.cli import dead_letters
from shared.domain.control import Control
from shared.domain.conversation import Status
from shared.domain.identity import ConversationKey, user_hash
from shared.domain.reference import Account, Reference
from shared.domain.work import ERASURE
from shared.storage.table_rows import (
    conversation_columns,
    conversation_of,
    dead_letter_of,
    dead_letter_row,
    due_row,
    due_row_of,
    entry_key,
    listed_conversation,
    user_columns,
    user_row_of,
)
from shared.storage.table_store import CONTROL
from shared.storage.tables import Operation, Row
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_every_bag

FILE = Path(__file__).with_name("rows_of_b1d8218.json")
WRITTEN_AT = datetime.fromisoformat("2026-11-22T12:01:49Z")

TEAM = "19:team@thread.v2"
ANN, BOB, CID, DAN, MIA = (
    user_hash("msteams", f"29:{name}") for name in ("ann", "bob", "cid", "dan", "mia")
)
TEAMS: dict[str, Any] = {
    "channelId": "msteams",
    "serviceUrl": "https://smba.trafficmanager.net/amer/",
    "sender": "29:ann",
    "recipient": {"id": "28:bot"},
}


def _value(stored: Any) -> Any:
    if isinstance(stored, dict):
        if "bytes" in stored:
            return base64.b64decode(stored["bytes"])
        return datetime.fromisoformat(stored["time"])
    return stored


def rows_of(table: str) -> list[Row]:
    return [
        Row(
            each["partition"],
            each["key"],
            {name: _value(stored) for name, stored in each["columns"].items()},
        )
        for each in json.loads(FILE.read_text(encoding="utf-8"))[table]
    ]


def of_kind(table: str, kind: str) -> list[Row]:
    found = [row for row in rows_of(table) if row.key.split("|")[0] == kind]
    assert found
    return found


def marked(row: Row) -> dict[str, Any]:
    return {**row.columns, "Form": 1}


@dataclass
class Old:
    """A bot of today on the rows of then, a second later."""

    bot: BotInMemory

    async def ann_says(self, conversation: str, **changes: Any) -> list[str]:
        where = {"id": conversation, "tenantId": "tenant-1", **changes}
        return await self.bot.say(**TEAMS, conversation=where)


@pytest.fixture
async def old() -> Old:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    for table, rows in ((bot.conversations, "conversations"), (bot.users, "users")):
        for row in rows_of(rows):
            await table.write([Operation("insert", row)])
    bot.clock.now = WRITTEN_AT + timedelta(seconds=1)
    return Old(bot)


# Each row, read and written again


def test_conversations_stay_as_they_are_byte_for_byte(old: Old) -> None:
    for row in of_kind("conversations", "c"):
        address = old.bot.store.address(row.key.removeprefix("c|"))
        assert address.shard == row.partition
        assert conversation_columns(conversation_of(address, row)) == marked(row)


def test_due_rows_stay_as_they_are() -> None:
    for row in of_kind("conversations", "d"):
        assert due_row(due_row_of(row)) == replace(row, columns=marked(row))


def test_dead_letters_stay_as_they_are_byte_for_byte() -> None:
    for row in of_kind("conversations", "x"):
        assert dead_letter_row(dead_letter_of(row)) == replace(row, columns=marked(row))


def test_users_stay_as_they_are() -> None:
    for row in of_kind("users", "user"):
        assert user_columns(user_row_of(row)) == marked(row)


def test_entries_of_users_lists_keep_their_keys() -> None:
    for row in of_kind("users", "in"):
        entry = listed_conversation(row, shard_count=2)
        assert entry_key(entry) == row.key
        assert entry.address.shard == row.columns["Shard"]


async def test_the_control_row_stays_as_it_is(old: Old) -> None:
    (row,) = of_kind("conversations", "ctl")
    control = await old.bot.store.control()
    assert replace(control, etag="") == Control(
        shard_count=2,
        expire_after=timedelta(seconds=60),
        longest=timedelta(seconds=100),
        looked_until=datetime.fromisoformat("1970-01-01T00:00:00Z"),
        over_at=WRITTEN_AT + timedelta(seconds=100),
    )
    await old.bot.store.save_control(control)
    written = await old.bot.conversations.get(CONTROL, CONTROL)
    assert written is not None
    assert written.columns == marked(row)


async def test_records_of_sweeps_can_be_read(old: Old) -> None:
    (record,) = await old.bot.store.sweeps()
    assert record.counts == {"expired": 2, "retried_later": 1, "dead_lettered": 1}
    assert record.complete


# What they say


async def test_a_conversation_says_where_it_is_and_who_takes_part(old: Old) -> None:
    key = ConversationKey("msteams", "a:talk")
    row = await old.bot.store.load(old.bot.store.address(key.hash))
    assert row is not None
    assert row.status is Status.ACTIVE
    assert row.last_accessed == WRITTEN_AT
    assert row.reference == Reference(
        channel="msteams",
        service_url="https://smba.trafficmanager.net/amer/",
        conversation_id="a:talk",
        is_group=False,
        conversation_type="personal",
        tenant="tenant-1",
        user=Account("29:ann", aad_object_id="00000000-0000-0000-0000-000000000ann", role="user"),
        bot=Account("28:bot", role="bot"),
    )
    assert row.locale == "it-IT"
    assert row.users.keys() == {ANN}
    assert row.is_personal(ANN)
    private = await old.bot.store.load_private(row, ANN)
    assert private.version == row.state_version == row.recent[-1].writer


async def test_a_teams_conversation_names_no_user_to_tell(old: Old) -> None:
    row = await old.bot.store.load(old.bot.address(TEAM, "msteams"))
    assert row is not None
    assert row.reference is not None
    assert row.reference.is_group
    assert row.reference.user is None
    assert row.users.keys() == {ANN, BOB}
    assert not row.is_personal(ANN)


async def test_the_bot_goes_on_with_every_bag(old: Old) -> None:
    assert await old.ann_says("a:talk", isGroup=False) == ["3 4 3"]
    assert await old.ann_says(TEAM, isGroup=True) == ["3 5 2"]


async def test_a_notice_tried_again_goes_to_the_other_address(old: Old) -> None:
    old.bot.clock.sleep(10)
    report = await old.bot.sweep()
    assert (report.looked_at, report.notified) == (2, 1)  # Dan's erasure is due too
    (sent,) = [body for _, _, body in old.bot.connector.sent]
    assert sent["serviceUrl"] == "https://smba.infra.gcc.teams.microsoft.com/teams/"


async def test_an_erasure_goes_on_only_once_the_users_table_says_so_too(
    old: Old, caplog: pytest.LogCaptureFixture
) -> None:
    await old.bot.users.write([Operation("insert", Row(DAN, "user", {"State00": b"x"}))])
    old.bot.clock.sleep(10)
    await old.bot.sweep()
    assert await old.bot.store.has_user(DAN)
    assert f"user {DAN}: the users' table knows of no erasure" in caplog.text
    assert all(row.session != ERASURE for row in await _due(old))  # it does not come up again
    await old.bot.erasure.erase("msteams", "29:dan")
    await old.bot.sweep()
    assert not await old.bot.store.has_user(DAN)
    assert all(row.session != ERASURE for row in await _due(old))


async def test_the_others_expire_in_time(old: Old) -> None:
    old.bot.clock.sleep(103)
    report = await old.bot.sweep()
    assert (report.expired, report.notified, report.failed) == (3, 4, 0)
    assert old.bot.keys() == ["c", "s", "x"]  # ctl, a record of a sweep, Cid's letter


async def test_a_dead_letter_is_shown_and_replayed(old: Old) -> None:
    said: list[str] = []
    await dead_letters.show(old.bot.store, said.append)
    assert "'msteams'" in said[0]
    assert said[1:] == ["1 dead letters"]
    (letter,) = await old.bot.dead_letters()
    assert letter.reference is not None
    assert letter.reference.user_hash == CID
    assert await old.bot.store.replay(letter, old.bot.clock.now)
    old.bot.clock.sleep(10)
    assert (await old.bot.sweep()).notified == 2  # Mia's and Cid's


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ann", {"user_data": 1, "private_conversation_data": 2, "personal_conversations": 1}),
        ("cid", {"user_data": 1, "dead_letters": 1}),
        ("mia", {"user_data": 1, "private_conversation_data": 1, "personal_conversations": 1}),
        ("dan", {}),
    ],
)
async def test_an_erasure_finds_what_there_is(old: Old, name: str, found: dict[str, int]) -> None:
    receipt = await old.bot.erasure.erase("msteams", f"29:{name}")
    expected = dict.fromkeys(("user_data", "private_conversation_data", "dead_letters"), 0)
    expected |= {"personal_conversations": 0, **found}
    assert {kind: getattr(receipt, kind) for kind in expected} == expected
    assert receipt.left == 0


async def _due(old: Old) -> list[Any]:
    far = WRITTEN_AT + timedelta(days=1)
    return [
        row
        for shard in old.bot.store.shards
        async for page in old.bot.store.due(shard, far)
        for row in page
    ]
