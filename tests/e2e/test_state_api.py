"""/api/v3/botstate/... over real HTTP and on real tables: the operations of "Manage state data".

Which rule each test proves: docs/state-data.md.
"""

import asyncio
import base64
import json
import random
import re
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import azure.functions as func
import pytest

from api_function import make_blueprint
from scripts.processes import ROOT
from shared.domain.identity import ConversationKey, address_of, user_hash
from shared.settings import read_settings
from shared.storage.tables import AzureTable, Operation, Row
from tests.bots import notebook_bot
from tests.bots.notebook_bot import ONE_OF_EACH
from tests.bots.survey_bot import TRANSPORT
from tests.e2e.running_bot import EXPIRED, WELCOME_BACK, RunningBot, StoredRows, User, running_bot
from tests.e2e.state_client import (
    KINDS,
    StateClient,
    path_of,
    path_to,
    query_to,
    state_client,
)
from tests.fake_channel import FakeChannel, until

# The data of the seed's examples.
TRAILS = [
    {"trail": "Lake Serene", "miles": 8.2, "difficulty": "Difficult"},
    {"trail": "Rainbow Falls", "miles": 6.3, "difficulty": "Moderate"},
]
USER = "abcd1234/users/12345678"

SURVIVES_A_PATH = ["a/b", "a#b", "a?b", "100%", "%41", "a b", "a+b", "a&b=c", "ä🙂", "a:b@c", "a,b"]
NEEDS_A_QUERY = ["..", ".", "a%2Fb", "../users/x"]


BOT = notebook_bot


@pytest.fixture
def user(bot: RunningBot, channel: FakeChannel) -> User:
    return User(bot, channel)


# The seed's operations


async def test_the_trails_of_the_seed_are_saved_and_come_back(state: StateClient) -> None:
    assert await state.get(USER) == (None, "*")
    status, saved = await state.send("POST", USER, json.dumps({"data": TRAILS, "eTag": "*"}))
    assert status == 200
    assert saved["data"] == TRAILS
    assert await state.get(USER) == (TRAILS, saved["eTag"])
    # The eTag of the seed's own request is one that these data never had.
    status, _ = await state.send("POST", USER, json.dumps({"data": [], "eTag": "a1b2c3d4"}))
    assert status == 412
    assert await state.get(USER) == (TRAILS, saved["eTag"])


async def test_the_three_kinds_are_kept_apart(state: StateClient) -> None:
    ids = "apart", "somebody"
    for kind in KINDS:
        assert await state.save(path_to(kind, *ids), {"kind": kind}) == 200
    for kind in KINDS:
        data, _ = await state.get(path_to(kind, *ids))
        assert data == {"kind": kind}
    for kind in KINDS:
        others = {"user": ("apart", "else"), "conversation": ("else", "somebody")}
        assert await state.get(path_to(kind, *others.get(kind, ("apart", "else")))) == (None, "*")
        on_another_channel = path_to(kind, *ids).replace("test/", "other/")
        assert await state.get(on_another_channel) == (None, "*")


async def test_deleting_a_user_takes_user_and_private_data_and_leaves_the_conversations(
    state: StateClient,
) -> None:
    for conversation in ("first", "second"):
        for kind in KINDS:
            assert await state.save(path_to(kind, conversation, "leaving"), {"of": kind}) == 200
            assert await state.save(path_to(kind, conversation, "staying"), {"of": kind}) == 200
    receipt = await state.erase(path_to("user", "", "leaving"))
    assert receipt["user_data"] == 1
    assert receipt["private_conversation_data"] == 2
    assert receipt["left"] == 0
    assert await state.get(path_to("user", "", "leaving")) == (None, "*")
    for conversation in ("first", "second"):
        assert await state.get(path_to("private", conversation, "leaving")) == (None, "*")
        for kind in KINDS:
            assert (await state.get(path_to(kind, conversation, "staying")))[0] == {"of": kind}


# Data and bodies


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data", [[], [[]], 0, False, "", "text", 1.5, {"a": {}}, {"ä🙂": None}, "\x00\ud800", 10**30]
)
async def test_any_json_value_comes_back_as_it_went(
    state: StateClient, kind: str, data: Any
) -> None:
    path = path_to(kind, "any value", "any value")
    assert await state.save(path, data) == 200
    assert (await state.get(path))[0] == data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", [None, {}])
