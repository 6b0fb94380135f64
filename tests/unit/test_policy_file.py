"""The setting ExpiryPolicy: what it may name, and each mistake in one line."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from scripts import local_settings
from scripts.processes import ROOT
from shared.cli import policies
from shared.domain.policy import Override, Policy
from shared.domain.reference import ConversationType
from shared.domain.timing import QuietHours, Timing
from shared.settings import SettingsError
from shared.settings import expiry as expiry_settings
from shared.settings.expiry import read_policy
from shared.settings.group import MistakesError
from shared.settings.policy_file import hours_in_words, in_units
from tests.unit.test_settings import COSMOS, DEVELOPMENT, Read, read  # noqa: F401 - a fixture

HALF_AN_HOUR = timedelta(minutes=30)
FILE = """
expire_after = "1h"

[[override]]
channel = "msteams"
expire_after = "8h"

[[override]]
channel = ["msteams", "slack"]
conversation_type = ["groupChat", "channel"]
notify = false

[[override]]
conversation_type = "channel"
expire_after = "90s"

[[override]]
channel = "slack"
notify_within = "24h"
"""


def _hours(begins: str, ends: str, zone: str) -> str:
    return f'quiet_hours = {{ from = "{begins}", to = "{ends}", time_zone = "{zone}" }}'


def policy_in(text: str) -> Policy:
    return read_policy(text).over(Timing(HALF_AN_HOUR))


@pytest.mark.parametrize(
    ("channel", "type_", "hours", "notify"),
    [
        ("webchat", "personal", 1, True),
        ("webchat", "groupChat", 1, True),
        ("webchat", "channel", 1 / 40, True),
        ("msteams", "personal", 8, True),
        ("msteams", "groupChat", 8, False),
        ("msteams", "channel", 1 / 40, False),
        ("slack", "personal", 1, True),
        ("slack", "groupChat", 1, False),
    ],
)
def test_later_overrides_win_value_by_value(
    channel: str, type_: str, hours: float, *, notify: bool
) -> None:
    timing = policy_in(FILE).of_type(channel, ConversationType(type_))
    assert (timing.expire_after, timing.notify) == (timedelta(hours=hours), notify)
    assert timing.notify_within == (timedelta(days=1) if channel == "slack" else None)


def test_the_shortest_and_the_longest_timeout_are_known() -> None:
    policy = policy_in(FILE)
    assert (policy.shortest, policy.longest) == (timedelta(seconds=90), timedelta(hours=8))
    assert policy.shortest_of("slack").expire_after == timedelta(seconds=90)


@pytest.mark.parametrize("value", ["", "# nothing = nothing"])
def test_where_nothing_is_said_all_is_as_without_a_policy(value: str) -> None:
    assert policy_in(value) == Policy(Timing(HALF_AN_HOUR))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("expire_after = 30", "line 1: expire_after is 30; it must be a whole number of s, m, h"),
        ('expire_after = "30"', "line 1: expire_after is '30'; it must be a whole number of s, m"),
        ('expire_after = "0s"', "line 1: expire_after is '0s'; it must be a whole number of s, m"),
        ('expire_after = "1.5h"', "line 1: expire_after is '1.5h'; it must be a whole number"),
        ('expire_after = "-1h"', "line 1: expire_after is '-1h'; it must be a whole number"),
        (
            'expire_after = "\u0663h"',
            "line 1: expire_after is '\u0663h'; it must be a whole number",
        ),
        ('expire_after = "3651d"', "line 1: expire_after is '3651d'; it must be a whole number"),
        ('warn_before = ["5m", 1]', "line 1: warn_before is 1; it must be a time like '5m', or a"),
        (
            'warn_before = "soon"',
            "line 1: warn_before is 'soon'; it must be a time like '5m', ",
        ),
        ("warn_before = [" + '"5m",' * 11 + "]", "it must be a time like '5m', or a list of such"),
        ('max_age = "a week"', "line 1: max_age is 'a week'; it must be a whole number of s, m"),
        ("resume_within = true", "resume_within is True; it must be a whole number of s, m, h or"),
        ('resume_within = "0s"', "line 1: resume_within is '0s'; it must be a whole number of s,"),
        ("quiet_hours = true", "line 1: quiet_hours is True; it must be { from = '22:00', to = "),
        ('quiet_hours = { from = "22:00" }', "it must be { from = '22:00', to = '07:00', time_zo"),
        (_hours("24:00", "07:00", "UTC"), "line 1: quiet_hours is {'from': '24:00', 'to': '07:00"),
        (_hours("7:00", "08:00", "UTC"), "it must be { from = '22:00', to = '07:00', time_zone ="),
        (_hours("07:00", "07:00", "UTC"), "it must be { from = '22:00', to = '07:00', time_zone "),
        (_hours("22:00", "07:00", "Rome"), "it must be { from = '22:00', to = '07:00', time_zone"),
        (_hours("22:00", "07:00", "../x"), "it must be { from = '22:00', to = '07:00', time_zone"),
        ("\nnotify = 1", "line 2: notify is 1; it must be true or false"),
        ('notify = "no"', "line 1: notify is 'no'; it must be true or false"),
        (
            'expire_afer = "8h"',
            "line 1: expire_afer is no value of a policy; did you mean expire_a",
        ),
        ("colour = 1", "line 1: colour is no value of a policy; there are expire_after, warn_bef"),
        ('channel = "msteams"', "line 1: channel is no value of a policy; there are expire_after"),
        ('[[override]]\nchannel = ""', "line 2: channel is ''; it must be the id of a channel"),
        ("[[override]]\nchannel = []", "line 2: channel is []; it must be the id of a channel"),
        ("[[override]]\nchannel = [1]", "line 2: channel is 1; it must be the id of a channel"),
        (
            '[[override]]\nnotify = true\n[[override]]\n\nconversation_type = "groupchat"',
            "line 5: conversation_type is 'groupchat'; it must be 'personal', 'groupChat' or",
        ),
        ('[override]\nchannel = "x"', "line 1: override is {'channel': 'x'}; it must be a list of"),
        ("override = [1]", "line 1: override is 1; it must be a list of tables, each under [[over"),
        ('override = [{channel = "a", notify = 0}]', "override 1: notify is 0; it must be true or"),
        ("[[override]]\n" * 101, "override is [{}, {}, {}"),
        ("notify = true\nnotify = true", "must be TOML: "),
        ("expire_after = ", "must be TOML: Invalid value"),
        ("a = " + "[" * 10_000, "must be TOML"),
        ("# " + "=" * 100_000, "is too long; it may have 100,000 bytes"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_what_it_must_be(text: str, said: str) -> None:
    with pytest.raises(MistakesError) as raised:
        read_policy(text)
    (mistake,) = raised.value.mistakes
    assert said in mistake
    assert "\n" not in mistake
    assert len(mistake) < 300


def test_all_mistakes_are_named_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('notify = 0\nexpire_after = "8"\n[[override]]\nchanel = "a"\n', "utf-8")
    with pytest.raises(MistakesError) as raised:
        read_policy(str(file))
    places = [each.partition(":")[0] for each in raised.value.mistakes]
    assert places == [f"mine.toml, line {line}" for line in (1, 2, 4)]


@pytest.mark.parametrize("content", [None, b"\xff\xfe= 1"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(MistakesError, match=r"mine\.toml' must be a TOML file: "):
        read_policy(str(file))


def test_the_file_in_the_apps_folder_is_read_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry_settings, "_APP", tmp_path)
    (tmp_path / "expiry_policy.toml").write_text("notify = false", "utf-8")
    assert read_policy("").default == Override(notify=False)
    (tmp_path / "other.toml").write_text("notify = true", "utf-8")
    assert read_policy("other.toml").default == Override(notify=True)


def test_the_settings_name_each_mistake_and_nobody_unknown_sees_a_value(read: Read) -> None:  # noqa: F811
    with pytest.raises(SettingsError) as raised:
        read(DEVELOPMENT, ExpiryPolicy='notify = "a secret"\nfoo = 1')
    assert str(raised.value) == (
        "ExpiryPolicy: the text, line 1: notify is 'a secret'; it must be true or false;"
        " ExpiryPolicy: the text, line 2: foo is no value of a policy; there are expire_after,"
        " warn_before, notify, notify_within, max_age, quiet_hours, resume_within, override"
    )
    assert raised.value.without_values == (
        "ExpiryPolicy is wrong; it must be a TOML file, from the app's folder on, or the TOML"
        " itself"
    )


def test_the_settings_have_the_policy_over_the_timeout(read: Read) -> None:  # noqa: F811
    settings = read(DEVELOPMENT, ExpireAfterSeconds="60", ExpiryPolicy=FILE)
    assert settings.policy == read_policy(FILE).over(Timing(timedelta(seconds=60)))
    silent = read(DEVELOPMENT, ExpireAfterSeconds="60", ExpiryPolicy="notify = false")
    assert silent.policy == Policy(Timing(timedelta(seconds=60), notify=False))


@pytest.mark.parametrize(
    ("policy", "is_taken"),
    [
        ('notify_within = "24h"\nexpire_after = "1435m"', True),
        ('notify_within = "24h"\nexpire_after = "1436m"', False),
        ('notify_within = "24h"\nexpire_after = "48h"\nnotify = false', True),
        ('notify_within = "334s"', False),
        ('notify_within = "335s"', True),
        ('notify_within = "24h"\n[[override]]\nchannel = "sms"\nexpire_after = "2d"', False),
        ('[[override]]\nconversation_type = "channel"\nnotify_within = "60s"', False),
    ],
)
def test_there_is_time_to_tell(read: Read, policy: str, *, is_taken: bool) -> None:  # noqa: F811
    given = {"ExpireAfterSeconds": "35", "ExpiryPolicy": policy}
    if is_taken:
        assert read(DEVELOPMENT, **given)
        return
    with pytest.raises(SettingsError) as raised:
        read(DEVELOPMENT, **given)
    (mistake,) = str(raised.value).split("; ")
    assert re.match(
        r"ExpiryPolicy: notify_within \(the text, line \d\) must be 300 s more than expire_after"
        r" \((ExpireAfterSeconds|the text, line \d)\), or notify must be false",
        mistake,
    )


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ('warn_before = "82s"', ""),
        ('warn_before = ["5m", "82s"]', ""),
        (
            'warn_before = ["5m", "81s"]',
            r"\(the text, line 1\) is 81 s; it must be 82 s or more",
        ),
        ('warn_before = "580s"', ""),
        ('warn_before = "581s"', r"warn_before \(the text, line 1\) must be 20 s shorter than"),
        ('warn_before = "2h"', r"warn_before \(the text, line 1\) must be 20 s shorter than"),
        ('warn_before = "2h"\nnotify = false', ""),
        ('warn_before = "2h"\n[[override]]\nexpire_after = "3h"', ""),
        ('warn_before = "5m"\n[[override]]\nchannel = "sms"\nexpire_after = "5m"', "20 s shorter"),
    ],
)
def test_a_warning_comes_in_time_and_not_to_who_has_just_written(
    read: Read,  # noqa: F811
    policy: str,
    said: str,
) -> None:
    given = {
        "ExpireAfterSeconds": "600",
        "ExpirySchedule": "0 * * * * *",
        "ExpiryPolicy": policy,
    }
    if not said:
        assert read(DEVELOPMENT, **given)
        return
    with pytest.raises(SettingsError, match=said):
        read(DEVELOPMENT, **given)


def snippets() -> dict[str, str]:
    """What is TOML in the docs about the policy, by its heading."""
    sections = (ROOT / "docs/policy.md").read_text("utf-8").split("\n## ")
    return {
        section.partition("\n")[0]: "".join(re.findall(r"```toml\n(.*?)```", section, re.DOTALL))
        for section in sections
        if "```toml" in section
    }


# What the docs say of each: a channel, a type of conversation, and what holds there.
SAID: dict[str, list[tuple[str, str, dict[str, object]]]] = {
    "The file": [
        ("webchat", "personal", {"expire_after": "30m", "warnings": ["5m"], "notify": True}),
        ("msteams", "personal", {"expire_after": "8h", "warnings": ["1h", "10m"], "notify": True}),
        ("msteams", "channel", {"expire_after": "8h", "warnings": [], "notify": False}),
    ],
    "Warnings": [
        ("webchat", "personal", {"warnings": ["15m", "5m"]}),
        ("sms", "personal", {"warnings": [], "notify": True}),
    ],
    "A channel that takes messages in a window only": [
        ("whatsapp", "personal", {"expire_after": "23h", "notify_within": "1d"}),
        ("webchat", "personal", {"expire_after": "30s", "notify_within": None}),
    ],
    "Resume": [
        ("webchat", "personal", {"expire_after": "30m", "resume_within": "1d"}),
    ],
    "Quiet hours": [
        ("webchat", "personal", {"quiet_hours": "22:00 to 07:00 Europe/Rome"}),
        ("webchat", "groupChat", {"quiet_hours": None}),
    ],
    "A longest time": [("webchat", "personal", {"expire_after": "30m", "max_age": "7d"})],
}


def as_in_the_file(value: object) -> object:
    if isinstance(value, tuple):
        return [in_units(each) for each in value]
    if isinstance(value, QuietHours):
        return hours_in_words(value)
    return in_units(value) if isinstance(value, timedelta) else value


def test_each_snippet_of_the_docs_is_held_to_what_they_say() -> None:
    assert SAID.keys() == snippets().keys()


@pytest.mark.parametrize("heading", SAID)
def test_a_snippet_of_the_docs_does_what_they_say(read: Read, heading: str) -> None:  # noqa: F811
    policy = snippets()[heading]
    settings = read(DEVELOPMENT, ExpirySchedule="0 * * * * *", ExpiryPolicy=policy)
    for channel, type_, values in SAID[heading]:
        timing = settings.policy.of_type(channel, ConversationType(type_))
        assert {name: as_in_the_file(getattr(timing, name)) for name in values} == values


@pytest.mark.parametrize("store", ["tables", "cosmos"])
def test_on_ones_own_machine_a_newcomer_is_warned_and_told_within_a_minute_and_may_resume(
    read: Read,  # noqa: F811
    store: str,
) -> None:
    example = local_settings.read_json(ROOT / "local.settings.example.json")["Values"]
    policy = read(DEVELOPMENT, **example | {"StateStore": store}).policy
    assert policy.first_step_after == timedelta(seconds=30)
    assert policy.longest == timedelta(seconds=60)
    assert policy.longest_resume == timedelta(minutes=10)


def test_quiet_hours_can_be_set_and_taken_back() -> None:
    text = f"""
        max_age = "7d"
        {_hours("22:00", "07:00", "Europe/Rome")}
        [[override]]
        channel = "slack"
        quiet_hours = false
    """
    night = datetime(2026, 11, 25, 23, tzinfo=UTC)
    found = {
        channel: policy_in(text).of_type(channel, ConversationType.PERSONAL)
        for channel in ("msteams", "slack")
    }
    assert all(each.max_age == timedelta(days=7) for each in found.values())
    ends = {
        channel: each.quiet_hours and each.quiet_hours.end_at(night, None)
        for channel, each in found.items()
    }
    assert ends == {"msteams": datetime(2026, 11, 26, 6, tzinfo=UTC), "slack": None}


def test_where_the_timer_is_off_nobody_is_warned(read: Read) -> None:  # noqa: F811
    off = {"AzureWebJobs.expiry_timer.Disabled": "true"}
    with pytest.raises(SettingsError, match="warn_before must be left out where the timer is"):
        read(DEVELOPMENT, ExpireAfterSeconds="600", ExpiryPolicy='warn_before = "5m"', **off)


def test_stages_come_in_their_order_and_once() -> None:
    timing = policy_in('warn_before = ["60s", "5m", "1m"]').default
    assert timing.warn_before == (timedelta(minutes=5), timedelta(minutes=1))


def test_state_in_cosmos_outlives_the_longest_timeout(read: Read) -> None:  # noqa: F811
    with pytest.raises(SettingsError, match=r"must be 28860 or more, .* idle for 28800 s"):
        read(COSMOS, ExpiryPolicy=FILE, CosmosDbTimeToLive="28859")
    assert read(COSMOS, ExpiryPolicy=FILE, CosmosDbTimeToLive="28860")


def test_state_in_cosmos_also_outlives_the_time_in_which_it_can_be_resumed(read: Read) -> None:  # noqa: F811
    file = 'expire_after = "8h"\nresume_within = "1d"\n[[override]]\nchannel = "slack"\n'
    file += 'expire_after = "2d"\nresume_within = false'  # longer, but nothing is kept of it
    with pytest.raises(SettingsError) as raised:
        read(COSMOS, ExpiryPolicy=file, CosmosDbTimeToLive="172859")
    assert str(raised.value) == (
        "CosmosDbTimeToLive is 172859; it must be 172860 or more, as a conversation may be idle or"
        " kept to be resumed for 172800 s: else state might be gone before its conversation expires"
    )
    file = file.replace("2d", "9h").replace("false", '"1d"')
    with pytest.raises(SettingsError, match=r"must be 118860 or more, .* resumed for 118800 s"):
        read(COSMOS, ExpiryPolicy=file, CosmosDbTimeToLive="118859")
    assert read(COSMOS, ExpiryPolicy=file, CosmosDbTimeToLive="118860")


def test_the_time_to_live_alone_takes_no_policy(read: Read) -> None:  # noqa: F811
    with pytest.raises(SettingsError, match=r"ExpiryPolicy names rules; .* must be left out"):
        read(COSMOS, ExpiryPolicy=FILE, **{"AzureWebJobs.expiry_timer.Disabled": "true"})


Lines = tuple[list[str], Callable[[str], None]]


@pytest.fixture
def lines() -> Lines:
    said: list[str] = []
    return said, said.append


VALUES = (
    "expire_after",
    "warn_before",
    "notify",
    "notify_within",
    "max_age",
    "resume_within",
    "quiet_hours",
)
NIGHT = "22:00 to 07:00 UTC"
TOLD = ("yes", "at any time", "none", "2d", NIGHT)


async def test_the_command_says_what_holds_for_each_channel_and_type(
    tmp_path: Path, lines: Lines
) -> None:
    file = tmp_path / "mine.toml"
    text = FILE.replace('expire_after = "1h"', 'warn_before = ["60s", "30s"]')
    night = _hours("22:00", "07:00", "UTC")
    slack = 'max_age = "2h"\nquiet_hours = false\nresume_within = false\n'
    file.write_text(f'{night}\nresume_within = "2d"\n{text}{slack}', "utf-8")
    said, say = lines
    await policies.check(str(file), say)
    assert [re.split(" {2,}", line) for line in said] == [
        ["channel", "type", *VALUES],
        ["msteams", "personal", "8h", "1m, 30s", *TOLD],
        ["msteams", "groupChat", "8h", "never", "no", "at any time", "none", "2d", NIGHT],
        ["msteams", "channel", "90s", "never", "no", "at any time", "none", "2d", NIGHT],
        ["slack", "personal", "ExpireAfterSeconds", "1m, 30s", "yes", "1d", "2h", "no", "none"],
        ["slack", "groupChat", "ExpireAfterSeconds", "never", "no", "1d", "2h", "no", "none"],
        ["slack", "channel", "90s", "never", "no", "1d", "2h", "no", "none"],
        ["any other", "personal", "ExpireAfterSeconds", "1m, 30s", *TOLD],
        ["any other", "groupChat", "ExpireAfterSeconds", "1m, 30s", *TOLD],
        ["any other", "channel", "90s", "1m, 30s", *TOLD],
    ]


async def test_the_command_says_what_is_wrong_and_fails(tmp_path: Path, lines: Lines) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("notify = 0", "utf-8")
    said, say = lines
    with pytest.raises(SystemExit, match="1"):
        await policies.check(str(file), say)
    assert said == ["mine.toml, line 1: notify is 0; it must be true or false"]


async def test_the_schema_takes_what_the_app_takes(lines: Lines) -> None:
    said, say = lines
    await policies.print_schema(say)
    schema = Draft202012Validator(json.loads("\n".join(said)))
    good = {"expire_after": "8h", "override": [{"channel": ["a"], "conversation_type": "channel"}]}
    assert schema.is_valid(good)
    bad: list[dict[str, object]] = [
        {"expire_after": "8"},
        {"notify": 1},
        {"foo": 1},
        {"override": [{"channel": []}]},
        {"override": [{"conversation_type": "group"}]},
    ]
    assert not any(schema.is_valid(each) for each in bad)
