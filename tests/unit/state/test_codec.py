"""The state codec: what goes in comes out, of allowed types only; nothing is executed."""

import json
import zlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from botbuilder.dialogs import DialogInstance, DialogState
from botbuilder.dialogs.choices import Choice, FoundChoice, ListStyle
from botbuilder.dialogs.prompts import PromptOptions
from botbuilder.schema import Activity, ActivityTypes, Attachment, CardAction, InputHints

from shared.state import codec, state_types


@dataclass(frozen=True)
class Pizza:
    size: int
    toppings: list[str] = field(default_factory=list)
    crust: str = "thin"


class Colour(Enum):
    RED = 1


@dataclass
class Stranger:
    name: str


state_types.register(Pizza, Colour)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**70),
        1.5,
        float("inf"),
        "päß 😀 \ud800 \0",
        [1, [2, None]],
        (1, "two"),
        {1, 2},
        frozenset({"a"}),
        {},
        {"a": {"b": [1]}},
        {1: "int key", (2, 3): "tuple key", None: 0},
        {"$type": "Activity", "text": "user data that looks like a tag"},
        Decimal("1.50"),
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4),  # noqa: DTZ001 - a bot may keep naive ones
        date(2026, 1, 2),
        time(3, 4),
        timedelta(days=-1, microseconds=1),
        b"\0\xff",
        UUID(int=5),
        Pizza(3, ["ham"]),
        Colour.RED,
        ActivityTypes.message,
        ListStyle.suggested_action,
    ],
)
def test_a_value_comes_back_as_it_was_and_of_its_type(value: object) -> None:
    restored = codec.unpack(codec.pack({"value": value}))["value"]
    assert restored == value
    assert type(restored) is type(value)


def test_nan_comes_back() -> None:
    assert codec.unpack(codec.pack({"value": float("nan")}))["value"] != 0


def test_dialog_state_comes_back_whole() -> None:
    instance = DialogInstance()
    instance.id = "prompt"
    instance.state = {
        "options": PromptOptions(
            prompt=Activity(
                type=ActivityTypes.message,
                text="Which?",
                input_hint=InputHints.expecting_input,
                attachments=[Attachment(content_type="image/png", content={"deep": [1]})],
                channel_data={"any": "thing"},
            ),
            choices=[Choice("Car", CardAction(type="imBack", title="Car", value="Car"), ["auto"])],
        ),
        "found": FoundChoice("Car", 0, 1.0),
        "state": {},
    }
    stack: Any = codec.unpack(codec.pack({"DialogState": DialogState([instance])}))["DialogState"]
    restored: Any  # typed as the SDK does, it knows no fields
    (restored,) = stack.dialog_stack
    options: Any = restored.state["options"]
    asked: Any = instance.state["options"]
    assert (restored.id, restored.state["state"]) == ("prompt", {})
    assert options.prompt == asked.prompt
    assert vars(options.choices[0])["action"] == CardAction(type="imBack", title="Car", value="Car")
    assert options.number_of_attempts == 0
    assert vars(restored.state["found"])["value"] == "Car"


def test_an_empty_instance_state_stays_a_dict() -> None:
    instance = DialogInstance()
    instance.state = {}
    assert codec.decode(codec.encode(instance)).state == {}


def test_an_empty_bag_is_no_bytes() -> None:
    assert codec.pack({}) == b""
    assert codec.unpack(b"") == {}


def test_equal_bags_are_equal_bytes_whatever_their_order() -> None:
    assert codec.pack({"a": 1, "b": 2}) == codec.pack({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [Stranger("x"), object(), len, test_nan_comes_back, Stranger])
def test_an_unregistered_type_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(codec.StateTypeError, match=r"state\.basket\[1\]"):
        codec.pack({"basket": [0, value]})


def test_a_subclass_of_an_allowed_type_is_refused() -> None:
    class Sub(Pizza):
        pass

    with pytest.raises(codec.StateTypeError):
        codec.pack({"x": Sub(1)})


def test_a_cycle_is_refused() -> None:
    bag: dict[str, Any] = {}
    bag["self"] = bag
    with pytest.raises(codec.StateTypeError, match="refers to itself"):
        codec.pack(bag)


def packed(data: object) -> bytes:
    return zlib.compress(json.dumps(data).encode())


@pytest.mark.parametrize(
    "data",
    [
        {"x": {"$type": "Stranger", "name": "x"}},
        {"x": {"$type": "os.system"}},
        {"x": {"$type": ["unhashable"]}},
        {"x": {"$type": {"py/reduce": 1}}},
        {"x": {"$type": "Activity", "__class__": "x"}},
        {"x": {"$type": "DialogInstance", "__dict__": {}}},
        {"x": {"$type": "Pizza", "crust": "thick"}},
        {"x": {"$type": "Pizza", "size": 1, "price": 2}},
        {"x": {"$type": "Colour", "value": 7}},
        {"x": {"$type": "Colour"}},
        {"x": {"$type": "decimal", "value": "x"}},
        {"x": {"$type": "datetime", "value": 5}},
        {"x": {"$type": "bytes", "value": "*"}},
        {"x": {"$type": "tuple"}},
        {"x": {"$type": "dict", "items": [[1]]}},
        {"x": {"$type": "dict", "items": [[[], 1]]}},
        [],
        "text",
    ],
)
def test_damaged_or_foreign_data_is_a_decode_error(data: object) -> None:
    with pytest.raises(codec.StateDecodeError):
        codec.unpack(packed(data))


def test_a_pickled_command_is_data_and_runs_nothing() -> None:
    command = {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["exit 1"]}]}
    assert codec.unpack(packed({"x": command})) == {"x": command}


