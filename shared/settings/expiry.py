"""When conversations expire, and how sweeps run."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, InstanceOf
from pydantic_settings import NoDecode
from typing_extensions import override

from shared.domain.policy import Policy, Rules
from shared.domain.times import CLOCK_SKEW
from shared.domain.timing import TIME_TO_ANSWER, Timing
from shared.ncrontab import Ncrontab, NcrontabError
from shared.settings.group import (
    MAX_SECONDS,
    ExplainedError,
    MistakesError,
    SettingsGroup,
    WholeSeconds,
    setting,
)

_APP = Path(__file__).parents[2]

# A conversation expires at a sweep, and its notice may have to be tried again.
TELLING_TAKES = timedelta(minutes=5)

_NOBODY_WARNS = (
    "ExpiryPolicy: warn_before must be left out where the timer is disabled: nobody would be warned"
)

# The policy, if the setting names nothing else and the file is there.
POLICY_FILE = "expiry_policy.toml"
_LARGEST_POLICY_BYTES = 100_000


def _ncrontab(value: str) -> str:
    """Accept an expression that the Functions host accepts and that runs within ten years.

    Source: learn.microsoft.com, "Timer trigger for Azure Functions", NCRONTAB expressions.
    """
    now = datetime.now(UTC)
    try:
        first = Ncrontab.read(value).after(now)
    except NcrontabError as error:
        raise ExplainedError(str(error)) from error
    if first is None or first - now > timedelta(seconds=MAX_SECONDS):
        raise ExplainedError("it does not come within ten years")
    return value


def read_policy(value: str) -> Rules:
    """Read the policy of the setting `ExpiryPolicy`.

    Args:
        value: a path, from the app's folder on; or the TOML itself, which a `=` or a line break
            tells from a path; or empty: the file `POLICY_FILE`, if it is there.

    Raises:
        MistakesError: one line for each mistake.
    """
    if "=" in value or "\n" in value:
        name, text = "the text", value
    else:
        path = _APP / (value or POLICY_FILE)
        if not value and not path.exists():
            return Rules()
        name = path.name
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST_POLICY_BYTES + 1).decode()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MistakesError([f"{str(path)!r} must be a TOML file: {reason}"]) from error
    if len(text) > _LARGEST_POLICY_BYTES:
        raise MistakesError([f"{name} is too long; it may have {_LARGEST_POLICY_BYTES:,} bytes"])
    from shared.settings.policy_file import parsed  # noqa: PLC0415 - apps without one start faster

    return parsed(name, text)


def _without_time_to_tell(timing: Timing) -> str:
    within = timing.notify_within
    if not timing.notify or within is None or within - timing.expire_after >= TELLING_TAKES:
        return ""
    return (
        f"ExpiryPolicy: notify_within ({timing.sources.get('notify_within')}) must be"
        f" {TELLING_TAKES.total_seconds():.0f} s more than expire_after"
        f" ({timing.sources.get('expire_after')}), or notify must be false: else nobody is told in"
        " time"
    )


def _least_warning(interval: timedelta) -> timedelta:
    return TIME_TO_ANSWER + interval + CLOCK_SKEW


def _without_time_to_answer(timing: Timing, interval: timedelta) -> str:
    least = _least_warning(interval)
    shortest = min(timing.warn_before, default=least)
    if shortest >= least or not timing.notify:
        return ""
    to_answer, between, off = (
        f"{each.total_seconds():.0f} s" for each in (TIME_TO_ANSWER, interval, CLOCK_SKEW)
    )
    return (
        f"ExpiryPolicy: warn_before ({timing.sources.get('warn_before')}) is"
        f" {shortest.total_seconds():.0f} s; it must be {least.total_seconds():.0f} s or more: a"
        f" person has {to_answer} to answer (WCAG 2.2.1), the timer comes every {between}, and"
        f" clocks differ by {off}"
    )


def _warned_too_early(timing: Timing) -> str:
    if not timing.notify or all(map(timing.has_room_for, timing.warn_before)):
        return ""
    return (
        f"ExpiryPolicy: warn_before ({timing.sources.get('warn_before')}) must be"
        f" {TIME_TO_ANSWER.total_seconds():.0f} s shorter than expire_after"
        f" ({timing.sources.get('expire_after')}) or more: else a user is warned who has just"
        " written"
    )


# A sweep that has spent its budget ends what it has begun: within this time, or it is cancelled.
SWEEP_ENDS_WITHIN_SECONDS = 60
# After that, its record and its spans are written, and unfinished shards are handed over.
WRITES_WITHIN_SECONDS = 10
# So a run is over this long after its budget at the latest: see `SweepRunner`.
AFTER_BUDGET_SECONDS = SWEEP_ENDS_WITHIN_SECONDS + 3 * WRITES_WITHIN_SECONDS

# A queue's name may have 63 characters; 7 are left for "-poison".
QueueName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", min_length=3, max_length=56)]


class ExpirySettings(SettingsGroup):
    """The timeout, the timer, the notice, and the fan-out of sweeps."""

    after_seconds: WholeSeconds = setting(
        "ExpireAfterSeconds",
        f"whole seconds, 1 or more and at most {MAX_SECONDS} (1800 is half an hour)",
        parameter="expireAfterSeconds",
    )
    rules: Annotated[InstanceOf[Rules], BeforeValidator(read_policy), NoDecode] = setting(
        "ExpiryPolicy",
        "a TOML file, from the app's folder on, or the TOML itself",
        default="",
        validate_default=True,
        parameter="expiryPolicy",
    )
    schedule: Annotated[str, BeforeValidator(_ncrontab)] = setting(
        "ExpirySchedule",
        "an NCRONTAB expression, six fields with seconds first ('0 * * * * *' is every minute)"
        " or five without seconds",
        parameter="expirySchedule",
    )
    timer_disabled: bool = setting(
        "AzureWebJobs.expiry_timer.Disabled",
        "true or false",
        default=False,
        parameter="expiryTimer",
    )
    notice: Literal["on", "off"] = setting(
        "ExpiryNotice",
        "on or off",
        default="on",
        parameter="expiryNotice",
    )
    max_notice_age_seconds: WholeSeconds | None = setting(
        "MaxNoticeAgeSeconds",
        "whole seconds, 1 or more, or left out",
        default=None,
        parameter="maxNoticeAgeSeconds",
    )
    sweep_budget_seconds: WholeSeconds = setting(
        "SweepBudgetSeconds",
        f"whole seconds, at least {AFTER_BUDGET_SECONDS} less than functionTimeout in host.json",
        default=45,
        parameter="sweepBudgetSeconds",
    )
    fan_out: Literal["off", "on"] = setting(
        "ExpiryFanOut",
        "off or on",
        default="off",
        parameter="expiryFanOut",
    )
    queue: QueueName = setting(
        "ExpiryQueue",
        "a queue name: 3 to 56 lower-case letters, digits and single hyphens between them",
        default="expiry-shards",
        no_parameter="the account is new, so the default name is free",
    )

    @override
    def misfits(self) -> Iterable[str]:
        if self.rules == Rules():
            return ()
        interval = self._interval
        mistakes = (
            mistake
            for timing in self.policy.timings
            for mistake in (
                _without_time_to_tell(timing),
                _without_time_to_answer(timing, interval),
                _warned_too_early(timing),
                self._warns_nobody(timing),
            )
        )
        return dict.fromkeys(filter(None, mistakes))

    def _warns_nobody(self, timing: Timing) -> str:
        is_to_warn = timing.warn_before and timing.notify
        return _NOBODY_WARNS if is_to_warn and self.timer_disabled else ""

    @property
    def _interval(self) -> timedelta:
        """The longest time between two sweeps."""
        gaps = Ncrontab.read(self.schedule).gaps(datetime.now(UTC))
        return timedelta(seconds=gaps.longest if gaps else 0)

    @property
    def least_warning(self) -> timedelta:
        """How long before the deadline a warning comes at the latest, to be answered in time."""
        return _least_warning(self._interval)

    @property
    def policy(self) -> Policy:
        """Which timing holds for which conversation, where sweeps end what is idle."""
        sources = {"expire_after": "ExpireAfterSeconds", "notify": "the default"}
        timeout = timedelta(seconds=self.after_seconds)
        return self.rules.over(Timing(timeout, sources=sources))
