"""Who counts, and what part of a lane each member has."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from shared.domain.budget import (
    Member,
    Moment,
    Rows,
    Told,
    View,
    cards_of,
    pool_of,
    row_seconds,
    seen,
)

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TEAMS = (50, 1.0)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def moment(seconds: float) -> Moment:
    """A process whose monotonic clock is 1,000 at NOW."""
    return Moment(at(seconds), 1000 + seconds)


def look(
    *members: Member, before: View | None = None, told: Sequence[Told] = (), answered: float = 0.2
) -> View | None:
    """A look of the process `me` at NOW."""
    return seen(
        before,
        "me",
        "my replies",
        Rows(members, told),
        began=moment(0),
        asked=moment(0.1),
        answered=1000 + answered,
    )


def mine(until: float = 5) -> Member:
    return Member("me", at(until), "1")


def test_who_is_alone_sends_at_once_until_the_time_in_its_row() -> None:
    view = look(mine())
    assert view
    assert (view.names, view.starts_at, view.ends_at) == (["me"], 1000.2, 1005)


def test_what_its_row_shows_counts_and_not_what_it_meant_to_write() -> None:
    view = look(mine(until=2))
    assert view
    assert view.ends_at == 1002


def test_who_joins_waits_until_every_view_without_it_has_ended() -> None:
    view = look(mine(), Member("other", at(4)), Member("another", at(-1)))
    assert view
    assert sorted(view.names) == ["another", "me", "other"]
    assert view.starts_at == 1006


def test_who_stopped_more_than_the_clocks_differ_ago_does_not_count() -> None:
    view = look(mine(), Member("gone", at(-2)), Member("perhaps not", at(-1.9)))
    assert view
    assert sorted(view.names) == ["me", "perhaps not"]


def test_who_goes_on_in_time_waits_for_nobody_who_came_meanwhile() -> None:
    before = look(mine())
    view = look(mine(), Member("other", at(4)), before=before)
    assert view
    assert view.starts_at == 1000.2
    assert len(view.names) == 2


def test_who_comes_back_too_late_joins_again() -> None:
    before = look(mine(until=0.15))
    view = look(mine(), Member("other", at(4)), before=before)
    assert view
    assert view.starts_at == 1006


def test_with_another_name_it_joins_again() -> None:
    before = View("my old name", ["my old name"], {}, 0, 2000)
    view = look(mine(), Member("my old name", at(3)), before=before)
    assert view
    assert view.starts_at == 1005


def test_without_its_own_row_the_view_stays_and_ends() -> None:
    before = look(mine())
    assert look(Member("other", at(4)), before=before) is before


def test_a_member_of_a_newer_version_counts_and_is_waited_for_as_long_as_any_can_send() -> None:
    view = look(mine(), Member("newer", None))
    assert view
    assert len(view.names) == 2
    assert view.starts_at == pytest.approx(1000.1 + 15 + 2 + 2)


def test_a_row_that_no_clock_can_have_written_counts_for_nobody() -> None:
    view = look(mine(), Member("broken", at(3600)))
    assert view
    assert view.names == ["me"]


def test_nobody_is_waited_for_longer_than_a_row_is_good_for() -> None:
    view = look(mine(), Member("ahead", at(100)))
    assert view
    assert view.starts_at == pytest.approx(1000.1 + 15 + 2 + 2)


def test_replies_that_others_told_add_up_until_they_are_old() -> None:
    told = [
        Told("a", at(5), {"lane": 4.0}),
        Told("b", at(-1), {"lane": 3.0, "other lane": 1.0}),
        Told("too old", at(-3), {"lane": 100.0}),
        Told("my replies", at(5), {"lane": 100.0}),
    ]
    view = look(mine(), told=told)
    assert view
    assert view.replies == {"lane": 7.0, "other lane": 1.0}


@pytest.mark.parametrize(
    ("limit", "replies", "cards"),
    [
        (TEAMS, 0, 39),
        (TEAMS, 4, 39),  # within what is left anyway
        (TEAMS, 10, 32),
        (TEAMS, 30, 7),
        (TEAMS, 100, 1),
        ((10, 1.0), 0, 7),
        ((10, 1.0), 4, 4),
        ((1, 1.0), 0, 1),
        ((1800, 3600.0), 0, 1404),
    ],
)
def test_what_is_left_for_replies_is_a_part_of_the_lanes_own_limit(
    limit: tuple[int, float], replies: float, cards: int
) -> None:
    assert pool_of(limit, replies) == cards


@pytest.mark.parametrize(("pool", "members"), list(product((1, 7, 39), (1, 2, 5, 38, 39, 40, 64))))
def test_all_cards_are_dealt_and_none_twice(pool: int, members: int) -> None:
    assert sum(cards_of(pool, rank, members) for rank in range(members)) == pool


def test_a_part_never_grows_if_more_are_seen() -> None:
    for pool, members in product((1, 7, 39), range(1, 70)):
        for rank in range(members):
            part = cards_of(pool, rank, members)
            assert cards_of(pool, rank, members + 1) <= part
            assert cards_of(pool, rank + 1, members + 1) <= part


def test_views_with_whoever_else_give_no_more_than_there_is() -> None:
    """Three send; each sees all three, and perhaps some more who do not send any more."""
    senders = ["a", "b", "c"]
    seen_by = [[], ["d"], ["e"], ["d", "e"]]
    for number, more in enumerate(product(seen_by, repeat=3)):
        lane = f"lane {number}"
        views = [
            View(name, [*senders, *also], {}, 0, 1)
            for name, also in zip(senders, more, strict=True)
        ]
        assert sum(view.share(lane, TEAMS).per_second for view in views) <= 39


def test_with_more_members_than_cards_others_go_without_in_another_lane() -> None:
    names = [f"process {n}" for n in range(64)]
    views = [View(name, names, {}, 0, 1) for name in names]
    without = [
        {view.name for view in views if view.share(lane, TEAMS).per_second == 0}
        for lane in ("one", "another")
    ]
    assert [len(each) for each in without] == [25, 25]
    assert without[0] != without[1]
    assert views[0].share("one", TEAMS).of_each == pytest.approx(39 / 64)


def test_a_share_is_by_the_windows_own_seconds() -> None:
    share = View("me", ["me"], {}, 0, 1).share("lane", (20, 2.0))
    assert (share.per_second, share.is_whole) == (15 / 2, True)


@pytest.mark.parametrize(("rows", "seconds"), [(0, 4), (20, 4), (50, 10), (75, 15), (500, 15)])
def test_rows_are_good_for_longer_the_more_there_are(rows: int, seconds: float) -> None:
    members = [Member(f"{n}", NOW) for n in range(rows)]
    assert row_seconds(Rows(members)) == seconds


def test_rows_of_the_dead_lapse_and_those_of_newer_versions_do_not() -> None:
    old, fresh = Member("old", at(-601)), Member("fresh", at(-599))
    told = Told("old too", at(-601), {})
    rows = Rows([old, fresh, Member("newer", None)], [told])
    assert list(rows.lapsed(NOW)) == [old, told]
