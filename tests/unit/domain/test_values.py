from dataclasses import dataclass

import pytest

from shared.domain.values import replace


@dataclass(frozen=True)
class Plain:
    a: int
    b: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Slotted:
    a: int
    b: int = 2


@dataclass(frozen=True)
class Doubled:
    a: int
    b: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "b", 2 * self.a)


def test_a_copy_has_the_changes_and_the_original_has_not() -> None:
    value = Plain(1, (2,))
    assert replace(value, a=3) == Plain(3, (2,))
    assert value == Plain(1, (2,))
    assert hash(replace(value, a=3)) == hash(Plain(3, (2,)))


def test_values_with_slots_or_derived_fields_are_copied_too() -> None:
    assert replace(Slotted(1), b=3) == Slotted(1, 3)
    assert replace(Doubled(1), a=3).b == 6


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError):
        replace(Plain(1), c=1)  # type: ignore[call-arg] # the test's mistake
