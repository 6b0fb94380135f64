"""Full collections wait for the sweeps to end, however they overlap."""

import gc
from collections.abc import Iterator

import pytest

from shared.expiry.garbage import full_collections_put_off


@pytest.fixture(autouse=True)
def _thresholds_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    assert gc.get_threshold() == before


class Cycle:
    """Garbage that counting references does not find."""

    gone = 0

    def __init__(self) -> None:
        self.self = self

    def __del__(self) -> None:
        Cycle.gone += 1


def test_of_two_that_overlap_the_last_one_to_end_collects() -> None:
    usual = gc.get_threshold()[2]
    first, second = full_collections_put_off(), full_collections_put_off()
    first.__enter__()
    second.__enter__()
    Cycle.gone = 0
    Cycle()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[2] > usual
    second.__exit__(None, None, None)
    assert gc.get_threshold()[2] == usual
    assert Cycle.gone == 1


def test_a_sweep_that_fails_ends_it_too() -> None:
    with pytest.raises(ZeroDivisionError), full_collections_put_off():
        raise ZeroDivisionError
