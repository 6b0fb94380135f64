"""The simulation is worth something only if it catches what is broken."""

import pytest

from tests.simulation.explore import run_seed
from tests.simulation.mutants import MUTANTS

WITHIN_SEEDS = 2000  # most are caught within 50


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_product_is_caught(name: str) -> None:
    kind, mutant = MUTANTS[name]
    assert any(run_seed(seed, mutant(), kind).failure for seed in range(WITHIN_SEEDS))