@pytest.mark.parametrize(
    "damaged",
    [b"no zlib", packed({"a": "b" * 100})[:-5], zlib.compress(b"{"), zlib.compress(b"\xff")],
)
def test_damaged_bytes_are_a_decode_error(damaged: bytes) -> None:
    with pytest.raises(codec.StateDecodeError):
        codec.unpack(damaged)


def test_a_small_row_cannot_unpack_to_a_huge_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(codec.StateDecodeError, match="too large"):
        codec.unpack(packed({"a": "b" * 10_000}))


def test_nesting_as_deep_as_the_stack_is_a_decode_error() -> None:
    deep = zlib.compress(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    with pytest.raises(codec.StateDecodeError):
        codec.unpack(deep)


def test_a_field_added_since_keeps_its_default() -> None:
    restored = codec.decode({"$type": "Pizza", "size": 2})
    assert restored == Pizza(2, [], "thin")


@pytest.mark.parametrize("wrong", [Pizza(1), "Pizza", len, list[int], None])
def test_what_is_no_class_cannot_be_registered(wrong: Any) -> None:
    with pytest.raises(TypeError, match="is no class"):
        state_types.register(wrong)


def test_a_name_that_is_taken_cannot_be_registered() -> None:
    @dataclass
    class Pizza:
        other: int

    with pytest.raises(ValueError, match="another class in state is named Pizza"):
        state_types.register(Pizza)
    state_types.register(Colour)  # the same again is no error


# What one caller or row can cost


P = 2**61 - 1  # Python's hash of a whole number is its rest by this


@pytest.mark.parametrize(
    "data",
    [
        {"$type": "set", "items": [k * P for k in range(1, 3000)]},
        {"$type": "frozenset", "items": [k * P for k in range(1, 3000)]},
        {"$type": "dict", "items": [[k * P, 0] for k in range(1, 3000)]},
        {"$type": "set", "items": [{"$type": "decimal", "value": str(k * P)} for k in range(3000)]},
        {"$type": "set", "items": [{"$type": "tuple", "items": [k * P]} for k in range(3000)]},
        {
            "$type": "set",
            "items": [float(k * 2**61) for k in range(1)] + [k * P for k in range(99)],
        },
    ],
)
def test_values_that_share_one_hash_are_refused(data: object) -> None:
    with pytest.raises(codec.StateDecodeError, match="have one hash"):
        codec.decode({"deep": [data]})


@pytest.mark.parametrize("items", [range(5000), [f"{n}" for n in range(5000)], [1, 1.0, 1]])
def test_ordinary_sets_are_read(items: Any) -> None:
    assert codec.decode({"$type": "set", "items": list(items)}) == set(items)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[' + "{}," * 200_000 + "{}]}",
        '{"a":' * 300 + "1" + "}" * 300,
        '{"a":' + "[" * 30_000,
        '{"a":"' + "x" * (17 * 2**20) + '"}',
    ],
    ids=["many", "deep", "open", "long"],
)
def test_what_is_too_much_is_neither_read_nor_written(text: str) -> None:
    with pytest.raises(codec.StateDecodeError):
        codec.unpack(zlib.compress(text.encode()))


@pytest.mark.parametrize(
    "bag", [{"a": [{}] * 200_000}, {"a": "x" * (17 * 2**20)}], ids=["many", "long"]
)
def test_a_bag_that_could_not_be_read_again_is_not_written(bag: dict[str, Any]) -> None:
    with pytest.raises(codec.StateTypeError, match="cannot be kept"):
        codec.pack(bag)


def test_what_is_packed_is_read_again_up_to_the_limit_of_depth() -> None:
    value: Any = 1
    for _ in range(150):
        value = [value]
    assert codec.unpack(codec.pack({"a": value})) == {"a": value}
