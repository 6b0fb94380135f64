"""The promises hold in every interleaving of small scenarios, and in many of large ones."""

import pytest

from tests.simulation.explore import explore, run_seed, simulation
from tests.simulation.scenario import SMALL

SEEDS = 600  # `python -m tests.simulation --seeds 1000000` for more


def test_no_promise_is_broken_at_random() -> None:
    for seed in range(SEEDS):
        assert not (failure := run_seed(seed)), str(failure)


@pytest.mark.parametrize("name", SMALL)
def test_no_promise_is_broken_whatever_the_order(name: str) -> None:
    explored = explore(SMALL[name])
    assert explored.interleavings > explored.states > 0


def test_a_seed_replays_to_the_last_step() -> None:
    runs = [simulation(7), simulation(7)]
    for run in runs:
        run.run()
    first, second = (run.world.trace for run in runs)
    assert first == second
    assert len(first) > 20
