"""Erasing a user over real HTTP and on real tables: nothing of them is left, nothing else touched.

Which rule each test proves: docs/state-data.md.
"""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.domain.identity import user_hash
from tests.bots import notebook_bot
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, User, running_bot
from tests.e2e.state_client import (
    StateClient,
    all_rows,
    path_of,
    path_to,
    state_client,
    text_of,
)
from tests.fake_channel import Answer, FakeChannel, until

EXPIRE_AFTER = 600  # seconds, as in `settings_on`

# The process dies, as by `kill -9`, after so many writes of an erasure.
DIES = """
import os
from shared.storage.tables import AzureTable

write, left = AzureTable.write, []

async def write_or_die(table, operations):
    if operations[0].row.key.endswith("|erase") and operations[0].kind == "upsert":
        left.append({writes})
    if left and left[0] == 0:
        os._exit(9)
    if left:
        left[0] -= 1
    return await write(table, operations)

AzureTable.write = write_or_die
"""
WRITES_OF_AN_ERASURE = 11  # of someone in a personal conversation and a group

# A turn that begins a conversation stops before its last write, until there is a file to go on.
HOLDS = """
import asyncio
from pathlib import Path
from shared.storage.tables import AzureTable

write = AzureTable.write

async def hold_and_write(table, operations):
    if operations[0].kind == "insert" and operations[0].row.key.startswith("c|"):
        Path("held").touch()
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    return await write(table, operations)

AzureTable.write = hold_and_write
"""


BOT = notebook_bot


class Person:
    """Someone with a personal conversation, a seat in a group, and one in an unmarked group."""

    def __init__(self, bot: RunningBot, channel: FakeChannel, group: str) -> None:
        self.id = f"user-{uuid4().hex}"
        self.hash = user_hash("test", self.id)
        account = {"from": {"id": self.id, "aadObjectId": f"aad-{self.id}", "name": self.id}}
        self.personal = User(bot, channel, f"personal-{uuid4().hex}", account)
        is_group = {"conversation": {"id": group, "isGroup": True}}
        self.in_group = User(bot, channel, group, {**account, **is_group})
        self.in_unmarked_group = User(bot, channel, f"unmarked {group}", account)

    @property
    def everywhere(self) -> list[User]:
        return [self.personal, self.in_group, self.in_unmarked_group]

    async def chat(self) -> None:
        for user in self.everywhere:
            await user.say("count")

    def is_in(self, text: str) -> bool:
        return self.id in text or self.hash in text


@pytest.fixture
def group() -> str:
    return f"group-{uuid4().hex}"


@pytest.fixture
def leaver(bot: RunningBot, channel: FakeChannel, group: str) -> Person:
    return Person(bot, channel, group)


@pytest.fixture
def stayer(bot: RunningBot, channel: FakeChannel, group: str) -> Person:
    return Person(bot, channel, group)


async def stored(settings: dict[str, str]) -> dict[tuple[str, ...], dict[str, Any]]:
    tables = settings["ConversationsTable"], settings["UsersTable"]
    return await all_rows(settings["AzureWebJobsStorage"], *tables)


async def rows_about(person: Person, settings: dict[str, str]) -> list[tuple[str, ...]]:
    return [key for key, row in (await stored(settings)).items() if person.is_in(text_of(row))]


async def test_the_receipt_counts_what_went_by_kind(state: StateClient, leaver: Person) -> None:
    await leaver.chat()
    assert await state.erase(path_of("user", leaver.personal)) == {
        "user_data": 1,
        "private_conversation_data": 3,
        "personal_conversations": 2,  # nobody else has written in the unmarked group
        "due_rows": 2,
        "dead_letters": 0,
        "left": 0,
    }
    again = await state.erase(path_of("user", leaver.personal))
    assert set(again.values()) == {0}


