"""What `explain` and `conversations` say."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts.processes import ROOT
from shared.cli.explain import Explain
from shared.domain.conversation import Status
from shared.domain.identity import user_hash
from shared.domain.policy import Policy
from shared.domain.timing import NEVER, OwnTiming, Timing
from shared.settings.expiry import read_policy
from tests.bot_in_memory import CHANNEL, BotInMemory, FunctionBot, count_in_conversation

FILE = """
[[override]]
channel = "directline"
expire_after = "8h"

[[override]]
conversation_type = "channel"
notify = false
"""
SOURCES = {"expire_after": "ExpireAfterSeconds", "notify": "the default"}
IN_CHANNEL: dict[str, Any] = {"conversation": {"id": "talk", "conversationType": "channel"}}


class Operator:
    """Someone who asks, of a bot in memory."""

    def __init__(self, text: str = "", *, is_notice_on: bool = True) -> None:
        timeout = Timing(timedelta(seconds=100), sources=SOURCES)
        self.policy: Policy = read_policy(text).over(timeout)
        self.bot = BotInMemory(
            FunctionBot(count_in_conversation),
            self.policy.default,
            overrides=self.policy.overrides,
        )
        self.said: list[str] = []
        self._is_notice_on = is_notice_on

    @property
    def about(self) -> Explain:
        bot = self.bot
        return Explain(bot.store, self.policy, self._is_notice_on, bot.clock(), self.said.append)

    async def explain(self) -> dict[str, str]:
        self.said.clear()
        await self.about.one(CHANNEL, "talk")
        return {line[:13].strip(): line[14:] for line in self.said}

    async def next_ones(self, most: int) -> list[str]:
        self.said.clear()
        await self.about.next_ones(most)
        return self.said


async def test_each_value_has_the_line_that_decided_it() -> None:
    operator = Operator(FILE)
    await operator.bot.say(**IN_CHANNEL)
    operator.bot.clock.sleep(90)
    found = await operator.explain()
    assert found["conversation"] == "directline|talk"
    assert found["type"] == "channel"
    assert found["state"].startswith("active  (session ")
    assert found["last access"].endswith("(90 s ago)")
    assert found["expire_after"] == "8h  (the text, line 4)"
    assert found["notify"] == "no  (the text, line 8)"
    assert found["expires at"].endswith("(in 8 h)")
    assert found["looked at"].endswith("(in 8 h)")
    assert found["next"] == "it expires in silence"


async def test_without_a_policy_the_settings_decide() -> None:
    operator = Operator()
    await operator.bot.say()
    found = await operator.explain()
    assert found["type"] == "personal"
    assert found["expire_after"] == "100s  (ExpireAfterSeconds)"
    assert found["notify"] == "yes  (the default)"
    assert found["next"] == "it expires, and its users are told"


async def test_notices_that_are_off_are_said_to_be() -> None:
    operator = Operator('warn_before = "30s"', is_notice_on=False)
    await operator.bot.say()
    found = await operator.explain()
    assert found["notify"] == "no  (ExpiryNotice)"
    assert found["warn_before"] == "never  (ExpiryNotice)"
    assert found["next"] == "it expires in silence"


async def test_what_is_idle_waits_for_a_sweep() -> None:
    operator = Operator()
    await operator.bot.say()
    operator.bot.clock.sleep(101)
    assert (await operator.explain())["state"].startswith("idle for too long; the next sweep")


async def test_a_notice_that_failed_is_tried_again() -> None:
    operator = Operator()
    await operator.bot.say()
    row = await operator.bot.row()
    assert row
    lease = operator.bot.clock() + timedelta(seconds=30)
    await operator.bot.store.save(
        replace(row, status=Status.EXPIRED, attempts=2, lease_until=lease, state=b"")
    )
    found = await operator.explain()
    assert found["state"].startswith("expired, 2 attempts to tell  (")
    assert found["next"] == f"its notice is tried after {lease:%Y-%m-%d %H:%M:%SZ}"


async def test_a_conversation_without_a_row_is_none() -> None:
    operator = Operator()
    await operator.explain()
    assert operator.said[-1] == (
        "there is no row: nobody has written here, or it has expired and is forgotten"
    )


@pytest.mark.parametrize("most", [1, 2, 5, 9])
async def test_the_next_ones_come_in_their_order(most: int) -> None:
    operator = Operator()
    for number in range(5):
        await operator.bot.say(conversation={"id": f"talk{number}"})
        operator.bot.clock.sleep(10)
    said = await operator.next_ones(most)
    expected = [f"directline|talk{number}" for number in range(5)][:most]
    assert [line.split()[-1] for line in said] == expected
    assert "(in 50 s)  it expires, and its users are told" in said[0]


async def test_an_erasure_is_no_conversation_and_a_rest_is_named() -> None:
    operator = Operator()
    bot = operator.bot
    await bot.say()
    row = await bot.row()
    assert row
    await bot.store.discard(row.address, row.etag)
    await bot.erasure.erase(CHANNEL, "bob")
    assert user_hash(CHANNEL, "bob") not in str(await operator.next_ones(9))
    assert operator.said[0].endswith("cleaned up  the rest of one that is gone")


async def test_what_the_bots_code_has_set_is_said_to_be_from_there() -> None:
    hours = "{ from = '22:00', to = '07:00', time_zone = 'Europe/Rome' }"
    operator = Operator(f"max_age = '7d'\nquiet_hours = {hours}")
    until = operator.bot.clock() + timedelta(seconds=500)
    await operator.bot.say()
    row = await operator.bot.row()
    assert row
    own = OwnTiming(timedelta(seconds=50), notify=False, keep_until=until)
    await operator.bot.store.save(replace(row, own=own))
    found = await operator.explain()
    assert found["expire_after"] == "50s  (the bot's code)"
    assert found["notify"] == "no  (the bot's code)"
    assert found["max_age"] == "7d  (the text, line 1)"
    assert found["quiet_hours"] == "22:00 to 07:00 Europe/Rome  (the text, line 2)"
    assert found["time zone"] == "not known"
    assert found["keep_until"] == f"{until:%Y-%m-%d %H:%M:%SZ}"
    assert found["expires at"].endswith("(in 8 min)")


async def test_a_conversation_that_never_expires_is_only_looked_at() -> None:
    operator = Operator()
    await operator.bot.say()
    row = await operator.bot.row()
    assert row
    await operator.bot.store.save(replace(row, own=OwnTiming(NEVER)))
    found = await operator.explain()
    assert found["expire_after"] == "never  (the bot's code)"
    assert found["expires at"] == "never"
    assert found["next"] == "it is only looked at, because it never expires"


def normal(said: str) -> str:
    """The same, but for ids and times."""
    said = re.sub(r"s\d{3}, key|[0-9a-f]{32}|[0-9a-f]{16}", "#", said)
    return re.sub(r"\d{4}-\S+ \S+Z \(.*?\)", "then", said)


async def test_the_docs_show_what_is_said(tmp_path: Path) -> None:
    page = (ROOT / "docs/policy.md").read_text("utf-8")
    (example, *_) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "expiry_policy.toml"
    file.write_text(example, "utf-8")
    operator = Operator(str(file))
    for number, type_ in enumerate(("channel", "personal")):
        conversation = {"id": f"19:a{'bc'[number]}@thread.v2", "conversationType": type_}
        await operator.bot.say(channelId="msteams", conversation=conversation)
        operator.bot.clock.sleep(3600)
    await operator.about.one("msteams", "19:ab@thread.v2")
    explained = "\n".join(operator.said)
    next_ones = "\n".join(await operator.next_ones(3))
    assert f"```text\n{normal(explained)}\n```" in normal(page)
    assert f"```text\n{normal(next_ones)}\n```" in normal(page)


RESUMABLE = 'resume_within = "1h"'


async def test_of_a_session_that_may_be_resumed_it_says_until_when() -> None:
    operator = Operator(RESUMABLE)
    bot = operator.bot
    await bot.say()
    found = await operator.explain()
    assert found["resume_within"] == "1h  (the text, line 1)"
    assert "resume until" not in found
    bot.clock.sleep(103)
    await bot.sweep()
    until, gone = (bot.clock() + timedelta(seconds=each) for each in (3600, 3660))
    found = await operator.explain()
    assert found["state"].startswith("kept  (session ")
    assert found["resume until"] == f"{until:%Y-%m-%d %H:%M:%SZ} (in 60 min)"
    assert found["looked at"].startswith(f"{gone:%Y-%m-%d %H:%M:%SZ}")
    assert found["next"] == f"it is forgotten after {gone:%Y-%m-%d %H:%M:%SZ}"
    (line,) = await operator.next_ones(9)
    assert f"  {found['next']}  directline|talk" in line


async def test_of_a_session_beside_a_kept_one_it_says_both() -> None:
    operator = Operator(RESUMABLE)
    bot = operator.bot
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    gone = f"{bot.clock() + timedelta(seconds=3660):%Y-%m-%d %H:%M:%SZ}"
    await bot.say()
    row = await bot.row()
    assert row
    assert row.kept
    await operator.explain()
    start = next(number for number, line in enumerate(operator.said) if line.startswith("kept "))
    new, kept = (
        {line[:13].strip(): line[14:] for line in lines}
        for lines in (operator.said[:start], operator.said[start:])
    )
    assert new["state"] == f"active  (session {row.session})"
    assert new["next"] == "it expires, and its users are told"
    assert kept["kept"] == f"the session before  (session {row.kept.session})"
    assert kept["resume until"].endswith("(in 60 min)")
    assert kept["looked at"].startswith(gone)
    assert kept["next"] == (
        f"it is forgotten after {gone}, or once its user goes on with the new session"
    )
    said = await operator.next_ones(9)
    assert "it expires, and its users are told" in said[0]
    assert "the kept session before this one is forgotten" in said[1]
    bot.clock.sleep(98)
    await bot.say()
    bot.clock.sleep(98)
    await bot.say()
    assert "the rest of a session that is over is cleaned up" in (await operator.next_ones(9))[1]
