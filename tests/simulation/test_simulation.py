"""The promises hold in every interleaving of small scenarios, and in many of large ones."""

import pytest

from tests.simulation.explore import explore, run_seed, simulation
from tests.simulation.scenario import RARE, SMALL, Kind
from tests.simulation.world import World

SEEDS = 600  # `python -m tests.simulation --seeds 1000000` for more
SEEDS_OF_RARE = 200


AT_LEAST = {  # schedules of the two that have the most: `make test-deep` explores these
    "a late message, a sweep, a crash": 60_000,
    "a message twice, a crash, 13 s": 40_000,
}


def test_no_promise_is_broken_at_random() -> None:
    schedules = set()
    for seed in range(SEEDS):
        ran = run_seed(seed)
        assert not ran.failure, str(ran.failure)
        schedules.add(ran.schedule)
    assert len(schedules) > 0.95 * SEEDS


@pytest.mark.parametrize("kind", RARE, ids=lambda kind: kind.__name__)
def test_no_promise_is_broken_where_faults_are_rare_at_random(kind: Kind) -> None:
    for seed in range(SEEDS_OF_RARE):
        ran = run_seed(seed, kind=kind)
        assert not ran.failure, str(ran.failure)


def first_of(unexplored: list[tuple[int, ...]]) -> tuple[int, ...]:
    return unexplored.pop(0)


# One test for both: a test process would explore once more what another has explored.
@pytest.mark.timeout(1800)  # the largest takes two minutes of a processor, which may be busy
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.deep if name in AT_LEAST else ()) for name in SMALL],
)
def test_no_promise_is_broken_in_any_schedule_of_a_small_scenario_in_whatever_order(
    name: str,
) -> None:
    explored = explore(SMALL[name])
    assert explored.schedules >= AT_LEAST.get(name, 1)
    oldest_first = explore(SMALL[name], next_of=first_of)
    assert oldest_first.states == explored.states
    assert oldest_first.schedules == explored.schedules


def test_100_000_distinct_schedules_are_explored() -> None:
    assert SMALL.keys() >= AT_LEAST.keys()
    assert sum(AT_LEAST.values()) >= 100_000


@pytest.mark.parametrize("name", ["two sweeps", "a message twice"])
def test_each_schedule_that_is_counted_would_run(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = explore(SMALL[name]).schedules
    # No two schedules share a state any more, so each one is run to its end.
    monkeypatch.setattr(World, "fingerprint", lambda world: hash(tuple(world.trace)))
    run = explore(SMALL[name])
    assert run.schedules == run.runs == counted


def test_a_seed_replays_to_the_last_step() -> None:
    runs = [simulation(7), simulation(7)]
    for run in runs:
        run.run()
    first, second = (run.world.trace for run in runs)
    assert first == second
    assert len(first) > 20
