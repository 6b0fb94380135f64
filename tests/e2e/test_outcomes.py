"""What becomes of a notice, by what the channel answers: stored, counted, and done next.

docs/sending.md has the table ("What each answer means"); here is a test for each of its lines.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.domain.reference import Account
from shared.domain.work import DeadLetter
from shared.storage.table_store import TableStore
from tests.commands import cli
from tests.e2e.running_bot import EXPIRED, WELCOME_BACK, RunningBot, StoredRows, User
from tests.e2e.state_client import StateClient, path_of
from tests.fake_channel import Answer, FakeChannel

EXPIRE_AFTER = 600  # seconds, as in `settings_on`
LONGER_THAN_A_LEASE = 61
LONGER_THAN_A_RETRY = 15
HTML = b"<html><body>Oops</body></html>"

# The bot gives a channel less time for an answer, as one of them hangs.
CHANGES = """
from shared.domain.reference import Account, Reference
from shared.connector.client import Connector
Connector.__init__.__kwdefaults__["total_timeout_seconds"] = 2
"""


def error(status: int, code: str) -> Answer:
    return Answer(status, {"error": {"code": code, "message": "said the channel"}})


TAKEN = {
    "200": Answer(200, {"id": "1"}),
    "201": Answer(201, {"id": "1"}),
    "202 with no body": Answer(202),
    "200 with an odd body": Answer(200, HTML),
}
REFUSED = {
    "403 blocked": error(403, "ConversationBlockedByUser"),
    "403 not there": error(403, "BotNotInConversationRoster"),
    "404": error(404, "ConversationNotFound"),
    "410": error(410, "Gone"),
}
DEAD = {
    "302": Answer(302, headers={"Location": "/elsewhere"}),
    "400": error(400, "BadArgument"),
    "403 wrong host, no other known": error(403, "InvalidBotApiHost"),
    "405": Answer(405),
    "409": Answer(409),
    "413": error(413, "MessageSizeTooBig"),
    "418": Answer(418),
    "500": error(500, "ServiceError"),
    "500 in HTML": Answer(500, HTML),
    "500 with no body": Answer(500),
    "501": Answer(501),
    "505": Answer(505),
}
LATER = {
    "408": Answer(408),
    "412": error(412, "PreconditionFailed"),
    "429": error(429, "Throttled"),
    "429 after 3 s": Answer(429, headers={"Retry-After": "3"}),
    "502": error(502, "ServiceError"),
    "502 in HTML": Answer(502, HTML),
    "503": Answer(503, HTML),
    "503 with no body": Answer(503),
    "504": Answer(504),
    # Refusals without a code: nobody knows whether the channel gave them.
    "403 with no body": Answer(403),
    "403 in HTML": Answer(403, HTML),
    "403 with an empty code": error(403, ""),
    "404 with no body": Answer(404),
    "404 with other JSON": Answer(404, {"message": "no such route"}),
    "410 with no body": Answer(410),
    "dropped": Answer(drop=True),
    "hangs": Answer(hang=True),
}
NO_ANSWER = ("dropped", "hangs")


@pytest.fixture(autouse=True)
async def usual_answers(channel: FakeChannel) -> AsyncIterator[None]:
    """What one test makes the channel say, no other hears."""
    yield
    channel.answers.clear()
    channel.default_answers = []


async def idle(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, answers: dict[str, Answer]
) -> dict[str, User]:
    """Users whose conversations are due, and what the channel will answer their notices."""
    # A service URL for each: what one answers must not hold up the others (docs/sending.md).
    users = {
        name: User(bot, channel, name, {"serviceUrl": f"{channel.service_url}{uuid4().hex}/"})
        for name in answers
    }
    await asyncio.gather(*(user.say("hello") for user in users.values()))
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    channel.answers.update({name: [answer] for name, answer in answers.items()})
    return users


def store(rows: StoredRows) -> TableStore:
    return TableStore(rows.conversations, rows.users, 4)


async def letters(rows: StoredRows) -> dict[str, DeadLetter]:
    """The dead letters, by conversation id."""
    return {
        letter.readable_key.partition("|")[2]: letter
        for shard in store(rows).shards
        async for page in store(rows).dead_letters(shard)
        for letter in page
    }


async def test_each_answer_has_its_own_outcome_in_one_sweep(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    every = TAKEN | REFUSED | DEAD | LATER
    users = await idle(bot, channel, rows, every)
    report = await bot.sweep()
    assert (
        f"expired {len(every)}, notified {len(TAKEN)}, refused {len(REFUSED)},"
        f" dead lettered {len(DEAD)}, retried later {len(LATER)}, notice failures"
    ) in report
    statuses = [name[:3] for name in (*REFUSED, *DEAD, *LATER) if name not in NO_ANSWER]
    for status in statuses:
        assert f"{status}: {statuses.count(status)}" in report
    assert f"no answer: {len(NO_ANSWER)}" in report

    stored = dict.fromkeys((*TAKEN, *REFUSED), "")
    stored |= dict.fromkeys(DEAD, "x") | dict.fromkeys(LATER, "cd")
    assert await rows.kinds(users) == stored

    put_aside = await letters(rows)
    assert put_aside.keys() == DEAD.keys()
    for name, letter in put_aside.items():
        assert (str(letter.status), letter.attempts) == (name[:3], 1)
        assert letter.reference is not None
        assert letter.reference.user == Account(f"user of {name}")
    assert put_aside["500"].code == "ServiceError"
    assert put_aside["500 in HTML"].code == ""

    # The next sweep does nothing: what is to be tried again waits, and nothing else is left.
    assert "nothing due" in await bot.sweep()
    await rows.let_time_pass(seconds=LONGER_THAN_A_RETRY)
    channel.answers.clear()
    assert f"looked at {len(LATER)}, notified {len(LATER)}," in await bot.sweep()
    assert await rows.kinds(users) == stored | dict.fromkeys(LATER, "")
    assert all(EXPIRED in users[name].heard[-1] for name in (*TAKEN, *LATER))
    assert [name for name, user in users.items() if len(user.heard) != 2] == list(LATER)


async def test_a_user_who_was_refused_and_writes_again_is_told_again(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    users = await idle(
        bot,
        channel,
        rows,
        {"blocked": error(403, "ConversationBlockedByUser"), "broken": Answer(500)},
    )
    await bot.sweep()
    channel.answers.clear()
    for user in users.values():
        assert WELCOME_BACK not in (await user.say("hello"))[0]
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "expired 2, notified 2" in await bot.sweep()


async def test_an_asked_for_wait_is_kept_to_however_long(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    two_hours = Answer(429, headers={"Retry-After": "7200"})
    await idle(bot, channel, rows, {"busy": two_hours})
    assert "retried later 1" in await bot.sweep()
    channel.answers.clear()
    await rows.let_time_pass(seconds=7000)
    assert "nothing due" in await bot.sweep()
    await rows.let_time_pass(seconds=210)
    assert "looked at 1" in await bot.sweep()


async def test_what_fails_for_a_day_is_a_dead_letter_with_its_last_status(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    await idle(bot, channel, rows, {"down": Answer(503)})
    assert "retried later 1" in await bot.sweep()
    await rows.let_time_pass(hours=25)
    channel.answers["down"] = [Answer(502)]
    assert "dead lettered 1, notice failures {502: 1}" in await bot.sweep()
    (letter,) = (await letters(rows)).values()
    assert (letter.status, letter.attempts, letter.reason) == (502, 2, "failing for a day")
    assert await rows.kinds(["down"]) == {"down": "x"}
    assert "nothing due" in await bot.sweep()


async def test_a_user_who_is_back_first_supersedes_the_notice(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    (user,) = (await idle(bot, channel, rows, {"away": Answer(503)})).values()
    await bot.sweep()
    channel.answers.clear()
    assert WELCOME_BACK in (await user.say("hello"))[0]
    await rows.let_time_pass(seconds=LONGER_THAN_A_RETRY)
    assert "looked at 1, superseded 1," in await bot.sweep()
    assert await rows.kinds(["away"]) == {"away": "cd"}


async def test_401_stops_the_sweep_is_logged_once_and_loses_nothing(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    names = {f"talk{number}": error(401, "BotNotRegistered") for number in range(40)}
    users = await idle(bot, channel, rows, names)
    logged = bot.log.count("sweep: stopped:")
    assert "stopped: the channel refused the bot's credentials" in await bot.sweep()
    assert bot.log.count("sweep: stopped:") == logged + 1
    assert set((await rows.kinds(users)).values()) == {"cd"}
    channel.answers.clear()
    await rows.let_time_pass(seconds=LONGER_THAN_A_LEASE)
    assert "notified 40" in await bot.sweep()


@pytest.mark.parametrize(
    "answer", [Answer(403), Answer(404, HTML), Answer(410, {"detail": "gone"})], ids=str
)
async def test_refusals_that_no_channel_signed_stop_the_sweep_and_lose_nothing(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, answer: Answer
) -> None:
    names = {f"unsigned{number}": answer for number in range(30)}
    users = await idle(bot, channel, rows, names)
    logged = bot.log.count("sweep: stopped:")
    report = await bot.sweep()
    assert "stopped: the last 10 answers were refusals without a channel's error code" in report
    assert "refused" not in report.partition(", stopped")[0]
    assert bot.log.count("sweep: stopped:") == logged + 1
    assert set((await rows.kinds(users)).values()) == {"cd"}
    channel.answers.clear()
    await rows.let_time_pass(seconds=LONGER_THAN_A_LEASE)
    assert "notified 30" in await bot.sweep()


async def test_five_of_them_are_kept_until_the_way_is_mended(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    users = await idle(bot, channel, rows, {f"firewall{n}": Answer(403) for n in range(5)})
    assert "expired 5, retried later 5, notice failures {403: 5}" in await bot.sweep()
    assert set((await rows.kinds(users)).values()) == {"cd"}
    channel.answers.clear()
    await rows.let_time_pass(seconds=LONGER_THAN_A_RETRY)
    assert "notified 5" in await bot.sweep()


async def test_a_wrong_service_url_is_refreshed_from_what_its_tenant_uses_now(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    def of_tenant(name: str) -> User:
        where = {"id": name, "tenantId": "contoso"}
        return User(bot, channel, name, fields={"conversation": where})

    moved, lost, other = of_tenant("moved"), of_tenant("lost"), of_tenant("other")
    old = f"{channel.url}/old/"
    await asyncio.gather(moved.say("hello", serviceUrl=old), lost.say("hello", serviceUrl=old))
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    await other.say("hello")  # at the channel's usual address
    wrong = error(403, "InvalidBotApiHost")
    channel.answers |= {"moved": [wrong, Answer(201)], "lost": [wrong]}
    assert "expired 2, retried later 2, notice failures {403: 2}" in await bot.sweep()
    assert await rows.kinds(["moved", "lost"]) == {"moved": "cd", "lost": "cd"}

    await rows.let_time_pass(seconds=LONGER_THAN_A_RETRY)
    assert "notified 1, dead lettered 1, notice failures {403: 1}" in await bot.sweep()
    for user in (moved, lost):
        paths = [
            each.path for each in channel.requests if each.conversation_id == user.conversation
        ]
        assert [path.split("/")[1] for path in paths] == ["old", "old", "channel"]
    (letter,) = (await letters(rows)).values()
    assert (letter.status, letter.code, letter.attempts) == (403, "InvalidBotApiHost", 2)
    assert "nothing due" in await bot.sweep()


# Dead letters, by whoever runs the bot


async def command(settings: dict[str, str], *arguments: str) -> str:
    code, output = await cli(settings, "dead-letters", *arguments)
    assert code == 0, output
    return output


async def test_dead_letters_are_listed_replayed_and_dropped(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, settings: dict[str, str]
) -> None:
    failures = {f"letter{number}": error(500, "ServiceError") for number in range(4)}
    users = await idle(bot, channel, rows, failures)
    assert "dead lettered 4" in await bot.sweep()
    channel.answers.clear()
    sessions = {name: letter.session for name, letter in (await letters(rows)).items()}

    shown = await command(settings, "list")
    assert "4 dead letters" in shown
    assert set(re.findall(r"^(\w{16}) 'test' expired 2", shown, re.MULTILINE)) == set(
        sessions.values()
    )
    assert shown.count("attempts 1 500 'ServiceError': no use in trying again") == 4
    assert "user of" not in shown

    assert "1 dropped" in await command(settings, "drop", sessions["letter0"])
    assert "none" in await command(settings, "drop", "--older-than", "30")
    await users["letter1"].say("hello")  # back
    replayed = await command(settings, "replay", "--all")
    assert "2 replayed" in replayed
    assert "1 superseded" in replayed
    assert "0 dead letters" in await command(settings, "list")

    await rows.let_time_pass(seconds=3)
    assert "looked at 2, notified 2," in await bot.sweep()
    told = [
        name for name, user in users.items() if EXPIRED in user.heard[-1] and len(user.heard) > 2
    ]
    assert told == ["letter2", "letter3"]
    assert await rows.kinds(users) == {
        "letter0": "",
        "letter1": "cd",
        "letter2": "",
        "letter3": "",
    }


async def test_an_erasure_takes_the_users_dead_letters_along(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, state: StateClient
) -> None:
    failures = {"leaver": Answer(500), "stayer": Answer(500)}
    users = await idle(bot, channel, rows, failures)
    await bot.sweep()
    receipt = await state.erase(path_of("user", users["leaver"]))
    assert (receipt["dead_letters"], receipt["left"]) == (1, 0)
    assert (await letters(rows)).keys() == {"stayer"}