async def test_saving_null_or_an_empty_object_is_having_saved_nothing(
    state: StateClient, kind: str, nothing: Any
) -> None:
    path = path_to(kind, "nothing", "nothing")
    assert await state.save(path, TRAILS) == 200
    _, etag = await state.get(path)
    assert await state.save(path, nothing, etag) == 200
    assert await state.get(path) == (None, "*")
    assert await state.save(path, TRAILS, etag) == 412
    assert await state.save(path, TRAILS, "*") == 200


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "{}",
        '{"eTag": "*"}',
        '{"Data": 1}',
        '{"data": NaN}',
        '{"data": {"deep": [-Infinity]}}',
        '{"data": 1, "eTag": 7}',
        '{"data": 1, "eTag": ["*"]}',
        '{"data": {"$type": "os.system", "value": "true"}}',
        '{"data": {"profile": {"$type": "py/object"}}}',
        '{"data": {"$type": 7}}',
        '{"data": {"$type": {}}}',
        '{"data": {"$type": "decimal"}}',
        '{"data": {"$type": "decimal", "value": "eight"}}',
        '{"data": {"$type": "Note", "no_such_field": 1}}',
        '{"data": ' + "[" * 5_000 + "]" * 5_000 + "}",
        b'{"data": "\xff"}',
    ],
    ids=lambda body: str(body)[:50],
)
async def test_a_bad_body_is_refused_with_a_reason_and_changes_nothing(
    state: StateClient, body: str | bytes
) -> None:
    path = path_to("private", "bad body", "bad body")
    assert await state.save(path, TRAILS) == 200
    before = await state.get(path)
    status, answer = await state.send("POST", path, body)
    assert status == 400
    assert answer["error"]["message"]
    assert await state.get(path) == before


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_what_a_page_of_another_site_could_send_is_refused(
    state: StateClient, content_type: str
) -> None:
    path = path_to("user", "", "another site")
    sent = {"Content-Type": content_type}
    assert (await state.send("POST", path, '{"data": 1}', sent))[0] == 415
    assert await state.get(path) == (None, "*")


async def test_a_channel_id_with_the_separator_is_refused(state: StateClient) -> None:
    assert (await state.send("GET", "a%7Cb/users/u"))[0] == 400


async def test_other_methods_and_paths_are_not_found(state: StateClient) -> None:
    assert (await state.send("PUT", USER))[0] == 404
    assert (await state.send("DELETE", "test/conversations/c"))[0] == 404
    assert (await state.send("DELETE", "test/conversations/c/users/u"))[0] == 404
    assert (await state.send("GET", "test/users/"))[0] == 404


# Ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", [*SURVIVES_A_PATH, *NEEDS_A_QUERY])
async def test_odd_ids_are_those_the_bot_sees(
    bot: RunningBot, channel: FakeChannel, state: StateClient, odd: str, kind: str
) -> None:
    conversation = user_id = odd
    user = User(bot, channel, conversation, {"from": {"id": user_id}})
    (counts,) = await user.say("count")
    count = json.loads(counts)[kind]
    paths = [query_to(kind, conversation, user_id)]
    if odd in SURVIVES_A_PATH:
        paths.append(path_to(kind, conversation, user_id))
    for path in paths:
        assert (await state.get(path))[0] == {"count": count}
        assert await state.save(path, {"count": 40}) == 200
        (counts,) = await user.say("count")
        count = json.loads(counts)[kind]
        assert count == 41


async def test_an_id_in_the_query_goes_before_the_one_in_the_path(state: StateClient) -> None:
    assert await state.save("test/users/in-path?userId=in-query", TRAILS) == 200
    assert (await state.get("test/users/in-query"))[0] == TRAILS
    assert await state.get("test/users/in-path") == (None, "*")


# eTags


