"""All processes together keep the channel's limit, whatever becomes of some of them."""

import pytest

from shared.connector.limits import SendingLimits
from shared.expiry.budget import Budget
from tests.simulation import sending
from tests.simulation.sending import LIMIT, SMALL, World


@pytest.mark.parametrize("name", SMALL)
def test_no_second_is_above_the_limit_no_reply_is_lost_and_notices_keep_their_pace(
    name: str,
) -> None:
    outcome = World(SMALL[name], seed=0).run()
    assert outcome.problems(SMALL[name]) == []


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        (sending.NoWait, "16 at work"),
        (sending.Alone, "4 at work"),
        (sending.OwnBelief, "2, the writes of one get lost"),
        (sending.Forever, "2, the writes of one get lost"),
        (sending.Silent, "16, a step to 30 replies"),
    ],
)
def test_a_budget_without_one_of_its_rules_is_noticed(mutant: type[Budget], name: str) -> None:
    assert World(SMALL[name], 0, mutant).run().worst > LIMIT


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        (sending.Hasty, "1, stands still for a moment"),
        (sending.Blind, "16, storage stands still"),
    ],
)
def test_limits_without_one_of_their_rules_are_noticed(
    mutant: type[SendingLimits], name: str
) -> None:
    assert World(SMALL[name], 0, limits=mutant).run().worst > LIMIT


def test_a_run_can_be_repeated() -> None:
    name = "4, 10 replies a second"
    assert World(SMALL[name], 3).run() == World(SMALL[name], 3).run()
