"""Every schedule of a few members of one budget: those that may send never hold too many cards.

`python -m tests.simulation.budget_model 3` explores three members. It calls the product's own
`seen` and `View.share`; what is modelled is all around them: requests that arrive late or never,
answers that get lost, clocks that differ by `CLOCK_SKEW`, processes that stand still, die, leave
and come back under another name. Time is relative, so a schedule may be of any length.

Bounds: times are multiples of `CLOCK_SKEW`, a row is good for two of them, a process has rows of
two names at most, and so many requests under way as is said. Rows are read when they are asked
for: if they are read later, at most more members count.
"""

import argparse
import itertools
import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from shared.domain.budget import Member, Moment, Rows, View, pool_of, seen
from shared.domain.times import CLOCK_SKEW

# Times count `CLOCK_SKEW`s, and it is always _NOW: what is later comes nearer. None is negative,
# because -1 and -2 have the same hash.
_NOW = 10
_GOOD_FOR = 2
_TICK_SECONDS = CLOCK_SKEW.total_seconds()
_MIDNIGHT = datetime(2026, 11, 30, tzinfo=UTC)
_LANE, _LIMIT = "lane", (4, 1.0)

MUTANTS = ("no wait", "own belief", "no rejoin")


class _Known(NamedTuple):
    """A view."""

    name: int
    starts_at: int
    ends_at: int
    names: tuple[int, ...]


class _Request(NamedTuple):
    """A write on its way; one that would change nothing, because its version is old, is no more."""

    name: int
    until: int  # 0: delete
    inserts: bool
    is_late: bool = False


class _Process(NamedTuple):
    """A member. Names are numbers: the first process has 0 and 1, the second 2 and 3."""

    name: int
    step: int = 0  # 0: between looks, 1: has written, 2: the rows were read for it
    version: int = 0  # 0: none, 1: that of its row, 2: an old one
    view: _Known | None = None
    asked: int = 0
    rows: tuple[int | None, ...] = ()
    is_newest: bool = False  # whether its row still has the version that was read
    under_way: tuple[_Request, ...] = ()


_Rows = tuple[int | None, ...]  # by name: until when
_State = tuple[_Rows, tuple[_Process, ...]]


class Model:
    """Some members.

    Args:
        offsets: of their clocks, in `CLOCK_SKEW`s.
        under_way: how many writes of each may be under way.
        mutant: of `MUTANTS`; empty: the product.
    """

    def __init__(self, offsets: Sequence[int], under_way: int, mutant: str = "") -> None:
        self._offsets = offsets
        self._most_under_way = under_way
        self._mutant = mutant
        self._pool = pool_of(_LIMIT, 0.0)
        self._view = cache(self._look)
        self._cards = cache(_cards)
        self._long_ago = _NOW + min(offsets) - 2  # nobody counts such a row any more

    def begin(self) -> _State:
        """Nobody has done anything."""
        count = len(self._offsets)
        return (None,) * (2 * count), tuple(_Process(2 * each) for each in range(count))

    def is_safe(self, state: _State) -> bool:
        """Whether those that may send hold no more cards than there are."""
        held = 0
        for each in state[1]:
            if each.view and each.view.starts_at <= _NOW < each.view.ends_at:
                held += self._cards(each.view.name, each.view.names)
        return held <= self._pool

    def after(self, state: _State) -> Iterator[_State]:
        """All that can come next."""
        rows, processes = state
        yield self._plain(
            tuple(until and until - 1 for until in rows), [_later(each) for each in processes]
        )
        for number, process in enumerate(processes):
            for new_rows, after in self._steps(number, process, rows):
                yield self._plain(new_rows, [*processes[:number], after, *processes[number + 1 :]])

    def _plain(self, rows: _Rows, processes: list[_Process]) -> _State:
        """The state without what cannot matter any more."""
        kept = [until and max(until, self._long_ago) for until in rows]
        for number, each in enumerate(processes):
            view, under_way = each.view, each.under_way
            if view:
                starts_at = max(view.starts_at, _NOW)
                ends_at = max(view.ends_at, _NOW - 1)
                is_over = ends_at < _NOW and self._mutant != "no rejoin"
                view = None if is_over else view._replace(starts_at=starts_at, ends_at=ends_at)
            if under_way:
                under_way = tuple(
                    one._replace(until=one.until and max(one.until, self._long_ago))
                    for one in under_way
                )
            processes[number] = each._replace(view=view, under_way=under_way)
            other = each.name ^ 1
            if kept[other] == self._long_ago and not _writes(each, other):
                kept[other] = None
        return tuple(kept), tuple(processes)

    def _steps(
        self, number: int, process: _Process, rows: _Rows
    ) -> Iterator[tuple[_Rows, _Process]]:
        under_way = process.under_way
        if process.step == 0:
            until = _NOW + self._offsets[number] + _GOOD_FOR
            write = _Request(process.name, until, inserts=process.version == 0)
            yield from self._sends(process._replace(step=1), write, rows)
            if process.version and self._has_name_left(rows, process):
                delete = _Request(process.name, 0, inserts=False)
                for new_rows, after in self._sends(process, delete, rows):
                    yield new_rows, _renamed(after._replace(view=None))
        elif process.step == 1:
            yield rows, process._replace(step=0)  # there is no answer
            asks = self._asks(number, process, rows)
            yield rows, asks
            yield from ((rows, each) for each in self._reads(number, asks, rows))
        elif process.asked < _NOW:
            yield from ((rows, each) for each in self._reads(number, process, rows))
        for request in dict.fromkeys(under_way):
            if request.is_late:
                yield self._arrives(process, request, rows)
                yield rows, _without(process, request)  # it is lost

    def _sends(
        self, process: _Process, request: _Request, rows: _Rows
    ) -> Iterator[tuple[_Rows, _Process]]:
        if process.version == 2:
            yield rows, process
            return
        sent = process._replace(under_way=tuple(sorted((*process.under_way, request))))
        yield rows, sent if len(process.under_way) < self._most_under_way else process
        yield self._arrives(sent, request, rows)

    def _has_name_left(self, rows: _Rows, process: _Process) -> bool:
        other = process.name ^ 1
        return rows[other] is None and not _writes(process, other)

    def _arrives(self, process: _Process, request: _Request, rows: _Rows) -> tuple[_Rows, _Process]:
        after = _without(process, request)
        if request.inserts and rows[request.name] is not None:
            return rows, after
        for one in after.under_way:  # others that would replace the row before come too late now
            if one.name == request.name and not one.inserts:
                after = _without(after, one)
        if request.name == process.name:
            after = after._replace(version=2 if process.version else 0, is_newest=False)
        until = request.until or None
        return (*rows[: request.name], until, *rows[request.name + 1 :]), after

    def _asks(self, number: int, process: _Process, rows: _Rows) -> _Process:
        if rows[process.name] is not None:
            counted = self._view(number, process.name, None, rows, _NOW)
            rows = tuple(
                until if counted and name in counted.names else None
                for name, until in enumerate(rows)
            )
        else:
            rows = ()
        return process._replace(step=2, asked=_NOW, rows=rows, is_newest=True)

    def _reads(self, number: int, process: _Process, rows: _Rows) -> Iterator[_Process]:
        over = process._replace(step=0, asked=0, rows=(), is_newest=False)
        if process.rows:
            view = self._view(number, process.name, process.view, process.rows, process.asked)
            yield over._replace(view=view, version=1 if process.is_newest else 2)
        elif self._has_name_left(rows, process):
            yield _renamed(over)

    def _look(
        self, number: int, name: int, known: _Known | None, rows: _Rows, asked: int
    ) -> _Known | None:
        before = None
        if known:
            ends_at = 99 if self._mutant == "no rejoin" else known.ends_at
            names = [str(each) for each in known.names]
            before = View(
                str(known.name), names, {}, known.starts_at * _TICK_SECONDS, ends_at * _TICK_SECONDS
            )
        wall = _MIDNIGHT + (asked + self._offsets[number]) * CLOCK_SKEW
        moment = Moment(wall, asked * _TICK_SECONDS)
        members = [
            Member(str(each), _MIDNIGHT + until * CLOCK_SKEW)
            for each, until in enumerate(rows)
            if until is not None
        ]
        view = seen(
            before,
            str(name),
            "",
            Rows(members),
            began=moment,
            asked=moment,
            answered=_NOW * _TICK_SECONDS,
        )
        if view is None:
            return None
        starts_at, ends_at = (round(at / _TICK_SECONDS) for at in (view.starts_at, view.ends_at))
        if self._mutant == "no wait":
            starts_at = _NOW
        if self._mutant == "own belief":
            ends_at = max(ends_at, asked + _GOOD_FOR)
        return _Known(
            int(view.name), starts_at, ends_at, tuple(sorted(int(each) for each in view.names))
        )


