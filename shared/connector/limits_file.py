"""The settings file: how many requests each channel takes. Each limit is [requests, seconds].

A table names a channel. Its limits are of one lane (`tenant` or `service_url`: the requests that
share a limit) and of one conversation (`thread`).
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from shared.settings import SettingsError
from shared.settings.sending import SendingSettings

_APP = Path(__file__).parents[2]
_SHIPPED = _APP / "sending_limits.toml"

_OTHER = "other"
_MOST_REQUESTS = 1_000_000  # a conversation's requests are remembered up to this number

# Strict: true is no number here, and neither is "10".
_Requests = Annotated[int, Field(ge=1, le=_MOST_REQUESTS, strict=True)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Limit = tuple[_Requests, _Seconds]

_A_LIMIT = f"[requests, seconds]: a whole number from 1 to {_MOST_REQUESTS:,}, and one above 0"
_MUST_BE = {
    "tenant": _A_LIMIT,
    "service_url": _A_LIMIT,
    "thread": f"a list, empty or of {_A_LIMIT}",
}


class _Table(BaseModel):
    """The limits that a file names for one channel. None: not named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: Limit | None = None
    service_url: Limit | None = None
    thread: tuple[Limit, ...] | None = None

    @model_validator(mode="after")
    def _one_lane(self) -> Self:
        if self.tenant and self.service_url:
            raise PydanticCustomError("two_lanes", "a channel has one lane: tenant or service_url")
        return self

    def over(self, defaults: Self) -> Self:
        """These limits, and those of the defaults where these name none."""
        lane = self if self.tenant or self.service_url else defaults
        thread = defaults.thread if self.thread is None else self.thread
        return self.model_copy(
            update={"tenant": lane.tenant, "service_url": lane.service_url, "thread": thread}
        )


_Tables = RootModel[dict[str, _Table]]


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """The limits of one channel.

    Args:
        table: the table that names the lane's limit: the channel's own, or `other`.
        shared_by: the property that all requests of one lane share.
        lane: the number of requests, and in how many seconds.
        thread: the same for one conversation; all of these limits hold.
    """

    table: str
    shared_by: Literal["tenant", "service_url"]
    lane: Limit
    thread: tuple[Limit, ...]


class Limits:
    """The limits of every channel.

    Args:
        tables: by channel, as in the file. A channel without a table has the limits of `other`,
            as has a channel whose table leaves a limit out.

    Raises:
        ValueError: they are wrong; pydantic's ValidationError if a table is.
    """

    def __init__(self, tables: Mapping[str, object]) -> None:
        named = _Tables.model_validate(dict(tables)).root
        self._other = _complete(_OTHER, named.get(_OTHER, _Table()), _Table())
        self._channels = {
            channel: _complete(channel, table, named[_OTHER]) for channel, table in named.items()
        }

    def of(self, channel: str) -> ChannelLimits:
        """The limits of the channel with this id."""
        return self._channels.get(channel, self._other)


def _complete(channel: str, table: _Table, other: _Table) -> ChannelLimits:
    whole = table.over(other)
    owner = channel if table.tenant or table.service_url else _OTHER
    thread = whole.thread or ()
    if whole.tenant:
        return ChannelLimits(owner, "tenant", whole.tenant, thread)
    if whole.service_url:
        return ChannelLimits(owner, "service_url", whole.service_url, thread)
    raise ValueError(f"{_OTHER}.service_url is missing; it must be {_A_LIMIT}")


def read_limits(settings: SendingSettings) -> Limits:
    """Read the app's `sending_limits.toml`, and over it the file that the setting names.

    The path in the setting starts at the app's folder. A limit that the setting's file does not
    name is as in `sending_limits.toml`.

    Raises:
        SettingsError: a file cannot be read, or a limit in it is wrong; one line, which names
            each mistake.
    """
    path = _APP / settings.limits
    tables = _read(_SHIPPED)
    for channel, table in _read(path).items():
        tables[channel] = table.over(tables.get(channel, _Table()))
    try:
        return Limits(tables)
    except ValueError as error:
        raise _wrong(f"SendingLimits: in {str(path)!r}, {error}") from None


def _read(path: Path) -> dict[str, _Table]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _wrong(f"SendingLimits is {str(path)!r}; it must be a TOML file: {error}") from error
    try:
        return _Tables.model_validate(tables).root
    except ValidationError as error:
        wrong = "; ".join(dict.fromkeys(_mistakes(tables, error)))
        raise _wrong(f"SendingLimits: in {str(path)!r}, {wrong}") from None


def _wrong(message: str) -> SettingsError:
    return SettingsError(
        message,
        without_values="SendingLimits is wrong; it must be a TOML file of limits, and the log says"
        " what is wrong with it",
    )


def _mistakes(tables: dict[str, Any], error: ValidationError) -> Iterator[str]:
    """The mistakes: the channel, the key, its value and the rule."""
    for each in error.errors():
        channel, *keys = map(str, each["loc"])
        table = tables[channel]
        if each["type"] == "two_lanes":
            yield f"{channel} names tenant and service_url; it must name one of them"
        elif not keys:
            yield f"{channel} is {table!r}; it must be a table of limits: [{channel}]"
        elif keys[0] in _MUST_BE:
            yield f"{channel}.{keys[0]} is {table[keys[0]]!r}; it must be {_MUST_BE[keys[0]]}"
        else:
            yield f"{channel} names {keys[0]!r}; it must name {', '.join(_MUST_BE)} only"