@pytest.mark.parametrize(
    "activity",
    [
        {"type": "deleteUserData"},
        {"type": "contactRelationUpdate", "action": "remove"},
        {"type": "installationUpdate", "action": "remove"},
    ],
    ids=lambda activity: activity["type"],
)
async def test_a_user_who_leaves_is_erased_without_a_word(
    settings: dict[str, str],
    leaver: Person,
    stayer: Person,
    rows: StoredRows,
    activity: dict[str, str],
) -> None:
    await leaver.chat()
    await stayer.chat()
    heard = [len(user.heard) for user in leaver.everywhere]
    assert await leaver.personal.send("", **activity) == 200
    assert await rows_about(leaver, settings) == []
    assert len(await rows.keys("c|")) == 3  # the groups, and the stayer's own
    assert [len(user.heard) for user in leaver.everywhere] == heard


@pytest.mark.parametrize(
    "activity",
    [
        {"type": "installationUpdate", "action": "remove-upgrade"},
        {"type": "installationUpdate", "action": "add"},
        {"type": "contactRelationUpdate", "action": "add"},
        {"type": "contactRelationUpdate"},
        {"type": "message", "action": "remove"},
    ],
    ids=str,
)
async def test_what_is_no_leaving_erases_nothing(
    state: StateClient, leaver: Person, activity: dict[str, str]
) -> None:
    await leaver.personal.say("count")
    assert await leaver.personal.send("favourite", **activity) == 200
    for kind in ("user", "conversation", "private"):
        assert (await state.get(path_of(kind, leaver.personal)))[0] == {"count": 1}


async def test_nothing_about_the_user_is_left_in_any_row_and_the_groups_data_stay(
    settings: dict[str, str], state: StateClient, leaver: Person, stayer: Person, rows: StoredRows
) -> None:
    await stayer.chat()
    await leaver.chat()
    assert await state.save(path_of("user", leaver.personal), {"name": leaver.id}) == 200
    unused = path_of("private", leaver.personal).replace("personal", "never-used")
    assert await state.save(unused, {"name": leaver.id}) == 200
    assert len(await rows_about(leaver, settings)) >= 10
    receipt = await state.erase(path_of("user", leaver.personal))
    assert await rows_about(leaver, settings) == []
    assert receipt["left"] == 0
    for user in (leaver.in_group, leaver.in_unmarked_group):
        assert (await state.get(path_of("conversation", user)))[0] == {"count": 2}
    for user in stayer.everywhere:
        assert (await state.get(path_of("user", user)))[0] == {"count": 3}
        assert (await state.get(path_of("private", user)))[0] == {"count": 1}
    (counts,) = await leaver.in_group.say("count")  # a stranger, who finds the group's data
    assert json.loads(counts) == {"user": 1, "conversation": 3, "private": 1}


async def test_no_notice_is_sent_to_who_was_erased(
    bot: RunningBot, state: StateClient, leaver: Person, rows: StoredRows
) -> None:
    await leaver.personal.say("count")
    await state.erase(path_of("user", leaver.personal))
    assert await rows.keys() == []
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "nothing due" in await bot.sweep()
    assert len(leaver.personal.heard) == 1


async def test_a_notice_that_waits_to_be_tried_again_goes_too(
    settings: dict[str, str],
    state: StateClient,
    leaver: Person,
    rows: StoredRows,
) -> None:
    await leaver.personal.say("count")
    answers = leaver.personal.channel.answers
    answers[leaver.personal.conversation] = [Answer(503), Answer(201)]
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "retried later 1" in await leaver.personal.bot.sweep()
    tried = len(leaver.personal.heard)
    receipt = await state.erase(path_of("user", leaver.personal))
    assert receipt["personal_conversations"] == receipt["due_rows"] == 1
    assert await rows_about(leaver, settings) == []
    await rows.let_time_pass(days=1)
    assert "nothing due" in await leaver.personal.bot.sweep()
    assert len(leaver.personal.heard) == tried


async def test_of_200_users_the_rows_of_the_others_are_not_touched(
    settings: dict[str, str],
    state: StateClient,
    leaver: Person,
    rows: StoredRows,
) -> None:
    assert await rows.keys() == []
    bot, channel = leaver.personal.bot, leaver.personal.channel
    others = [User(bot, channel) for _ in range(200)]
    await asyncio.gather(*(user.say("count") for user in [leaver.personal, *others]))
    before = await stored(settings)
    about = [key for key in before if leaver.is_in(text_of(before[key]))]
    await state.erase(path_of("user", leaver.personal))
    after = await stored(settings)
    due = [key for key in before if key not in after and key not in about]
    # A due row names its conversation by hash only.
    assert [key[2][:2] for key in due] == ["d|"]
    assert after == {key: row for key, row in before.items() if key not in [*about, *due]}


