"""The promises hold with the state in Cosmos DB, and what breaks its order of writes is caught."""

import pytest

from tests.simulation.explore import explore
from tests.simulation.in_cosmos import MUTANTS, CosmosSimulation, run_seed_in_cosmos
from tests.simulation.scenario import SMALL

SEEDS = 300
WITHIN_SEEDS = 500


def test_no_promise_is_broken_at_random() -> None:
    for seed in range(SEEDS):
        ran = run_seed_in_cosmos(seed)
        assert not ran.failure, str(ran.failure)


@pytest.mark.parametrize("name", ["a late message and a sweep", "two sweeps, a crash"])
def test_no_promise_is_broken_in_any_schedule_of_a_small_scenario(name: str) -> None:
    assert explore(SMALL[name], make=CosmosSimulation).schedules > 10_000


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_store_is_caught(name: str) -> None:
    kind, mutant = MUTANTS[name]
    assert any(run_seed_in_cosmos(seed, mutant(), kind).failure for seed in range(WITHIN_SEEDS))
