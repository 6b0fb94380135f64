"""The file with the policy: when conversations expire, and whose users are told. docs/policy.md.

It is TOML: defaults, and a list of overrides by channel and type of conversation. What it leaves
out is as without the file. Only apps with a policy load this module.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, time, timedelta
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    WithJsonSchema,
)

from shared.domain.policy import Override, Rules
from shared.domain.reference import ConversationType
from shared.domain.timing import QuietHours, zone_of
from shared.settings.group import MAX_SECONDS, MistakesError

_MOST_OVERRIDES = 100
_LONGEST_VALUE = 60  # characters of a wrong value that a message repeats
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_DURATION_SCHEMA = {"type": "string", "pattern": f"^{_DURATION.pattern}$"}

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_TIME_SCHEMA = {"type": "string", "pattern": f"^{_TIME_OF_DAY.pattern}$"}
_QUIET_SCHEMA = {
    "anyOf": [
        {"const": False},
        {
            "type": "object",
            "properties": {
                "from": _TIME_SCHEMA,
                "to": _TIME_SCHEMA,
                "time_zone": {"type": "string"},
            },
            "required": ["from", "to", "time_zone"],
            "additionalProperties": False,
        },
    ]
}

# What each value must be.
_MUST_BE = {
    "channel": "the id of a channel, like 'msteams', or a list of such ids",
    "conversation_type": "'personal', 'groupChat' or 'channel', or a list of these",
    "expire_after": "a whole number of s, m, h or d, like '30m'; from '1s' to ten years",
    "warn_before": "a time like '5m', or a list of such times, 10 at most",
    "notify": "true or false",
    "notify_within": "a whole number of s, m, h or d, like '24h'; from '1s' to ten years",
    "max_age": "a whole number of s, m, h or d, like '7d'; from '1s' to ten years",
    "quiet_hours": "{ from = '22:00', to = '07:00', time_zone = 'Europe/Rome' }, or false",
    "resume_within": "a whole number of s, m, h or d, like '24h', or false",
    "override": f"a list of tables, each under [[override]], and {_MOST_OVERRIDES} at most",
}


def duration(value: object) -> timedelta:
    """A duration as the file has it: a whole number of s, m, h or d.

    Raises:
        ValueError: it is none, or not from one second to ten years.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= MAX_SECONDS:
        raise ValueError("no duration")
    return timedelta(seconds=seconds)


def in_units(duration: timedelta) -> str:
    """A duration of whole seconds as the file has it."""
    seconds = int(duration.total_seconds())
    unit, size = next(each for each in reversed(_UNITS.items()) if seconds % each[1] == 0)
    return f"{seconds // size}{unit}"


def hours_in_words(hours: QuietHours | None) -> str:
    """Quiet hours for people: "22:00 to 07:00 Europe/Rome", or "none"."""
    if hours is None or hours.begins == hours.ends:
        return "none"
    return f"{hours.begins:%H:%M} to {hours.ends:%H:%M} {hours.zone}"


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    WithJsonSchema(_DURATION_SCHEMA),
]


def _quiet_hours(value: object) -> QuietHours:
    if value is False:
        return QuietHours(time(0), time(0), UTC)
    if not isinstance(value, dict) or value.keys() != {"from", "to", "time_zone"}:
        raise ValueError("no quiet hours")
    begins, ends = (
        time.fromisoformat(each) if _TIME_OF_DAY.fullmatch(each) else None
        for each in (str(value["from"]), str(value["to"]))
    )
    zone = zone_of(str(value["time_zone"]))
    if begins is None or ends is None or begins == ends or zone is None:
        raise ValueError("no quiet hours")
    return QuietHours(begins, ends, zone)


_Quiet = Annotated[
    InstanceOf[QuietHours], BeforeValidator(_quiet_hours), WithJsonSchema(_QUIET_SCHEMA)
]


def _duration_or_none(value: object) -> timedelta:
    return timedelta(0) if value is False else duration(value)


_DurationOrNone = Annotated[
    timedelta,
    BeforeValidator(_duration_or_none),
    WithJsonSchema({"anyOf": [{"const": False}, _DURATION_SCHEMA]}),
]


