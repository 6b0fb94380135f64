"""The two ways through a scenario's choices: at random from a seed, or all of them."""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from tests.simulation.scenario import Kind, Mutant, Scenario, Simulation, random_scenario
from tests.simulation.world import Chooser, Option, Violation, World


class AtRandom:
    """Chooses by weight, as the seed says."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def choose(self, world: World, options: Iterator[Option]) -> Option:
        all_of_them = [*options]
        weights = [option.weight for option in all_of_them]
        (option,) = self._chance.choices(all_of_them, weights)
        world.note(option.what)
        return option


@dataclass
class Failure:
    """A violation, and all that led to it."""

    seed: int
    what: str
    trace: list[str]
    flags: str = ""

    def __str__(self) -> str:
        """The trace, and how to see it again."""
        return "\n".join(
            [
                *self.trace,
                f"VIOLATION: {self.what}",
                f"python -m tests.simulation {self.flags}--seed {self.seed}",
            ]
        )


def simulation(seed: int, mutant: Mutant | None = None, kind: Kind | None = None) -> Simulation:
    """The run that the seed stands for."""
    chance = random.Random(seed)
    return Simulation(random_scenario(chance, kind), AtRandom(chance), mutant)


@dataclass(frozen=True)
class Ran:
    """What a seed's run came to; `schedule` is equal where the same steps were taken."""

    schedule: bytes
    failure: Failure | None


def run_seed(seed: int, mutant: Mutant | None = None, kind: Kind | None = None) -> Ran:
    """Run it; a violation comes back with its trace."""
    return ran(seed, simulation(seed, mutant, kind))


def ran(seed: int, run: Simulation, flags: str = "") -> Ran:
    """What became of the run that a seed stands for; `flags` are what replays it, too."""
    failure = None
    try:
        run.run()
    except Violation as violation:
        failure = Failure(seed, str(violation), [str(run.scenario), *run.world.trace], flags)
    # Due times hang on the clocks' skews: those alone make no other schedule.
    steps = re.sub(r"d\|\d+", "d", "\n".join(run.world.trace))
    return Ran(blake2b(steps.encode(), digest_size=8).digest(), failure)


class _SeenBefore(Exception):  # noqa: N818 - no error: this way was followed already
    pass


@dataclass
class _EveryWay:
    """Follows a given beginning, then the first option each time; notes the ways not taken."""

    beginning: Sequence[int]
    graph: dict[int, list[int]]
    unexplored: list[tuple[int, ...]]
    taken: list[int] = field(default_factory=list)
    last: int = 0

    def choose(self, world: World, options: Iterator[Option]) -> Option:
        ways = [*options]
        if len(ways) == 1:
            choice = 0
        elif len(self.taken) < len(self.beginning):
            choice = self.beginning[len(self.taken)]
            self.taken.append(choice)
            if len(self.taken) == len(self.beginning):
                self.last = world.fingerprint()
        else:
            self.arrive(world)
            so_far = tuple(self.taken)
            self.unexplored += [(*so_far, other) for other in range(1, len(ways))]
            choice = 0
            self.taken.append(0)
        option = ways[choice]
        world.note(option.what)
        return option

    def arrive(self, world: World) -> None:
        """Note that this state follows the last one; go on only if it is new."""
        here = world.fingerprint()
        self.graph.setdefault(self.last, []).append(here)
        if here in self.graph:
            raise _SeenBefore
        self.graph[here] = []
        self.last = here


@dataclass(frozen=True)
class Exploration:
    """How much was explored: distinct states, runs from the start, and schedules covered.

    A run stops where it comes to a state that another has been in, as all that can follow has been
    followed from there. So the schedules are the ways from the first state to an end, each another
    sequence of choices, and there are more of them than runs.
    """

    states: int
    runs: int
    schedules: int

    def __str__(self) -> str:
        """One line."""
        return f"{self.schedules:,} distinct schedules, {self.states:,} states, {self.runs:,} runs"


END = -1
PROGRESS_SECONDS = 10


def explore(
    scenario: Scenario,
    tell: Callable[[str], object] = lambda _: None,
    make: Callable[[Scenario, Chooser], Simulation] = Simulation,
    next_of: Callable[[list[tuple[int, ...]]], tuple[int, ...]] = list.pop,
) -> Exploration:
    """Take every choice of a scenario; `tell` hears now and then how far it is.

    `next_of` takes the way to follow next out of those not taken yet. What is explored does not
    depend on it, or two different worlds have one fingerprint.

    Raises:
        Violation: with the trace as its text.
    """
    graph: dict[int, list[int]] = {0: []}
    unexplored: list[tuple[int, ...]] = [()]
    runs = 0
    told = time.monotonic()
    while unexplored:
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            tell(f"so far {len(graph):,} states, {runs:,} runs")
        chooser = _EveryWay(next_of(unexplored), graph, unexplored)
        run = make(scenario, chooser)
        runs += 1
        run.before_end = chooser.arrive
        try:
            run.run()
        except _SeenBefore:
            continue
        except Violation as violation:
            raise Violation("\n".join([*run.world.trace, str(violation)])) from violation
        graph[chooser.last].append(END)
    return Exploration(len(graph) - 1, runs, _paths(graph))


def _paths(graph: dict[int, list[int]]) -> int:
    """How many ways lead from the first state to an end."""
    counts = {END: 1}
    stack = [0]
    while stack:
        here = stack[-1]
        missing = [there for there in graph[here] if there not in counts]
        if missing:
            stack += missing
        else:
            counts[here] = sum(counts[there] for there in graph[here])
            stack.pop()
    return counts[0]
