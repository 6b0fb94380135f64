"""What `simulate` says of pauses, and of files that it cannot read."""

import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from shared.cli.pauses_file import Pauses, PausesError, pauses_in
from shared.cli.simulate import TIMEOUTS, simulate
from shared.domain.reference import ConversationType
from shared.expiry.pauses import UP_TO

POLICY = """
expire_after = "30m"
warn_before = "5m"

[[override]]
channel = "msteams"
expire_after = "8h"

[[override]]
channel = "msteams"
conversation_type = "channel"
notify = false
"""
PAUSES = """\
channel,type,ended,seconds,pauses
webchat,personal,user,60,100
webchat,personal,user,1600,10
webchat,personal,user,1800,3
webchat,personal,user,3600,2
webchat,personal,user,3601,1
webchat,personal,expiry,5000,50
"""


@pytest.fixture
def said() -> list[str]:
    return []


async def simulated(
    folder: Path, said: list[str], pauses: str, policy: str = POLICY, regret_minutes: int = 30
) -> list[str]:
    """What is printed, without the width of the columns."""
    (folder / "policy.toml").write_text(policy)
    (folder / "pauses.csv").write_text(pauses)
    regret = timedelta(minutes=regret_minutes)
    await simulate(str(folder / "policy.toml"), folder / "pauses.csv", regret, said.append)
    return [" ".join(line.split()) for line in said]


async def test_each_timeout_has_its_expiries_warnings_and_regrets(
    tmp_path: Path, said: list[str]
) -> None:
    assert await simulated(tmp_path, said, PAUSES) == [
        "pauses.csv: 116 pauses that users ended, 50 that the expiry ended",
        "",
        "any other: expire_after 30m (policy.toml, line 2), warn_before 5m",
        "expire_after expiries warned back within 30m not known",
        "1m 166 0 113 68.1% 0",  # a warning of 5 minutes would come before the first word
        "2m 66 0 13 19.7% 0",
        "5m 66 0 13 19.7% 0",
        "10m 66 66 13 19.7% 0",
        "15m 66 66 13 19.7% 0",
        "-> 30m 56 66 5 8.9% 0 as in the file",
        "1h 53 53 3 5.7% 50",  # the expiry ended 50 before they could be back within 90 minutes
        "2h 50 50 0 0.0% 50",
    ]


async def test_the_time_of_regret_can_be_another_one(tmp_path: Path, said: list[str]) -> None:
    lines = await simulated(tmp_path, said, PAUSES, regret_minutes=60)
    assert lines[3] == "expire_after expiries warned back within 1h not known"
    assert "-> 30m 56 66 6 10.7% 50 as in the file" in lines


async def test_a_table_for_each_rule_says_whose_it_is_and_which_line_decides(
    tmp_path: Path, said: list[str]
) -> None:
    lines = await simulated(
        tmp_path,
        said,
        "type,seconds,channel,ended\n"
        "personal,28800,msteams,user\n"
        "groupChat,28799,msteams,user\n"
        "channel,30000,msteams,user\n"
        "channel,40.5,other,user\n",
    )
    assert [line for line in lines if "expire_after " in line and "line" in line] == [
        "msteams (personal, groupChat): expire_after 8h (policy.toml, line 7), warn_before 5m",
        "msteams (channel): expire_after 8h (policy.toml, line 7), warn_before never",
        "any other: expire_after 30m (policy.toml, line 2), warn_before 5m",
    ]
    assert [line for line in lines if line.startswith("->")] == [
        "-> 8h 1 2 1 100.0% 0 as in the file",
        "-> 8h 1 0 1 100.0% 0 as in the file",
        "-> 30m 0 0 0 - 0 as in the file",
    ]


async def test_a_file_that_names_no_timeout_marks_none(tmp_path: Path, said: list[str]) -> None:
    lines = await simulated(tmp_path, said, PAUSES, policy="notify = false\n")
    assert "any other: expire_after ExpireAfterSeconds, warn_before never" in lines
    assert "as in the file" not in str(lines)


async def test_a_table_ends_where_no_pause_is_longer(tmp_path: Path, said: list[str]) -> None:
    lines = await simulated(tmp_path, said, "channel,ended,seconds\nsms,user,0\n")
    assert [line.split()[0] for line in lines[4:]] == ["1m", "->"]


def test_the_timeouts_are_bounds_of_the_metrics_buckets() -> None:
    assert {each.total_seconds() for each in TIMEOUTS} <= {*UP_TO}