def _one_or_several(item: Mapping[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


class _Values(BaseModel):
    """What defaults and overrides may say. None: nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expire_after: _Duration | None = Field(
        default=None, description="How long a conversation may be idle; else ExpireAfterSeconds."
    )
    warn_before: (
        Annotated[
            list[_Duration],
            Field(max_length=10),
            BeforeValidator(_as_list),
            _one_or_several(_DURATION_SCHEMA),
        ]
        | None
    ) = Field(
        default=None, description="How long before the deadline users are warned; else never."
    )
    notify: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="Whether users are told that a conversation expired; else true."
    )
    notify_within: _Duration | None = Field(
        default=None,
        description="They are told only so long after its last use; else at any time.",
    )
    max_age: _Duration | None = Field(
        default=None,
        description="How long a session may last, however much it is used; else for ever.",
    )
    quiet_hours: _Quiet | None = Field(
        default=None,
        description="When nobody is told anything, in the user's own time zone where the channel"
        " says it; else never.",
    )
    resume_within: _DurationOrNone | None = Field(
        default=None,
        description="How long after its expiry a user may resume a conversation; else not at all.",
    )

    def as_override(self, sources: Mapping[str, str], **whose: Any) -> Override:
        """The same as a value of the domain."""
        return Override(
            expire_after=self.expire_after,
            warn_before=None
            if self.warn_before is None
            else tuple(sorted(set(self.warn_before), reverse=True)),
            notify=self.notify,
            notify_within=self.notify_within,
            max_age=self.max_age,
            quiet_hours=self.quiet_hours,
            resume_within=self.resume_within,
            sources=sources,
            **whose,
        )


class _Override(_Values):
    """Other values for the conversations of these channels and types."""

    channel: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100)]],
        Field(min_length=1),
        BeforeValidator(_as_list),
        _one_or_several({"type": "string"}),
    ] = Field(default=[], description="The ids of channels, as in activities; else all channels.")
    conversation_type: Annotated[
        list[ConversationType],
        Field(min_length=1),
        BeforeValidator(_as_list),
        _one_or_several({"enum": [*ConversationType]}),
    ] = Field(default=[], description="The types of conversations; else all types.")


class PolicyFile(_Values):
    """When conversations expire, and whose users are told. Later overrides win."""

    override: list[_Override] = Field(
        default=[], max_length=_MOST_OVERRIDES, description="Other values for some conversations."
    )


def parsed(name: str, text: str) -> Rules:
    """Read the policy in a text. Messages call the text by this name.

    Raises:
        MistakesError: one line for each mistake, with its line, what it was and what it must be.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MistakesError([f"{name} must be TOML: {error}"]) from error
    try:
        file = PolicyFile.model_validate(values)
    except ValidationError as error:
        raise MistakesError(
            [each for _, each in sorted(set(_mistakes(name, text, error)))]
        ) from None
    lines = lines_of(text)

    def sources(values: _Values, override: int | None) -> Mapping[str, str]:
        return {
            key: _place(name, override, lines.get((override, key), 0))
            for key in _Values.model_fields
            if getattr(values, key) is not None
        }

    return Rules(
        file.as_override(sources(file, None)),
        tuple(
            each.as_override(
                sources(each, number),
                channels=frozenset(each.channel),
                types=frozenset(each.conversation_type),
            )
            for number, each in enumerate(file.override)
        ),
    )


def _mistakes(name: str, text: str, error: ValidationError) -> Iterator[tuple[int, str]]:
    """Each mistake, with its line; 0: no line is known."""
    lines = lines_of(text)
    for each in error.errors():
        override, key = None, str(each["loc"][0])
        if len(each["loc"]) > 2:  # noqa: PLR2004 - "override", its number, the key
            override, key = int(each["loc"][1]), str(each["loc"][2])
        line = lines.get((override, key), 0)
        place = _place(name, override, line)
        if each["type"] == "extra_forbidden":
            known = (PolicyFile if override is None else _Override).model_fields
            close = get_close_matches(key, known, n=1)
            advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            yield line, f"{place}: {key[:_LONGEST_VALUE]} is no value of a policy; {advice}"
        else:
            was = repr(each["input"])[:_LONGEST_VALUE]
            yield line, f"{place}: {key} is {was}; it must be {_MUST_BE[key]}"


def _place(name: str, override: int | None, line: int) -> str:
    return f"{name}, line {line}" if line else f"{name}, override {(override or 0) + 1}"


def lines_of(text: str) -> Mapping[tuple[int | None, str], int]:
    """The line of each key, by the number of its override (None: of the defaults) and its name."""
    found: dict[tuple[int | None, str], int] = {}
    override: int | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"\s*\[\[\s*override\s*\]\]", line):
            override = 0 if override is None else override + 1
        elif re.match(r"\s*\[\s*override\s*\]", line):
            found.setdefault((None, "override"), number)
        elif key := re.match(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""", line):
            found.setdefault((override, key[1]), number)
    return found
