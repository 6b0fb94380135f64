"""No schedule of three members gives out more cards than there are."""

import random

import pytest

from tests.simulation.budget_model import MUTANTS, Model, explore, walk


def test_three_members_are_safe_in_the_first_states_and_on_some_long_ways() -> None:
    model, chance = Model((0, 1, 0), under_way=1), random.Random(0)
    assert explore(model, 3_000)[2] is None
    for _ in range(50):
        assert walk(model, 60, chance) is None


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_rule_that_is_broken_is_noticed(mutant: str) -> None:
    model, chance = Model((0, 1), 1, mutant), random.Random(0)
    assert any(walk(model, 60, chance) for _ in range(1_000))
