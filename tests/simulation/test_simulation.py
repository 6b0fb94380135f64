"""The promises hold in every interleaving of small scenarios, and in many of large ones."""

from functools import cache

import pytest

from tests.simulation.explore import Exploration, explore, run_seed, simulation
from tests.simulation.scenario import SMALL
from tests.simulation.world import World

SEEDS = 600  # `python -m tests.simulation --seeds 1000000` for more


@cache
def explored(name: str) -> Exploration:
    return explore(SMALL[name])


def test_no_promise_is_broken_at_random() -> None:
    schedules = set()
    for seed in range(SEEDS):
        ran = run_seed(seed)
        assert not ran.failure, str(ran.failure)
        schedules.add(ran.schedule)
    assert len(schedules) > 0.95 * SEEDS


def test_no_promise_is_broken_in_any_of_100_000_distinct_schedules_of_small_scenarios() -> None:
    schedules = {name: explored(name).schedules for name in SMALL}
    assert sum(schedules.values()) >= 100_000, schedules


@pytest.mark.parametrize("name", ["two sweeps", "a message twice"])
def test_each_schedule_that_is_counted_would_run(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = explored(name).schedules
    # No two schedules share a state any more, so each one is run to its end.
    monkeypatch.setattr(World, "fingerprint", lambda world: hash(tuple(world.trace)))
    run = explore(SMALL[name])
    assert run.schedules == run.runs == counted


def first_of(unexplored: list[tuple[int, ...]]) -> tuple[int, ...]:
    return unexplored.pop(0)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_explored_does_not_depend_on_the_order(name: str) -> None:
    oldest_first = explore(SMALL[name], next_of=first_of)
    assert oldest_first.states == explored(name).states
    assert oldest_first.schedules == explored(name).schedules


def test_a_seed_replays_to_the_last_step() -> None:
    runs = [simulation(7), simulation(7)]
    for run in runs:
        run.run()
    first, second = (run.world.trace for run in runs)
    assert first == second
    assert len(first) > 20