@pytest.mark.parametrize("kind", KINDS)
async def test_an_etag_saves_over_its_own_version_only(state: StateClient, kind: str) -> None:
    path = path_to(kind, "versions", "versions")
    assert await state.get(path) == (None, "*")
    assert await state.save(path, 0, "stale") == 412
    assert await state.get(path) == (None, "*")
    assert await state.save(path, 1, "*") == 200
    _, first = await state.get(path)
    assert await state.save(path, 2, "*") == 412
    assert await state.get(path) == (1, first)
    assert await state.save(path, 2, first) == 200
    data, second = await state.get(path)
    assert data == 2
    assert len({"*", first, second}) == 3
    assert await state.save(path, 3, first) == 412
    assert await state.get(path) == (2, second)
    assert await state.save(path, 3) == 200
    assert (await state.get(path))[0] == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_of_50_writers_with_one_etag_exactly_one_wins(state: StateClient, kind: str) -> None:
    path = path_to(kind, "contended", "contended")
    for round_number in range(3):
        _, etag = await state.get(path)
        data = [f"{round_number}/{writer}" for writer in range(50)]
        statuses = await asyncio.gather(*(state.save(path, each, etag) for each in data))
        assert sorted(statuses) == [200] + [412] * 49
        assert (await state.get(path))[0] == data[statuses.index(200)]


@pytest.mark.parametrize("kind", KINDS)
async def test_of_50_writers_without_an_etag_none_is_refused(state: StateClient, kind: str) -> None:
    path = path_to(kind, "careless", "careless")
    statuses = await asyncio.gather(*(state.save(path, writer) for writer in range(50)))
    assert statuses == [200] * 50
    assert (await state.get(path))[0] in range(50)


async def test_50_users_private_data_in_one_conversation_are_saved_at_once(
    state: StateClient,
) -> None:
    paths = [path_to("private", "crowd", f"user {number}") for number in range(50)]
    statuses = await asyncio.gather(*(state.save(path, path, "*") for path in paths))
    assert statuses == [200] * 50
    for path in paths:
        assert (await state.get(path))[0] == path


@pytest.mark.parametrize("kind", KINDS)
async def test_a_turn_gives_the_data_it_changed_a_new_etag(
    state: StateClient, user: User, kind: str
) -> None:
    await user.say("count")
    _, etag = await state.get(path_of(kind, user))
    await user.say("count")
    assert await state.save(path_of(kind, user), {}, etag) == 412
    data, etag = await state.get(path_of(kind, user))
    assert data == {"count": 2}
    await user.say("favourite")  # changes nothing
    assert await state.get(path_of(kind, user)) == (data, etag)


# The very data of the bot


async def test_an_export_has_everything_about_the_user(state: StateClient, user: User) -> None:
    await user.say("count")
    await state.save(path_of("private", user), {"choice": "mine"})
    status, found = await state.send("GET", f"{path_of('user', user)}/export")
    assert status == 200
    assert found["userData"][0] == (await state.get(path_of("user", user)))[0]
    (conversation,) = found["conversations"]
    assert conversation["privateData"] == {"choice": "mine"}
    assert conversation["conversationData"] == (await state.get(path_of("conversation", user)))[0]
    query = query_to("user", "-", user.activity()["from"]["id"]).replace("?", "/export?")
    assert (await state.send("GET", query))[1]["userHash"] == found["userHash"]


async def test_a_preference_set_from_outside_is_known_to_the_bots_next_turn(
    state: StateClient, user: User
) -> None:
    assert await user.say("favourite") == ["None"]
    assert await state.save(path_of("user", user), {"favourite": "Lake Serene"}, "*") == 200
    assert await user.say("favourite") == ["Lake Serene"]


async def test_typed_values_come_out_with_tags_and_posted_back_are_the_same_to_the_bot(
    state: StateClient, user: User
) -> None:
    await user.say("keep")
    data, _ = await state.get(path_of("user", user))
    assert data["typed"].keys() == ONE_OF_EACH.keys()
    assert data["typed"] == {
        "decimal": {"$type": "decimal", "value": "8.20"},
        "datetime": {"$type": "datetime", "value": "2026-02-28T12:30:00+00:00"},
        "date": {"$type": "date", "value": "2026-02-28"},
        "timedelta": {"$type": "timedelta", "value": "86400000001"},
        "bytes": {"$type": "bytes", "value": "AP8="},
        "uuid": {"$type": "uuid", "value": "00000000-0000-0000-0000-000000000007"},
        "infinite": {"$type": "float", "value": "inf"},
        "tuple": {"$type": "tuple", "items": [1, {"$type": "tuple", "items": [2, 3]}]},
        "set": {"$type": "set", "items": ["one"]},
        "numbered": {"$type": "dict", "items": [[1, "one"]]},
        "enum": {"$type": "ActivityTypes", "value": "message"},
        "account": {"$type": "ChannelAccount", "id": "ada", "name": "Ada"},
        "note": {"$type": "Note", "title": "Ada", "page": None},
    }
    assert await state.save(path_of("user", user), {}) == 200
    assert await state.save(path_of("user", user), data) == 200
    assert await user.say("compare") == ["the same"]


