"""When a notice or a reply may go, by a clock that is set by hand."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from shared.connector.client import ConnectorError
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import Limits
from shared.domain.budget import Share
from shared.domain.reference import Reference
from shared.expiry.budget import Budget
from shared.expiry.notice import Slot

DOWN = ConnectorError("no answer")


class FixedBudget(Budget):
    """A share that is set by hand; what replies say to it is kept."""

    def __init__(self, share: Share | None = None) -> None:
        self.fixed = share
        self.replies: list[bool] = []

    def share(self, lane: str, limit: tuple[int, float]) -> Share | None:
        assert len(lane) == 32
        assert limit == (50, 1)
        return self.fixed

    def replied(self, lane: str, *, refused: bool = False) -> None:
        assert len(lane) == 32
        self.replies.append(refused)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def limits(time: Time) -> SendingLimits:
    given = {
        "msteams": {"tenant": [50, 1], "thread": [[7, 1], [8, 2]]},
        "other": {"service_url": [10, 1]},
    }
    return SendingLimits(Limits(given), time, time.sleep)


def teams(conversation: str = "a", tenant: str = "t", url: str = "https://teams/") -> Reference:
    return Reference("msteams", url, conversation, tenant=tenant)


def other(url: str = "https://webchat/") -> Reference:
    return Reference("webchat", url, "a")


def slots(limits: SendingLimits, count: int, **where: str) -> list[float]:
    granted = [limits.reserve(teams(f"talk {n}", **where), 60) for n in range(count)]
    assert all(slot.granted for slot in granted)
    return [slot.seconds for slot in granted]


def refusal(status: int, retry_after_seconds: float | None = None) -> ConnectorError:
    return ConnectorError("no", status=status, retry_after_seconds=retry_after_seconds)


def answered(
    limits: SendingLimits, reference: Reference, error: ConnectorError | None = None
) -> None:
    limits.answered(reference, limits.clock(), error)


def fail(limits: SendingLimits, reference: Reference, times: int) -> None:
    for _ in range(times):
        answered(limits, reference, DOWN)


def test_notices_of_one_tenant_go_evenly_a_little_below_its_limit(limits: SendingLimits) -> None:
    seconds = slots(limits, 99)
    assert seconds[0] == 0
    steps = [later - earlier for earlier, later in pairwise(seconds)]
    assert steps == pytest.approx([1 / 49] * 98)


def test_tenants_do_not_wait_for_each_other_nor_do_other_channels(limits: SendingLimits) -> None:
    slots(limits, 100)
    assert slots(limits, 1, tenant="another") == [0]
    assert limits.reserve(other(), 60).seconds == 0


def test_other_channels_share_the_limit_of_their_service_url(limits: SendingLimits) -> None:
    limits.reserve(other(), 60)
    assert limits.reserve(other(), 60).seconds == pytest.approx(1 / 9.8)
    assert limits.reserve(other("https://elsewhere/"), 60).seconds == 0


def test_who_would_wait_too_long_is_told_when_to_come_back_at_the_same_pace(
    limits: SendingLimits,
) -> None:
    slots(limits, 50)  # a second and a bit
    later = [limits.reserve(teams(f"late {n}"), 1) for n in range(98)]
    assert not any(slot.granted for slot in later)
    assert later[0].seconds == pytest.approx(1 + 1 / 49)
    assert later[-1].seconds == pytest.approx(3)
    # Nothing was taken from those who come now.
    assert limits.reserve(teams("now"), 60).seconds == pytest.approx(50 / 49)


async def test_replies_go_at_once_and_notices_wait_for_them(
    limits: SendingLimits, time: Time
) -> None:
    for number in range(20):
        await limits.before_reply(teams(f"talk {number}"))
    assert time.slept == []
    assert limits.reserve(teams("b"), 60).seconds == pytest.approx(20 / 49)


async def test_those_who_wait_already_wait_for_a_reply_too(
    limits: SendingLimits, time: Time
) -> None:
    first, second = (limits.reserve(teams(name), 60) for name in "ab")
    assert first.seconds == 0
    assert second.seconds == pytest.approx(1 / 49)
    await limits.before_reply(teams("c"))
    time.now += second.seconds
    assert limits.confirm(teams("b"), second, 60).seconds == pytest.approx(1 / 49)
    time.now += 1 / 49
    assert limits.confirm(teams("b"), second, 60).seconds == 0


def test_a_process_that_stood_still_does_not_catch_up(limits: SendingLimits, time: Time) -> None:
    waiting = [(teams(f"talk {n}"), limits.reserve(teams(f"talk {n}"), 60)) for n in range(400)]
    time.now += 5
    gone: list[float] = []
    for reference, slot in waiting[1:]:  # the first one went at once
        while (wait := limits.confirm(reference, slot, 60).seconds) > 0:
            time.now += wait
        gone.append(time.now)
    assert [late - early for early, late in pairwise(gone)] == pytest.approx([1 / 49] * 398)


def test_all_who_wake_after_a_standstill_are_told_to_wait_at_the_lanes_pace(
    limits: SendingLimits, time: Time
) -> None:
    waiting = [(teams(f"talk {n}"), limits.reserve(teams(f"talk {n}"), 60)) for n in range(400)]
    time.now += 5
    seconds = [limits.confirm(*each, 60).seconds for each in waiting]
    assert seconds == pytest.approx([n / 49 for n in range(400)])


def test_being_late_by_a_moment_costs_no_place(limits: SendingLimits, time: Time) -> None:
    first, second, third = (limits.reserve(teams(name), 60) for name in "abc")
    assert first.seconds == 0
    time.now += second.seconds + 0.01
    assert limits.confirm(teams("b"), second, 60).seconds == 0
    assert limits.confirm(teams("c"), third, 60).seconds == pytest.approx(1 / 49 - 0.01)


async def test_a_reply_waits_for_the_limit_of_its_own_conversation(
    limits: SendingLimits, time: Time
) -> None:
    for _ in range(9):
        await limits.before_reply(teams())
    # Seven in a second, eight in two; a little longer, as what counts is when they arrive.
    assert time.slept == pytest.approx([1 / 0.98, 1 / 0.98])


def test_a_429_closes_the_lane_and_slows_it_for_a_while(limits: SendingLimits, time: Time) -> None:
    slot = limits.reserve(teams("a"), 60)
    elsewhere = limits.reserve(teams("b", tenant="another"), 60)
    answered(limits, teams("a"), refusal(429, 7))
    refused = limits.confirm(teams("b"), slot, 60)
    assert not refused.granted
    assert refused.seconds == pytest.approx(7 + 2 / 49)
    assert limits.confirm(teams("b", tenant="another"), elsewhere, 60).seconds == 0
    slot = limits.reserve(teams("b"), 60)
    assert slot.seconds == pytest.approx(7)
    time.now += 7
    assert limits.confirm(teams("b"), slot, 60).seconds == 0
    first, second = (limits.reserve(teams(name), 60).seconds for name in "cd")
    assert second - first == pytest.approx(2 / 49)
    time.now += 31
    first, second = (limits.reserve(teams(name), 60).seconds for name in "ef")
    assert second - first == pytest.approx(1 / 49)


def test_a_429_closes_the_lane_for_five_minutes_at_most(limits: SendingLimits) -> None:
    answered(limits, teams(), refusal(429, 7200))
    assert limits.reserve(teams(), 1000).seconds == pytest.approx(300)


def test_a_service_url_that_does_not_answer_is_left_alone_and_probed(
    limits: SendingLimits, time: Time
) -> None:
    under_way = limits.reserve(teams(), 60)
    fail(limits, teams(), 5)
    assert not limits.confirm(teams(), under_way, 60).granted
    slot = limits.reserve(teams(), 60)
    assert not slot.granted
    assert 12 <= slot.seconds <= 19
    time.now += 19
    assert limits.reserve(teams("probe"), 60).granted
    assert not limits.reserve(teams("another"), 60).granted
    answered(limits, teams("probe"))
    assert limits.reserve(teams("another"), 60).granted


def test_a_probe_that_fails_makes_the_pause_longer(limits: SendingLimits, time: Time) -> None:
    fail(limits, teams(), 5)
    time.now += 19
    limits.reserve(teams(), 60)
    fail(limits, teams(), 1)
    assert 24 <= limits.reserve(teams(), 60).seconds <= 37


def test_what_was_under_way_when_it_went_down_makes_the_pause_no_longer(
    limits: SendingLimits,
) -> None:
    fail(limits, teams(), 100)
    assert limits.reserve(teams(), 60).seconds <= 19


def test_a_probe_that_is_never_heard_of_is_followed_by_another(
    limits: SendingLimits, time: Time
) -> None:
    fail(limits, teams(), 5)
    time.now += 19
    assert limits.reserve(teams(), 60).granted
    time.now += 16
    assert limits.reserve(teams(), 60).granted


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_an_answer_is_an_answer(limits: SendingLimits, time: Time, status: int) -> None:
    fail(limits, teams(), 4)
    answered(limits, teams(), refusal(status))
    time.now += 3
    fail(limits, teams(), 4)
    assert limits.reserve(teams(), 60).granted
    answered(limits, teams(), refusal(503))
    assert not limits.reserve(teams(), 60).granted


def test_failures_among_answers_open_nothing(limits: SendingLimits, time: Time) -> None:
    answered(limits, teams())
    time.now += 1
    fail(limits, teams(), 20)
    assert limits.reserve(teams(), 60).granted


def test_requests_that_hung_while_others_were_answered_open_nothing(
    limits: SendingLimits, time: Time
) -> None:
    sent_at = time.now
    time.now += 1
    answered(limits, teams())
    time.now += 9
    for _ in range(20):
        limits.answered(teams(), sent_at, DOWN)
    assert limits.reserve(teams(), 60).granted


def test_a_reply_that_gets_through_ends_the_pause(limits: SendingLimits) -> None:
    fail(limits, teams(), 5)
    answered(limits, teams())
    assert limits.reserve(teams(), 60).granted


def of(channel: str, conversation: str = "a", url: str = "https://bot/") -> Reference:
    return Reference(channel, url, conversation)


@pytest.fixture
def five_channels(time: Time) -> SendingLimits:
    given = {
        "msteams": {"tenant": [50, 1], "thread": [[7, 1]]},
        "directline": {"service_url": [10, 1]},
        "slack": {"service_url": [1, 1], "thread": [[1, 2]]},
        "webchat": {"thread": [[2, 1]]},
        "other": {"service_url": [20, 1]},
    }
    return SendingLimits(Limits(given), time, time.sleep)


@pytest.mark.parametrize(
    ("channel", "per_second"),
    [("msteams", 50), ("directline", 10), ("slack", 1), ("webchat", 20), ("email", 20)],
)
def test_each_channel_has_the_pace_that_its_table_names(
    five_channels: SendingLimits, channel: str, per_second: int
) -> None:
    first, second = (five_channels.reserve(of(channel, each), 60) for each in "ab")
    assert first.seconds == 0
    assert second.seconds == pytest.approx(1 / (0.98 * per_second))


def test_channels_with_tables_of_their_own_do_not_wait_for_each_other(
    five_channels: SendingLimits,
) -> None:
    for channel in ("msteams", "directline", "slack", "email"):
        assert five_channels.reserve(of(channel), 60).seconds == 0


def test_channels_that_name_no_pace_share_that_of_the_others(five_channels: SendingLimits) -> None:
    five_channels.reserve(of("email"), 60)
    assert five_channels.reserve(of("webchat"), 60).seconds == pytest.approx(1 / 19.6)
    assert five_channels.reserve(of("webchat", url="https://elsewhere/"), 60).seconds == 0


async def test_each_channel_has_its_own_limit_of_a_conversation(
    five_channels: SendingLimits, time: Time
) -> None:
    for channel, replies in {"slack": 1, "webchat": 2, "msteams": 7, "directline": 20}.items():
        for _ in range(replies):
            await five_channels.before_reply(of(channel))
    assert time.slept == []
    await five_channels.before_reply(of("webchat"))
    assert time.slept == pytest.approx([1 / 0.98])
    await five_channels.before_reply(of("slack"))
    assert time.slept == pytest.approx([1 / 0.98, 1 / 0.98])  # of the two seconds one is over


def test_a_tenant_is_one_lane_on_any_channel_whose_table_says_so(time: Time) -> None:
    limits = SendingLimits(Limits({"other": {"tenant": [10, 1]}}), time, time.sleep)
    here, there = (replace(other(url), tenant="t") for url in ("https://here/", "https://there/"))
    assert limits.reserve(here, 60).seconds == 0
    assert limits.reserve(there, 60).seconds == pytest.approx(1 / 9.8)


@pytest.fixture
def budget(limits: SendingLimits) -> FixedBudget:
    budget = FixedBudget()
    limits.budget = budget
    return budget


def share_of(per_second: float, *, starts_at: float = 0, ends_at: float = 9e9) -> Share:
    return Share(per_second, per_second, starts_at, ends_at, is_whole=False)


def test_notices_go_at_the_pace_of_the_share(limits: SendingLimits, budget: FixedBudget) -> None:
    budget.fixed = share_of(5)
    seconds = slots(limits, 10)
    assert 0 <= seconds[0] < 1 / 5  # processes that begin together do not go on together
    steps = [later - earlier for earlier, later in pairwise(seconds)]
    assert steps == pytest.approx([1 / 5] * 9)


def test_alone_the_first_notice_goes_at_once(limits: SendingLimits, budget: FixedBudget) -> None:
    budget.fixed = Share(39, 39)
    assert slots(limits, 3) == pytest.approx([0, 1 / 39, 2 / 39])


def test_a_share_that_is_not_known_is_asked_for_less_and_less_often(
    limits: SendingLimits, budget: FixedBudget
) -> None:
    slot = limits.reserve(teams(), 60)
    seconds = []
    for _ in range(6):
        seconds.append(slot.seconds)
        slot = limits.confirm(teams(), slot, 60)
    assert seconds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2])
    budget.fixed = Share(39, 39)
    assert limits.confirm(teams(), slot, 60).seconds == 0


def test_who_has_no_share_is_told_later_at_the_pace_of_all(
    limits: SendingLimits, budget: FixedBudget
) -> None:
    budget.fixed = Share(0, 0.5, is_whole=False)
    later = [limits.reserve(teams(name), 10) for name in "abc"]
    assert not any(slot.granted for slot in later)
    assert [slot.seconds for slot in later] == pytest.approx([12, 14, 16])


def test_no_notice_goes_before_the_share_begins(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    budget.fixed = share_of(10, starts_at=time.now + 3)
    first, second = (limits.reserve(teams(name), 60) for name in "ab")
    assert 3 <= first.seconds < 3.1
    assert second.seconds == pytest.approx(first.seconds + 1 / 10)
    time.now += 2
    assert limits.confirm(teams("a"), first, 60).seconds == pytest.approx(first.seconds - 2)


def test_a_share_that_becomes_smaller_makes_those_who_wait_wait_longer(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    budget.fixed = Share(40, 40)
    waiting = [limits.reserve(teams(f"{n}"), 60) for n in range(41)]
    assert waiting[40].seconds == pytest.approx(1)
    budget.fixed = share_of(4)
    assert limits.confirm(teams("40"), waiting[40], 60).seconds == pytest.approx(4)  # looks again
    time.now += 9
    budget.fixed = share_of(8)
    assert limits.confirm(teams("40"), waiting[40], 60).seconds == pytest.approx((10 - 9) * 4 / 8)
    assert not limits.confirm(teams("40"), waiting[40], 0.1).granted


def test_who_waits_looks_again_if_replies_have_made_the_only_share_smaller(
    limits: SendingLimits, budget: FixedBudget
) -> None:
    budget.fixed = Share(1, 39)
    assert slots(limits, 10) == pytest.approx([0, 1, 2, 3, 4, 4, 4, 4, 4, 4])


def test_a_share_that_is_lost_and_comes_back_lets_nobody_catch_up(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    budget.fixed = share_of(10, ends_at=time.now + 1)
    waiting = [limits.reserve(teams(f"{n}"), 60) for n in range(60)]
    time.now += 5
    budget.fixed = None
    assert limits.confirm(teams("1"), waiting[1], 60) == Slot(2, at=waiting[1].at)
    assert not limits.confirm(teams("1"), waiting[1], 1).granted
    budget.fixed = share_of(10)
    seconds = [limits.confirm(teams(f"{n}"), waiting[n], 60).seconds for n in range(2, 20)]
    steps = [later - earlier for earlier, later in pairwise(seconds)]
    assert steps == pytest.approx([1 / 10] * 17, abs=0.11)
    assert sum(each == 0 for each in seconds) <= 1


def test_after_all_who_waited_have_given_up_nobody_waits_for_their_slots(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    budget.fixed = Share(39, 39)
    waiting = [limits.reserve(teams(f"{n}"), 60) for n in range(400)]
    budget.fixed = None
    for number, slot in enumerate(waiting[1:], 1):
        assert not limits.confirm(teams(f"{number}"), slot, 0).granted
    budget.fixed = Share(39, 39)
    assert limits.reserve(teams("next"), 60).seconds <= 1 / 39


async def test_replies_are_counted_and_wait_for_no_share(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    for number in range(5):
        await limits.before_reply(teams(f"{number}"))
    limits.answered(teams("4"), time.now, refusal(429), is_reply=True)
    limits.answered(teams("4"), time.now, refusal(429))
    assert budget.replies == [False] * 5 + [True]
    assert time.slept == []
    time.now += 60
    budget.fixed = Share(39, 39)
    assert limits.reserve(teams("notice"), 60).seconds == 0  # they were long ago


async def test_a_message_of_the_authors_own_waits_for_its_share_as_notices_do(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    budget.fixed = share_of(10, starts_at=time.now + 7)
    await limits.before_notice(teams(), 10)
    assert 7 <= sum(time.slept) <= 7.1
    budget.fixed = share_of(10, starts_at=time.now + 12)
    with pytest.raises(ConnectorError, match="limit is used up"):
        await limits.before_notice(teams("b"), 10)


# Between the claim and the send


def begin_all(limits: SendingLimits, slots: Sequence[Slot]) -> list[Slot]:
    return [limits.begin(teams(f"{n}"), slot, 5) for n, slot in enumerate(slots)]


def granted_in_turn(limits: SendingLimits, time: Time, count: int) -> list[Slot]:
    granted = [limits.reserve(teams(f"{n}"), 60) for n in range(count)]
    confirmed = granted[:1]  # at once
    for number, slot in enumerate(granted[1:], 1):
        time.now += 1 / 49
        confirmed.append(limits.confirm(teams(f"{number}"), slot, 60))
    assert [slot.seconds for slot in confirmed] == [0] * count
    return confirmed


def test_messages_that_were_held_up_together_go_one_by_one(
    limits: SendingLimits, time: Time
) -> None:
    held_up = granted_in_turn(limits, time, 16)
    time.now += 3
    begun = begin_all(limits, held_up)
    seconds = [slot.seconds for slot in begun]
    # A tenth of a second may come together: else a busy machine would wait for nothing.
    assert seconds == pytest.approx([0] * 5 + [n / 49 for n in range(5, 16)])
    time.now += seconds[-1]
    assert limits.begin(teams("15"), begun[-1], 5).seconds == 0


def test_a_slot_that_comes_next_waits_for_those_that_were_held_up(
    limits: SendingLimits, time: Time
) -> None:
    held_up = granted_in_turn(limits, time, 16)
    following = limits.reserve(teams("next"), 60)
    time.now += following.seconds
    begin_all(limits, held_up)
    assert limits.confirm(teams("next"), following, 60).seconds > 5 / 49


def test_who_begins_after_an_even_delay_goes_at_once(limits: SendingLimits, time: Time) -> None:
    slot = limits.reserve(teams("0"), 60)
    time.now += 0.5  # storage is slow, always
    for number in range(100):
        assert limits.begin(teams(f"{number}"), slot, 5).seconds == 0
        time.now += 1 / 49


def test_processes_that_storage_held_up_do_not_go_on_together(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    budget.fixed = share_of(1)
    slot = limits.reserve(teams(), 60)
    time.now += slot.seconds
    slot = limits.confirm(teams(), slot, 60)
    time.now += 3
    begun = limits.begin(teams(), slot, 5)
    assert 0 < begun.seconds < 1


def test_who_stands_still_while_it_waits_to_begin_gets_another_place(
    limits: SendingLimits, time: Time
) -> None:
    held_up = granted_in_turn(limits, time, 16)
    time.now += 3
    begun = begin_all(limits, held_up)
    time.now += 3
    assert [slot.seconds for slot in begin_all(limits, begun)][-1] > 5 / 49


def test_nothing_begins_once_its_share_has_ended(
    limits: SendingLimits, time: Time, budget: FixedBudget
) -> None:
    budget.fixed = share_of(10, ends_at=time.now + 5)
    slot = limits.reserve(teams(), 60)
    time.now += slot.seconds
    assert limits.begin(teams(), slot, 5).granted
    time.now += 6
    assert not limits.begin(teams(), slot, 5).granted
    budget.fixed = share_of(10, starts_at=time.now + 1)
    assert not limits.begin(teams(), slot, 5).granted
    budget.fixed = None
    assert not limits.begin(teams(), slot, 5).granted


def test_nothing_begins_while_its_channel_takes_nothing(limits: SendingLimits, time: Time) -> None:
    slot = limits.reserve(teams(), 60)
    answered(limits, teams(), refusal(429, retry_after_seconds=2))
    assert not limits.begin(teams(), slot, 5).granted
    time.now += 2
    assert limits.begin(teams(), slot, 5).granted
    fail(limits, teams(), 5)
    assert not limits.begin(teams(), slot, 5).granted


def test_who_would_wait_too_long_to_begin_is_told_later_and_takes_no_place(
    limits: SendingLimits, time: Time
) -> None:
    held_up = granted_in_turn(limits, time, 16)
    time.now += 3
    begin_all(limits, held_up)
    assert not limits.begin(teams("late"), held_up[-1], 0.1).granted
    time.now += 16 / 49
    assert limits.begin(teams("late"), held_up[-1], 0.1).seconds == 0
