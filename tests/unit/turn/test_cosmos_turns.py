"""All that is tested of turns and of erasure, with the state in Cosmos DB."""

from collections.abc import Iterator

import pytest

from tests.bot_in_memory import InCosmos
from tests.unit.state import test_erasure
from tests.unit.turn import test_turn

# About the requests, and the rows, of state that is in tables; test_cosmos.py has its own.
OF_TABLES = {
    "test_a_later_turn_is_two_requests_without_user_state_and_four_with",
    "test_user_state_that_is_only_read_is_three_requests",
    "test_a_users_list_ends_with_its_conversations",
    "test_an_erasure_during_the_writing_of_a_letter_is_not_undone_by_it",
    "test_an_erasure_in_the_middle_of_a_turn_is_not_undone_by_it",
    "test_dead_letters_that_name_the_user_go_too_and_are_counted",
}

for module in (test_turn, test_erasure):
    for name, test in vars(module).items():
        if name.startswith("test_") and name not in OF_TABLES:
            globals()[name] = test


@pytest.fixture(autouse=True)
def _in_cosmos(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(InCosmos, "by_default", staticmethod(InCosmos))
        yield
