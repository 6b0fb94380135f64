"""Instances of the author's classes in state: what goes in comes out, whatever the class."""

import enum
import json
import zlib
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from botbuilder.core import IntentScore, RecognizerResult
from botbuilder.schema import Activity, ChannelAccount
from botbuilder.schema.teams import TeamInfo, TeamsChannelAccount, TeamsChannelData
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from shared.state import codec, state_types


class Plain:
    """As the official samples' UserProfile."""

    def __init__(self, name: str, age: int = 0) -> None:
        self.name = name
        self.age = age
        self._seen = {name}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(self.name)


class Derived(Plain):
    pass


class Slotted:
    __slots__ = ("__secret", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.__secret = name * 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and other.parts == self.parts

    __hash__ = None  # type: ignore[assignment]

    @property
    def parts(self) -> tuple[str, str]:
        return self.name, self.__secret


class SlottedWithMore(Slotted):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.more = [name]

    @property
    def parts(self) -> Any:
        return (*super().parts, self.more)


class Guarded:
    """Its attributes cannot be set from outside, and its state is its own matter."""

    def __init__(self, total: int) -> None:
        vars(self)["total"] = total

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Guarded) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class OwnState:
    def __init__(self, total: int) -> None:
        self.total = total
        self.lock = len  # cannot be stored

    def __getstate__(self) -> list[int]:
        return [self.total]

    def __setstate__(self, state: list[int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnState) and other.total == self.total

    __hash__ = None  # type: ignore[assignment]


class Point(NamedTuple):
    x: int
    y: int = 0


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - as an author may have it


class Basket(dict[str, int]):
    owner = ""


class Names(list[str]):
    pass


class Tags(set[str]):
    pass


class Word(str):
    language: str
    __slots__ = ("language",)


class Number(int):
    pass


class Level(enum.IntEnum):
    HIGH = 3


class Kind(enum.StrEnum):
    CAR = "car"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Order:
    items: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.opened_by = "ada"

    @cached_property
    def lock(self) -> object:
        return object()


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str


class Profile(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(alias="Name", min_length=1)
    friends: list["Profile"] = []
    born: datetime | None = None
    _notes: list[str] = PrivateAttr(default_factory=list)


LISTED = (
    *(Plain, Derived, Slotted, SlottedWithMore, Guarded, OwnState, Point, Pair, Basket, Names),
    *(Tags, Word, Number, Level, Kind, Rights, Order, Frozen, Profile),
)
state_types.register(*LISTED)


def _basket() -> Basket:
    basket = Basket(apples=3)
    basket.owner = "ada"
    return basket


def _order() -> Order:
    order = Order([Point(1)])
    order.opened_by = "bob"
    assert order.lock
    return order


def _profile() -> Profile:
    profile = Profile(Name="Ada", friends=[Profile(Name="Bob")], nickname="A.")  # type: ignore[call-arg]
    profile._notes.append("likes cars")
    return profile


@pytest.mark.parametrize(
    "value",
    [
        Plain("Ada", 36),
        Derived("Ada"),
        {Plain("Ada"): [Plain("Bob")]},
        Slotted("Ada"),
        SlottedWithMore("Ada"),
        Guarded(3),
        OwnState(3),
        Point(1),
        Pair([1], {"two"}),
        _basket(),
        Names(["Ada"]),
        Tags({"a"}),
        Word("Auto"),
        Number(7),
        Level.HIGH,
        Kind.CAR,
        Rights.READ | Rights.WRITE,
        _order(),
        Frozen("Ada"),
        _profile(),
        # Without listing
        OrderedDict(b=1, a=2),
        Counter("banana"),
        defaultdict(int, a=1),
        defaultdict(list, {3: [1]}),
        defaultdict(Names),
        deque([1, Plain("x")], maxlen=2),
        SimpleNamespace(a=1, b=[Point(1)]),
        complex(1, -2),
        ZoneInfo("Europe/Paris"),
        TeamsChannelAccount(id="29:ada", name="Ada", user_principal_name="ada@example.com"),
        TeamsChannelData(team=TeamInfo(id="19:team", name="Cars")),
        RecognizerResult(text="go", intents={"Go": IntentScore(score=0.5)}, entities={"a": [1]}),
        Activity(type="message", from_property=ChannelAccount(id="a")),
        datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=1),
        datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2026, 7, 1, tzinfo=UTC),
        time(12, tzinfo=ZoneInfo("Asia/Tokyo")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_comes_back_as_it_was(value: Any) -> None:
    restored = codec.unpack(codec.pack({"it": value}))["it"]
    assert type(restored) is type(value)
    assert restored == value
    assert getattr(restored, "__dict__", None) == _without_cached(value)
    assert codec.pack({"it": restored}) == codec.pack({"it": value})


def _without_cached(value: Any) -> Any:
    if isinstance(value, Order):
        return {name: item for name, item in vars(value).items() if name != "lock"}
    return getattr(value, "__dict__", None)


def test_what_equality_does_not_show_comes_back_too() -> None:
    def stored(value: Any) -> Any:
        return codec.unpack(codec.pack({"it": value}))["it"]

    assert stored(deque([1], maxlen=2)).maxlen == 2
    assert stored(defaultdict(list))["new"] == []
    assert list(stored(OrderedDict(b=1, a=2))) == ["b", "a"]
    zone = ZoneInfo("Europe/Paris")
    summer = stored(datetime(2026, 10, 25, 2, 30, tzinfo=zone))
    winter = stored(datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=1))
    assert (summer.tzinfo, winter.tzinfo) == (zone, zone)
    assert winter.utcoffset() != summer.utcoffset()
    word = Word("Auto")
    word.language = "de"
    assert stored(word).language == "de"
    profile = stored(_profile())
    assert profile.model_dump(exclude_unset=True) == _profile().model_dump(exclude_unset=True)
    assert profile._notes == ["likes cars"]


def test_a_zone_that_this_machine_lacks_leaves_the_moment() -> None:
    data = {"$type": "datetime", "value": "2026-07-01T12:00:00+02:00", "zone": "Mars/Olympus"}
    assert codec.decode(data) == datetime(2026, 7, 1, 10, tzinfo=UTC)


def test_fields_that_are_new_get_their_defaults() -> None:
    assert codec.decode({"$type": "Point", "x": 1}) == Point(1, 0)
    before: dict[str, Any] = {"$type": "Profile", "$state": {"__dict__": {"name": "Ada"}}}
    state = before["$state"] | {
        "__pydantic_fields_set__": {"$type": "set", "items": ["name"]},
        "__pydantic_extra__": None,
        "__pydantic_private__": None,
    }
    profile = codec.decode(before | {"$state": state})
    assert (profile.friends, profile.born) == ([], None)


@pytest.mark.parametrize(
    "data",
    [
        {"$type": "Plain", "__class__": {"$type": "class", "value": "Guarded"}},
        {"$type": "Plain", "$state": {"__dict__": {"name": "x"}}},
        {"$type": "Plain", "$call": []},
        {"$type": "Slotted", "name": "no __dict__"},
        {"$type": "Point"},
        {"$type": "Pair", "left": 1},
        {"$type": "Number", "$new": ["x"]},
        {"$type": "Order", "price": 1},
        {"$type": "deque", "$call": [5]},
        {"$type": "default_dict", "$call": ["os.system"]},
        {"$type": "default_dict", "$call": [{"$type": "class", "value": "Popen"}]},
        {"$type": "class", "value": "Stranger"},
        {"$type": "class", "value": "type"},
        {"$type": "class"},
        {"$type": "core.TurnContext"},
        {"$type": "core.BotAdapter"},
        {"$type": "teams.sys"},
        {"$type": "teams."},
        {"$type": "os.system"},
        {"$type": "Plain.__init__"},
        {"$type": "zone", "value": "../../etc/passwd"},
        {"$type": "datetime", "value": "2026-07-01T12:00:00", "zone": "/etc/passwd"},
        {"$type": "Tags", "$call": [[k * (2**61 - 1) for k in range(99)]]},
        {"$type": "Basket", "$pairs": [[k * (2**61 - 1), 0] for k in range(99)]},
        {"$type": "counter", "$call": [{"$type": "dict", "items": [[[], 1]]}]},
    ],
    ids=str,
)
def test_what_no_instance_looks_like_is_a_decode_error(data: object) -> None:
    packed = zlib.compress(json.dumps({"it": data}).encode())
    with pytest.raises(codec.StateDecodeError):
        codec.unpack(packed)


class Unlisted(Plain):
    pass


class ByFunction:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("never",)


class WithLambda:
    def __init__(self) -> None:
        self.call = lambda: None


state_types.register(ByFunction, WithLambda)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Unlisted("x"), "list the class in STATE_TYPES"),
        ([Unlisted], r"state\.it\[0\]"),
        (ByFunction(), "pickled by a function of its own"),
        (WithLambda(), r"state\.it\.call"),
        (defaultdict(lambda: 0), r"state\.it\.\$call"),
        (iter([]), "list_iterator"),
        (range(3), "range"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_refused_with_its_place(value: object, words: str) -> None:
    with pytest.raises(codec.StateTypeError, match=words):
        codec.pack({"it": value})


def test_a_listed_class_may_have_the_name_of_one_of_teams() -> None:
    mine = type("TeamInfo", (Plain,), {})
    state_types.register(mine)
    pair = [mine("Ada"), TeamInfo(id="19:team")]
    restored = codec.unpack(codec.pack({"it": pair}))["it"]
    assert [type(each) for each in restored] == [mine, TeamInfo]


@pytest.mark.parametrize("name", ["Choice", "Activity", "decimal", "Plain"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"named {name} already"):
        state_types.register(type(name, (), {}))


def test_what_is_always_allowed_may_be_listed_too() -> None:
    state_types.register(TeamsChannelAccount, RecognizerResult, OrderedDict, Plain)