async def test_a_bots_own_dataclass_can_be_read_and_the_examples_of_the_docs_run(
    settings: dict[str, str], channel: FakeChannel, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "state-data.md").read_text()
    examples = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    async with running_bot(settings, tmp_path) as survey, state_client(survey) as state:
        user = User(survey, channel, fields={"from": {"id": "ada"}})
        await user.say_all("hello", "Bicycle", "Ada", "36")
        assert (await state.get(path_of("user", user)))[0] == {
            "Answers": {"$type": "Answers", "transport": "Bicycle", "name": "Ada", "age": 36}
        }
        process = await asyncio.create_subprocess_exec(
            "bash",
            *("-euc", examples),
            env={"BOT": survey.url, "KEY": "any", "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors
        answers = json.loads("[" + output.decode().replace('}{"', '},{"') + "]")
        assert answers[0] == {"data": None, "eTag": "*"}
        assert answers[1]["data"] == TRAILS
        assert answers[-1]["left"] == 0
        assert len(answers) == examples.count("\nstate ")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_save_from_outside_never_counts_as_use(
    state: StateClient, user: User, rows: StoredRows, kind: str
) -> None:
    await user.say("count")
    await rows.let_time_pass(seconds=590)
    before = await row_of("conversation", user, rows)
    assert await state.save(path_of(kind, user), {"count": 5}) == 200
    after = await row_of("conversation", user, rows)
    assert after.columns["LastAccessed"] == before.columns["LastAccessed"]
    await rows.let_time_pass(seconds=15)
    await user.bot.sweep()
    assert EXPIRED in user.heard[-1]


@pytest.mark.parametrize("kind", ["conversation", "private"])
async def test_saving_to_an_unknown_conversation_begins_one_that_ends_silently(
    state: StateClient, user: User, rows: StoredRows, kind: str
) -> None:
    assert await state.save(path_of(kind, user), {"count": 5}) == 200
    row = await row_of("conversation", user, rows)
    assert "Reference" not in row.columns
    assert len(await rows.keys("d|")) == 1
    await rows.let_time_pass(seconds=610)
    report = await user.bot.sweep()
    assert "expired 1" in report
    assert "notif" not in report
    assert user.heard == []
    assert await rows.keys() == []
    assert await state.get(path_of(kind, user)) == (None, "*")


async def test_data_of_an_expired_conversation_are_gone_before_any_sweep(
    state: StateClient, user: User, rows: StoredRows
) -> None:
    await user.say("count")
    await rows.let_time_pass(seconds=610)
    assert await state.get(path_of("conversation", user)) == (None, "*")
    assert await state.get(path_of("private", user)) == (None, "*")
    assert (await state.get(path_of("user", user)))[0] == {"count": 1}


# At the same time


@pytest.mark.parametrize("kind", KINDS)
async def test_a_save_while_a_turn_is_in_flight_loses_nothing(
    state: StateClient, user: User, tmp_path: Path, kind: str
) -> None:
    await user.say("count")
    turn = asyncio.create_task(user.say("count", value=str(tmp_path)))
    await until((tmp_path / "held").exists)
    data, etag = await state.get(path_of(kind, user))
    assert data == {"count": 1}
    assert await state.save(path_of(kind, user), {"count": 10}, etag) == 200
    (tmp_path / "go").touch()
    (answer,) = await turn
    counts = {"user": 2, "conversation": 2, "private": 2} | {kind: 11}
    assert json.loads(answer) == counts
    for each, count in counts.items():
        assert (await state.get(path_of(each, user)))[0] == {"count": count}


async def test_50_messages_at_once_count_to_50_in_each_bag(state: StateClient, user: User) -> None:
    answers = await asyncio.gather(*(user.send("count") for _ in range(50)))
    assert answers == [200] * 50
    assert [json.loads(text)["private"] for text in user.heard] == list(range(1, 51))
    for kind in KINDS:
        assert (await state.get(path_of(kind, user)))[0] == {"count": 50}


async def test_20_messages_at_once_to_two_processes_count_to_20_in_each_bag(
    settings: dict[str, str], state: StateClient, user: User, tmp_path: Path
) -> None:
    async with running_bot(settings, tmp_path, bot=notebook_bot) as other:
        same_user = replace(user, bot=other)
        answers = await asyncio.gather(*(each.send("count") for each in [user, same_user] * 10))
    assert answers == [200] * 20
    for kind in KINDS:
        assert (await state.get(path_of(kind, user)))[0] == {"count": 20}


# Damaged rows


EXECUTED = Path(tempfile.gettempdir(), f"executed-{uuid4().hex}")
CALL = [{"py/function": "os.system"}, {"py/tuple": [f"touch {EXECUTED}"]}]


def nothing_was_executed() -> bool:
    return not EXECUTED.exists()


def packed(text: str) -> bytes:
    return zlib.compress(text.encode())


DAMAGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a py/reduce": lambda state: {
        "State00": packed(json.dumps({"a": {"$type": "py/reduce", "value": CALL}}))
    },
    "an unknown type": lambda state: {"State00": packed('{"a": {"$type": "Nobody"}}')},
    "cut-off JSON": lambda state: {"State00": packed('{"a": [1, ')},
    "cut-off bytes": lambda state: {"State00": state["State00"][:-5]},
    "rubbish": lambda state: {"State00": b"rubbish"},
    "no first chunk": lambda state: {"State01": state["State01"]},
    "no last chunk": lambda state: {"State00": state["State00"]},
    "text": lambda state: {"State00": "text"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_row_is_named_and_nothing_in_it_is_executed(
    state: StateClient, user: User, rows: StoredRows, kind: str, damage: str
) -> None:
    await user.say("count")
    await damage_row(state, user, rows, kind, damage)
    row = await row_of(kind, user, rows)
    status, answer = await state.send("GET", path_of(kind, user))
    assert status == 500
    for part in (row.partition, *row.key.split("|")[1:]):
        assert part in answer["error"]["message"]
    heard = await user.say("count")
    assert nothing_was_executed()
    named = row.partition if kind == "user" else row.key.split("|")[1]
    assert re.search(rf"\bturn: .*{named}", user.bot.log)
    if kind == "user":  # no new session changes it: it stays an error until it is erased
        assert "something went wrong" in heard[0]
        await state.erase(path_of(kind, user))
        (counts,) = await user.say("count")
        assert json.loads(counts) == {"user": 1, "conversation": 1, "private": 1}
    else:
        assert WELCOME_BACK in heard[0]
        assert json.loads(heard[1]) == {"user": 2, "conversation": 1, "private": 1}


async def test_what_another_codec_would_execute_is_plain_data(
    state: StateClient, user: User
) -> None:
    call = {"py/reduce": CALL}
    assert await state.save(path_of("user", user), {"favourite": call}) == 200
    assert await user.say("favourite") == [str(call)]
    assert nothing_was_executed()


async def damage_row(
    state: StateClient, user: User, rows: StoredRows, kind: str, damage: str
) -> None:
    long_text = random.randbytes(100_000).hex()  # makes two chunks
    data = {"count": 1, "long": long_text} if "chunk" in damage else {"count": 1}
    assert await state.save(path_of(kind, user), data) == 200
    row = await row_of(kind, user, rows)
    chunks = {name: row.columns[name] for name in row.columns if re.match(r"State\d", name)}
    columns = {name: row.columns[name] for name in row.columns if name not in chunks}
    damaged = replace(row, columns={**columns, **DAMAGES[damage](chunks)})
    await table_of(kind, rows).write([Operation("replace", damaged)])


def table_of(kind: str, rows: StoredRows) -> AzureTable:
    return rows.users if kind == "user" else rows.conversations


async def row_of(kind: str, user: User, rows: StoredRows) -> Row:
    activity = user.activity()
    hashed = user_hash(activity["channelId"], activity["from"]["id"])
    address = address_of(ConversationKey(activity["channelId"], user.conversation).hash, 4)
    partition, key = {
        "user": (hashed, "user"),
        "conversation": (address.shard, f"c|{address.key}"),
        "private": (address.shard, f"p|{address.key}|{hashed}"),
    }[kind]
    row = await table_of(kind, rows).get(partition, key)
    assert row
    return row


# Limits and protection


async def test_data_above_the_limit_are_refused_and_change_nothing(
    settings: dict[str, str], tmp_path: Path
) -> None:
    small = {**settings, "StateLimitKiB": "4"}
    async with running_bot(small, tmp_path) as bot, state_client(bot) as state:
        for kind in KINDS:
            path = path_to(kind, "small", "small")
            assert await state.save(path, {"text": "x" * 100_000}) == 200  # it compresses well
            before = await state.get(path)
            assert await state.save(path, {"text": random.randbytes(8_000).hex()}) == 413
            assert await state.save(path, "x" * 8 * 2**20) == 413
            assert await state.get(path) == before


async def test_switched_off_every_route_is_not_found(
    settings: dict[str, str], channel: FakeChannel, tmp_path: Path
) -> None:
    async with running_bot({**settings, "StateApi": "off"}, tmp_path) as bot:
        async with state_client(bot) as state:
            for kind in KINDS:
                for method in ("GET", "POST", "DELETE"):
                    status, _ = await state.send(method, path_to(kind, "c", "u"), '{"data": 1}')
                    assert status == 404
        assert TRANSPORT in (await User(bot, channel).say("hello"))[0]


async def test_behind_easy_auth_only_those_with_the_app_role_are_let_in(
    settings: dict[str, str], channel: FakeChannel, tmp_path: Path
) -> None:
    entra = {**settings, "StateApi": "entra", "WEBSITE_AUTH_ENABLED": "true"}
    claims = [{"typ": "roles", "val": "BotState.ReadWrite"}]
    principal = json.dumps({"auth_typ": "aad", "claims": claims}).encode()
    guest = {"X-MS-CLIENT-PRINCIPAL-ID": "somebody", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}
    known = guest | {"X-MS-CLIENT-PRINCIPAL": base64.b64encode(principal).decode()}
    async with running_bot(entra, tmp_path) as bot, state_client(bot) as state:
        for kind in KINDS:
            path = path_to(kind, "entra", "entra")
            assert (await state.send("POST", path, '{"data": 1}'))[0] == 401
            assert (await state.send("POST", path, '{"data": 1}', guest))[0] == 403
            assert (await state.send("POST", path, '{"data": 1}', known))[0] == 200
            assert (await state.send("GET", path))[0] == 401
            assert (await state.send("GET", path, headers=known))[0] == 200
        assert (await state.send("DELETE", path_to("user", "", "entra")))[0] == 401
        assert TRANSPORT in (await User(bot, channel).say("hello"))[0]


async def test_entra_without_easy_auth_stops_the_app_with_the_settings_name(
    settings: dict[str, str], tmp_path: Path
) -> None:
    async with running_bot({**settings, "StateApi": "entra"}, tmp_path, starts=False) as bot:
        assert "The app cannot start: StateApi is 'entra'" in bot.log


@pytest.mark.parametrize(
    ("state_api", "level"), [("key", "FUNCTION"), ("entra", "ANONYMOUS"), ("off", "ANONYMOUS")]
)
def test_unless_easy_auth_asks_the_host_asks_for_a_function_key(
    settings: dict[str, str], state_api: str, level: str
) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    changed = {**settings, "StateApi": state_api, "WEBSITE_AUTH_ENABLED": "true"}
    app.register_functions(make_blueprint(read_settings(changed).api))
    bindings = [
        json.loads(str(function))["bindings"]
        for function in app.get_functions()
        if str(function.get_function_name()).startswith("state_")
    ]
    levels = [each["authLevel"] for binding in bindings for each in binding if "authLevel" in each]
    assert levels == [level] * 4


def test_the_docs_name_tests_that_exist() -> None:
    page = (ROOT / "docs" / "state-data.md").read_text()
    files = [ROOT / "tests" / "e2e" / f"test_{name}.py" for name in ("state_api", "erasure")]
    existing = re.findall(
        r"^(?:async )?def (test_\w+)", "".join(f.read_text() for f in files), re.MULTILINE
    )
    assert set(re.findall(r"`(test_\w+)`", page)) <= set(existing)