async def test_killed_after_any_write_an_erasure_is_completed_by_the_next_sweep(
    settings: dict[str, str],
    bot: RunningBot,
    channel: FakeChannel,
    rows: StoredRows,
    tmp_path: Path,
) -> None:
    # After the last write it is done; before the first, which files it, nothing has begun.
    people = [Person(bot, channel, "killed") for _ in range(1, WRITES_OF_AN_ERASURE)]
    for person in people:
        await person.personal.say("count")
        await person.in_group.say("count")

    async def kill(person: Person, writes: int) -> None:
        folder = tmp_path / str(writes)
        folder.mkdir()
        async with (
            running_bot(settings, folder, changes=DIES.format(writes=writes)) as dying,
            state_client(dying) as state,
        ):
            assert await state.send("DELETE", path_of("user", person.personal)) == (500, None)

    numbered = list(enumerate(people, start=1))
    for at in range(0, len(numbered), 3):
        await asyncio.gather(*(kill(person, writes) for writes, person in numbered[at : at + 3]))
    for person in people:
        assert len(await rows_about(person, settings)) >= 1
    await rows.let_time_pass(seconds=10)  # beyond what clocks may differ
    await bot.sweep()
    for person in people:
        assert await rows_about(person, settings) == []
        assert not any(EXPIRED in text for text in person.personal.heard)


async def test_a_user_who_comes_back_after_an_interrupted_erasure_is_not_erased_again(
    settings: dict[str, str],
    state: StateClient,
    leaver: Person,
    rows: StoredRows,
    tmp_path: Path,
) -> None:
    await leaver.personal.say("count")
    async with (
        running_bot(settings, tmp_path, changes=DIES.format(writes=2)) as dying,
        state_client(dying) as dying_state,
    ):
        assert await dying_state.send("DELETE", path_of("user", leaver.personal)) == (500, None)
    await rows.let_time_pass(seconds=10)
    await leaver.personal.bot.sweep()
    await leaver.personal.say("count")
    await rows.let_time_pass(seconds=10)
    await leaver.personal.bot.sweep()
    for kind in ("user", "conversation", "private"):
        assert (await state.get(path_of(kind, leaver.personal)))[0] == {"count": 1}


async def test_a_turn_in_flight_brings_nothing_back(
    settings: dict[str, str], state: StateClient, leaver: Person, tmp_path: Path
) -> None:
    await leaver.personal.say_all("count", "count")
    turn = asyncio.create_task(leaver.personal.say("count", value=str(tmp_path)))
    await until((tmp_path / "held").exists)
    receipt = await state.erase(path_of("user", leaver.personal))
    assert receipt["left"] == 0
    (tmp_path / "go").touch()
    *_, counts = await turn
    assert json.loads(counts) == {"user": 1, "conversation": 1, "private": 1}
    await state.erase(path_of("user", leaver.personal))
    assert await rows_about(leaver, settings) == []


async def test_what_a_first_message_in_flight_keeps_is_found_by_a_later_erasure(
    settings: dict[str, str],
    channel: FakeChannel,
    state: StateClient,
    group: str,
    tmp_path: Path,
) -> None:
    async with running_bot(settings, tmp_path, bot=notebook_bot, changes=HOLDS) as holding:
        person = Person(holding, channel, group)
        turn = asyncio.create_task(person.personal.say("count"))
        await until((tmp_path / "held").exists)
        await state.erase(path_of("user", person.personal))
        (tmp_path / "go").touch()
        await turn
    await state.erase(path_of("user", person.personal))
    assert await rows_about(person, settings) == []


async def test_a_conversation_made_from_outside_goes_with_the_user_it_is_named_after(
    settings: dict[str, str], state: StateClient, leaver: Person
) -> None:
    # On Telegram, for one, a personal conversation has the id of its user.
    assert await state.save(path_to("private", leaver.id, leaver.id), {"likes": "tea"}) == 200
    await state.erase(path_to("user", "", leaver.id))
    assert await rows_about(leaver, settings) == []