def read(folder: Path, content: bytes) -> list[Pauses]:
    (folder / "pauses.csv").write_bytes(content)
    return list(pauses_in(folder / "pauses.csv"))


@pytest.mark.parametrize(
    "content",
    [
        b"channel,ended,seconds\nmsteams,user,12.5\n",
        b'\xef\xbb\xbf"channel","ended","seconds"\r\n"msteams","user","12.5"\r\n\r\n',
        b"pauses,seconds,type,ended,channel\n1,12.5,personal,user,msteams",
    ],
)
def test_columns_come_in_any_order_and_some_may_be_left_out(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) == [
        Pauses("msteams", ConversationType.PERSONAL, by_user=True, seconds=12.5, number=1)
    ]


@pytest.mark.parametrize(
    ("content", "line", "mistake"),
    [
        (b"", 1, "it must name the columns, and channel is missing; there are channel, type,"),
        (b"channel,seconds\n", 1, "it must name the columns, and ended is missing"),
        (b"channel,ended,second\n", 1, "'second' is no column; there are channel, type, ended,"),
        (b"channel,ended,seconds,ended\n", 1, "the column ended is there twice"),
        (b"\xff\xfec\x00", 1, "it is not UTF-8"),
        (b"channel,ended,seconds\na,user,1\na,user\n", 3, "it has 2 values; it must have 3"),
        (b"channel,ended,seconds\n\n\xff\n", 3, "it is not UTF-8"),
        (b"channel,ended,seconds\n\n,user,1\n", 3, "channel is ''; it must be a channel's id"),
        (b"channel,ended,seconds\na,yes,1\n", 2, "ended is 'yes'; it must be user or expiry"),
        (b"channel,ended,seconds\na,user,nan\n", 2, "seconds is 'nan'; it must be a number from"),
        (b"channel,ended,seconds\na,user,-1\n", 2, "seconds is '-1'; it must be a number from 0"),
        (b"channel,ended,seconds\na,user,1_0\n", 2, "seconds is '1_0'; it must be a number"),
        (b"channel,ended,seconds\na,user,400000000\n", 2, "seconds is '400000000'; it must be"),
        (b"channel,ended,seconds,pauses\na,user,1,0\n", 2, "pauses is '0'; it must be a whole"),
        (b"channel,ended,seconds,pauses\na,user,1,1.5\n", 2, "pauses is '1.5'; it must be"),
        (
            b"channel,ended,seconds,type\na,user,1,group\n",
            2,
            "type is 'group'; it must be personal",
        ),
        (b'channel,ended,seconds\na,user,"1\n', 2, "unexpected end of data"),
        (b"channel,ended,seconds\n" + 20_000 * b"a", 2, "it is longer than 10,000 bytes"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(
    tmp_path: Path, content: bytes, line: int, mistake: str
) -> None:
    with pytest.raises(PausesError) as refused:
        read(tmp_path, content)
    said = str(refused.value)
    assert said.startswith(f"pauses.csv, line {line}: {mistake}")
    assert "\n" not in said
    assert len(said) < 200


async def test_a_wrong_file_ends_the_command_with_that_line(
    tmp_path: Path, said: list[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^pauses\.csv, line 2: ended is '\\x1b'; it must be"):
        await simulated(tmp_path, said, "channel,ended,seconds\na,\x1b,1\n")
    with pytest.raises(SystemExit, match=r"missing\.csv: No such file or directory$"):
        await simulate(
            str(tmp_path / "policy.toml"), tmp_path / "missing.csv", timedelta(1), said.append
        )
    with pytest.raises(SystemExit):
        await simulated(tmp_path, said, PAUSES, policy="expire_afer = '1h'\n")
    assert said[-1].startswith("policy.toml, line 1: expire_afer is no value of a policy")


@pytest.mark.slow
async def test_a_long_file_is_not_held_in_memory(tmp_path: Path, said: list[str]) -> None:
    await simulated(tmp_path, said, PAUSES)  # what the first run loads stays
    line = "webchat,personal,user,1600,1\n"
    (tmp_path / "pauses.csv").write_text(PAUSES + 15_000 * line)
    said.clear()
    tracemalloc.start()
    try:
        await simulate(
            str(tmp_path / "policy.toml"), tmp_path / "pauses.csv", timedelta(1), said.append
        )
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "15,116 pauses that users ended" in said[0]
    assert most < 15_000 * len(line) / 2
