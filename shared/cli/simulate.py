"""What other timeouts would have done to the pauses of real users. Nothing is changed."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from shared.cli.pauses_file import Pauses, PausesError, pauses_in
from shared.cli.policies import ANY_OTHER, rules_or_end
from shared.domain.policy import Policy
from shared.domain.reference import ConversationType
from shared.domain.timing import Timing
from shared.log_lines import printable
from shared.settings.policy_file import in_units

Say = Callable[[str], None]

# Where buckets of the metric end: there no pause is counted on the wrong side.
TIMEOUTS = (
    *(timedelta(minutes=number) for number in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=number) for number in (1, 2, 4, 8, 12)),
    *(timedelta(days=number) for number in (1, 2, 3, 7, 14, 30)),
)


@dataclass(slots=True)
class _Row:
    """What one timeout would have done.

    Attributes:
        expire_after: the timeout.
        is_own: whether it is the policy's.
        warned_after: so many seconds after the last use there is the first warning; None: never.
        expiries: pauses that are as long, or that nobody ended.
        warned: pauses in which users are warned.
        regrets: pauses that a user ended after the expiry, but within the time of regret.
        not_known: pauses that the expiry ended sooner: nobody waited to see who comes back.
    """

    expire_after: timedelta
    is_own: bool
    warned_after: float | None
    expiries: int = 0
    warned: int = 0
    regrets: int = 0
    not_known: int = 0

    def add(self, pauses: Pauses, regret_seconds: float) -> None:
        """Count some pauses."""
        begins = self.expire_after.total_seconds()
        ends = begins + regret_seconds
        is_expiry = not pauses.by_user or pauses.seconds >= begins
        if is_expiry:
            self.expiries += pauses.number
        if self.warned_after is not None and (is_expiry or pauses.seconds >= self.warned_after):
            self.warned += pauses.number
        if pauses.by_user and begins <= pauses.seconds <= ends:
            self.regrets += pauses.number
        if not pauses.by_user and pauses.seconds < ends:
            self.not_known += pauses.number


class _Table:
    """The conversations whose timing comes from the same lines of the policy."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._types: dict[str, list[ConversationType]] = {}
        self._longest_seconds = -1.0
        own = timing.expire_after
        self._rows = [
            _Row(each, each == own, _warned_after(timing, each))
            for each in sorted({*TIMEOUTS, own} - {timedelta(0)})
        ]

    def includes(self, channel: str, type_: ConversationType) -> None:
        """Name conversations that belong to it."""
        self._types.setdefault(channel, []).append(type_)

    def add(self, pauses: Pauses, regret_seconds: float) -> None:
        """Count some pauses."""
        self._longest_seconds = max(self._longest_seconds, pauses.seconds)
        for row in self._rows:
            row.add(pauses, regret_seconds)

    @property
    def is_empty(self) -> bool:
        """Whether there was no pause."""
        return self._longest_seconds < 0

    def say(self, regret: str, say: Say) -> None:
        """Print it."""
        say("")
        say(self._title)
        within = f"back within {regret}"
        names = f"{'expire_after':>12} {'expiries':>13} {'warned':>13} {within:>22}"
        say(f"   {names} {'not known':>13}")
        for row in self._shown:
            share = f"{row.regrets / row.expiries:.1%}" if row.expiries else "-"
            mark, note = ("->", "  as in the file") if row.is_own else ("", "")
            say(
                f"{mark:2} {in_units(row.expire_after):>12} {row.expiries:13,} {row.warned:13,}"
                f" {row.regrets:14,} {share:>7} {row.not_known:13,}{note}"
            )

    @property
    def _title(self) -> str:
        timing = self._timing
        who = ", ".join(
            channel if len(types) == len(ConversationType) else f"{channel} ({', '.join(types)})"
            for channel, types in self._types.items()
        )
        after = "ExpireAfterSeconds"
        if timing.expire_after:
            after = f"{in_units(timing.expire_after)} ({timing.sources['expire_after']})"
        warned = ", ".join(map(in_units, timing.warnings)) or "never"
        return f"{who}: expire_after {after}, warn_before {warned}"

    @property
    def _shown(self) -> Iterator[_Row]:
        """The rows up to the longest pause, after which nothing changes any more."""
        is_reached = True
        for row in self._rows:
            if is_reached or row.is_own:
                yield row
            is_reached = row.expire_after.total_seconds() <= self._longest_seconds


async def simulate(policy_file: str, pauses: Path, regret: timedelta, say: Say) -> None:
    """Say what each of some timeouts would have done, a table for each rule of the policy.

    It holds as many numbers as the policy has rules, however long the file is.

    Args:
        policy_file: the policy.
        pauses: see `pauses_in`.
        regret: who is back so long after an expiry would have wanted a longer timeout.
        say: writes one line.

    Raises:
        SystemExit: one of the files is wrong, or cannot be read.
    """
    policy = rules_or_end(policy_file, say).over(Timing(timedelta(0)))
    tables = _tables(policy)
    by_user = by_expiry = 0
    try:
        for each in pauses_in(pauses):
            by_user += each.number if each.by_user else 0
            by_expiry += 0 if each.by_user else each.number
            channel = each.channel if each.channel in policy.channels else ANY_OTHER
            tables[channel, each.type].add(each, regret.total_seconds())
    except PausesError as error:
        sys.exit(printable(str(error)))
    say(f"{pauses.name}: {by_user:,} pauses that users ended, {by_expiry:,} that the expiry ended")
    for table in dict.fromkeys(tables.values()):
        if not table.is_empty:
            table.say(in_units(regret), say)


def _tables(policy: Policy) -> Mapping[tuple[str, ConversationType], _Table]:
    """The table of each channel and type; those with the same timing share one."""
    by_timing: dict[tuple[object, ...], _Table] = {}
    found = {}
    for channel in *policy.channels, ANY_OTHER:
        for type_ in ConversationType:
            timing = policy.of_type(channel, type_)
            same = timing.expire_after, timing.warnings, timing.sources.get("expire_after")
            table = by_timing.setdefault(same, _Table(timing))
            table.includes(channel, type_)
            found[channel, type_] = table
    return found


def _warned_after(timing: Timing, expire_after: timedelta) -> float | None:
    warnings = replace(timing, expire_after=expire_after).warnings
    first = max((each for each in warnings if each < expire_after), default=None)
    return None if first is None else (expire_after - first).total_seconds()
