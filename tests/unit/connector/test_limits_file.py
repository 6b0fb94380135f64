"""What the file of sending limits may say, and what is said about a wrong one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.connector import limits_file
from shared.connector.limits_file import ChannelLimits, Limits, read_limits
from shared.settings import SettingsError
from shared.settings.sending import SendingSettings

TEAMS = ChannelLimits("msteams", "tenant", (50, 1), ((7, 1), (8, 2), (60, 30), (1800, 3600)))
OTHER = ChannelLimits("other", "service_url", (50, 1), ())

Read = Callable[[str], Limits]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a file with this text, as the setting SendingLimits names it."""

    def read_text(text: str) -> Limits:
        file = tmp_path / "limits.toml"
        file.write_text(text)
        return read_limits(SendingSettings.model_validate({"SendingLimits": str(file)}))

    return read_text


def test_the_limits_that_come_with_the_app_are_those_of_teams() -> None:
    limits = read_limits(SendingSettings())
    assert limits.of("msteams") == TEAMS
    assert limits.of("directline") == limits.of("webchat") == OTHER


def test_a_channel_needs_nothing_but_its_table(read: Read) -> None:
    limits = read("[directline]\nservice_url = [10, 1]")
    assert limits.of("directline") == ChannelLimits("directline", "service_url", (10, 1), ())
    assert (limits.of("msteams"), limits.of("webchat")) == (TEAMS, OTHER)


def test_an_empty_file_changes_nothing(read: Read) -> None:
    limits = read("")
    assert (limits.of("msteams"), limits.of("directline")) == (TEAMS, OTHER)


@pytest.mark.parametrize(
    ("text", "channel", "expected"),
    [
        (
            "[msteams]\ntenant = [25, 1]",
            "msteams",
            ChannelLimits("msteams", "tenant", (25, 1), TEAMS.thread),
        ),
        (
            "[msteams]\nthread = []",
            "msteams",
            ChannelLimits("msteams", "tenant", (50, 1), ()),
        ),
        (
            "[msteams]\nservice_url = [5, 0.5]",
            "msteams",
            ChannelLimits("msteams", "service_url", (5, 0.5), TEAMS.thread),
        ),
        (
            "[slack]\nthread = [[1, 1]]",
            "slack",
            ChannelLimits("other", "service_url", (50, 1), ((1, 1),)),
        ),
        (
            "[slack]\ntenant = [3, 1]\n[other]\nservice_url = [9, 1]\nthread = [[2, 1]]",
            "slack",
            ChannelLimits("slack", "tenant", (3, 1), ((2, 1),)),
        ),
        (
            "[other]\ntenant = [9, 1]",
            "directline",
            ChannelLimits("other", "tenant", (9, 1), ()),
        ),
        ("[directline]", "directline", OTHER),
    ],
)
def test_what_a_file_does_not_name_is_as_it_was(
    read: Read, text: str, channel: str, expected: ChannelLimits
) -> None:
    assert read(text).of(channel) == expected


LIMIT = r"it must be \[requests, seconds\]: a whole number from 1 to 1,000,000, and one above 0"
NAMES = "it must name tenant, service_url, thread only"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[msteams", "it must be a TOML file"),
        ("directline = 5", r"directline is 5; it must be a table of limits: \[directline\]"),
        ("[[directline]]\nservice_url = [1, 1]", "directline is .*; it must be a table"),
        ("[msteams]\ntenant = [0, 1]", rf"msteams.tenant is \[0, 1\]; {LIMIT}"),
        ("[msteams]\ntenant = [1, 0]", rf"msteams.tenant is \[1, 0\]; {LIMIT}"),
        ("[slack]\nservice_url = [1, -0.5]", rf"slack.service_url is \[1, -0.5\]; {LIMIT}"),
        ("[slack]\nservice_url = [1.5, 1]", rf"slack.service_url is \[1.5, 1\]; {LIMIT}"),
        ("[slack]\nservice_url = [1, inf]", rf"slack.service_url is \[1, inf\]; {LIMIT}"),
        ("[slack]\nservice_url = [1, nan]", rf"slack.service_url is \[1, nan\]; {LIMIT}"),
        ("[slack]\nservice_url = [true, 1]", rf"slack.service_url is \[True, 1\]; {LIMIT}"),
        ("[slack]\nservice_url = ['1', 1]", rf"slack.service_url is \['1', 1\]; {LIMIT}"),
        ("[slack]\nservice_url = [1000001, 1]", rf"slack.service_url is \[1000001, 1\]; {LIMIT}"),
        ("[slack]\nservice_url = [1]", rf"slack.service_url is \[1\]; {LIMIT}"),
        ("[slack]\nservice_url = [1, 1, 1]", rf"slack.service_url is \[1, 1, 1\]; {LIMIT}"),
        ("[slack]\nservice_url = 10", f"slack.service_url is 10; {LIMIT}"),
        ("[slack]\nservice_url = {}", f"slack.service_url is {{}}; {LIMIT}"),
        ("[slack]\nthread = [7, 1]", r"slack.thread is \[7, 1\]; it must be a list, empty or of"),
        ("[slack]\nthread = [[7, 0]]", r"slack.thread is \[\[7, 0\]\]; it must be a list"),
        ("[msteams]\ntenent = [1, 1]", f"msteams names 'tenent'; {NAMES}"),
        ("[slack.service_url]\nrequests = 1", r"slack.service_url is \{'requests': 1\}; it must"),
        (
            "[slack]\ntenant = [1, 1]\nservice_url = [1, 1]",
            "slack names tenant and service_url; it must name one of them",
        ),
    ],
)
def test_a_mistake_names_the_channel_the_key_what_it_is_and_what_it_must_be(
    read: Read, text: str, complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint) as error:
        read(text)
    said = str(error.value)
    assert said.startswith("SendingLimits")
    assert "limits.toml" in said
    assert "\n" not in said
    assert said.count("it must") == 1


def test_all_mistakes_of_a_file_are_named_at_once(read: Read) -> None:
    with pytest.raises(SettingsError) as error:
        read("a = 1\n[b]\nthread = [[0, 0]]\nx = 1\n[c]\ntenant = []\n[d]\ntenant = [1, 1]")
    said = str(error.value)
    for each in ("a is 1", "b.thread is [[0, 0]]", "b names 'x'", "c.tenant is []"):
        assert said.count(each) == 1
    assert said.count("; it must") == 4  # nothing is wrong with d


def test_without_a_table_for_the_others_the_missing_limit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sending_limits.toml"
    file.write_text("[msteams]\ntenant = [1, 1]\n[other]\nthread = [[1, 1]]")
    monkeypatch.setattr(limits_file, "_SHIPPED", file)
    settings = SendingSettings.model_validate({"SendingLimits": str(file)})
    with pytest.raises(SettingsError, match=f"other.service_url is missing; {LIMIT}"):
        read_limits(settings)


def test_a_file_that_is_not_there_is_named() -> None:
    settings = SendingSettings.model_validate({"SendingLimits": "nowhere.toml"})
    with pytest.raises(SettingsError, match=r"SendingLimits is .*nowhere\.toml"):
        read_limits(settings)