def _writes(process: _Process, name: int) -> bool:
    return any(request.name == name for request in process.under_way)


def _without(process: _Process, request: _Request) -> _Process:
    left = list(process.under_way)
    left.remove(request)
    return process._replace(under_way=tuple(left))


def _renamed(process: _Process) -> _Process:
    return process._replace(name=process.name ^ 1, version=0)


def _cards(name: int, names: tuple[int, ...]) -> int:
    view = View(str(name), [str(each) for each in names], {}, 0.0, 1.0)
    return round(view.share(_LANE, _LIMIT).per_second)


def _later(process: _Process) -> _Process:
    view = process.view
    return process._replace(
        view=view and _Known(view.name, view.starts_at - 1, view.ends_at - 1, view.names),
        asked=process.asked and max(process.asked - 1, 1),
        rows=tuple(until and max(until - 1, 1) for until in process.rows),
        under_way=tuple(
            each._replace(until=each.until and each.until - 1, is_late=True)
            for each in process.under_way
        ),
    )


def explore(model: Model, most: int) -> tuple[int, int, _State | None]:
    """Explore breadth first.

    Args:
        model: what to explore.
        most: about how many states.

    Returns:
        How many states there were, how many are left to go on from, and one that is not safe.
    """
    known, todo = {hash(model.begin())}, deque([model.begin()])
    while todo and len(known) < most:
        for state in model.after(todo.popleft()):
            if hash(state) not in known:
                known.add(hash(state))
                todo.append(state)
                if not model.is_safe(state):
                    return len(known), len(todo), state
    return len(known), len(todo), None


def walk(model: Model, steps: int, chance: random.Random) -> _State | None:
    """Follow one schedule; returns a state that is not safe, if there is one."""
    state = model.begin()
    for _ in range(steps):
        state = chance.choice(list(model.after(state)))
        if not model.is_safe(state):
            return state
    return None


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("members", type=int)
    parser.add_argument("--under-way", type=int, default=1)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--walks", type=int, default=10_000)
    arguments = parser.parse_args()
    for others in itertools.product((0, 1), repeat=arguments.members - 1):
        model = Model((0, *others), arguments.under_way)
        states, left, unsafe = explore(model, arguments.states)
        chance = random.Random(0)
        for _ in range(arguments.walks):
            unsafe = unsafe or walk(model, 60, chance)
        what = f"clocks {(0, *others)}: {states:,} states, {left:,} left, {arguments.walks:,} walks"
        sys.stdout.write(f"{what}: {unsafe or 'safe'}\n")
        sys.stdout.flush()
        if unsafe:
            sys.exit(1)


if __name__ == "__main__":
    _main()
