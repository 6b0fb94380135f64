"""One conversation and its session: when it is stale, and its next states. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.identity import (
    Address,
    ConversationKey,
    life_of,
    new_session_id,
    resumed_session_id,
)
from shared.domain.reference import Reference
from shared.domain.times import CLOCK_SKEW, LEASE, MAX_GUARD, STAYS_LONGER, due_seconds
from shared.domain.timing import FAR_FUTURE, TIME_TO_ANSWER, OwnTiming, Timing
from shared.domain.values import replace
from shared.domain.work import DueRow

# A conversation's row names this many of its users. Each further one who changes user state gets a
# row of their own, so that a turn costs the same in a group of any size.
USERS_IN_ROW = 8

# A conversation that never becomes stale is looked at so often, so that each has a due row.
_LOOKED_AT_EVERY = timedelta(days=30)


class Status(StrEnum):
    """A conversation is active, or expired with its notice not yet settled."""

    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Participant:
    """A conversation's entry for a user who wrote in it.

    `writer` is the turn whose write of the user's state belongs to this session, if any.
    `index_etag` is the version of the row that lists the conversation with the user. With the
    timeout of its turn the session lasted at least until `lasts_until`; only an entry in a row of
    its own knows that.
    """

    writer: str = ""
    index_etag: str = ""
    lasts_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class TakenTurn:
    """A turn that was taken: the hash of its activity's id (empty: it had none) and its write."""

    activity: str
    writer: str


@dataclass(frozen=True, slots=True)
class PrivateState:
    """One user's private bag in one conversation, packed; it counts for its session only.

    `version` changes with each change.
    """

    user: str
    state: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Bags:
    """A session's bags, if they are in a document instead of its row; `session` is its life.

    `private` are those of its users, by their hash. `token` tells the store how new a copy of the
    document must be. `written_at` is when the document was last written, `users` are those it says
    it is about; None and empty: it was not read.
    """

    id: str
    session: str
    state: bytes = b""
    private: Mapping[str, PrivateState] = field(default_factory=dict)
    token: str = ""
    written_at: datetime | None = None
    users: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class KeptSession:
    """An expired session that may be resumed although another one has begun in its place.

    Its state lies in a row of its own, or in a document.

    Attributes:
        session: its id.
        until: it may be resumed until then.
        state: its state, packed; None: not read.
        state_version: see `Conversation`.
        has_private: whether it may have private bags.
        private_place: see `Conversation`.
        own: what the bot's code has set for its time.
        begun_at: when it began, if that matters.
        bags: the stored ones, if they are in a document.
    """

    session: str
    until: datetime
    state: bytes | None = None
    state_version: str = ""
    has_private: bool = False
    private_place: str = ""
    own: OwnTiming | None = None
    begun_at: datetime | None = None
    bags: Bags | None = None

    @property
    def life(self) -> str:
        """The life that it belongs to; see `life_of`."""
        return life_of(self.session)

    @property
    def stays_until(self) -> datetime:
        """Until then its state is there."""
        return self.until + STAYS_LONGER

    def is_to_go(self, now: datetime) -> bool:
        """Whether its state has to go with the write that gives it up.

        Later a sweep deletes its row. Nothing but that write deletes its document.
        """
        return self.bags is not None or self.until >= now


@dataclass(frozen=True)  # without slots it is copied much faster: `shared.domain.values`
class Conversation:
    """One conversation's row: tracking, and the packed state its dialogs left.

    `etag` is empty for a row that was never stored. `state` is None if it was not read;
    `state_version` changes with it. `users` wrote in this session, by their hash. `recent` are the
    last turns, which outlive a session. `replies` are those of the very last turn, packed, unless
    they are known to be sent; `trace` is its span, if it was traced. `quiet`: no user has spoken in
    this session, so it ends without a notice. `kept_until`: the session is not over before,
    whatever becomes of the turn that said so. `moved`: a notice was refused at the address that the
    channel gave, and another address replaced it. `own` is what the bot's code has set for its
    time. `begun_at` is when its session began, and `time_zone` its user's, if that matters.
    `resume_until`: it is expired, its state is still in the row, and it may be resumed until then.
    `kept` is the session before, which may be resumed in place of this one. `private_place` says
    where private bags are, because those of the session before stand at the other place. `bags`
    are the stored ones, if they are in a document. `own_rows` are entries of further users, which
    the next save writes as rows of their own; `has_own_rows`: there may be such rows.
    """

    address: Address
    session: str
    last_accessed: datetime
    status: Status = Status.ACTIVE
    readable_key: str = ""
    reference: Reference | None = None
    locale: str | None = None
    state: bytes | None = None
    state_version: str = ""
    recent: tuple["TakenTurn", ...] = ()
    replies: bytes = b""
    trace: str = ""
    has_private: bool = False
    users: Mapping[str, Participant] = field(default_factory=dict)
    expired_at: datetime | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    moved: bool = False
    quiet: bool = False
    kept_until: datetime | None = None
    own: OwnTiming | None = None
    begun_at: datetime | None = None
    time_zone: str | None = None
    resume_until: datetime | None = None
    kept: KeptSession | None = None
    private_place: str = ""
    own_rows: Mapping[str, Participant] = field(default_factory=dict)
    has_own_rows: bool = False
    bags: Bags | None = field(default=None, compare=False)
    etag: str = ""

    @classmethod
    def begun(cls, key: ConversationKey, address: Address, at: datetime) -> "Conversation":
        """A new session that begins now, with nothing in it and nothing stored."""
        return cls(
            address=address,
            session=new_session_id(),
            last_accessed=at,
            readable_key=f"{key.channel_id}|{key.conversation_id}"[:1000],
            state=b"",
        )

    @property
    def life(self) -> str:
        """The life that its session belongs to; see `life_of`."""
        return life_of(self.session)

    def goes_on_with(self, kept: KeptSession | None) -> bool:
        """Whether its session has resumed this one."""
        return kept is not None and kept.life == self.life

    def deadline(self, timing: Timing) -> datetime:
        """When it becomes stale, unless it is used before."""
        deadline = timing.deadline(self.last_accessed)
        if self.own and self.own.keep_until:
            deadline = max(deadline, self.own.keep_until)
        if timing.max_age and self.begun_at:
            # Never in the middle of an exchange: in its first pause after that.
            pause = self.last_accessed + MAX_GUARD
            deadline = min(deadline, max(self.begun_at + timing.max_age, pause))
        return self._not_before_kept_until(deadline)

    def _not_before_kept_until(self, moment: datetime) -> datetime:
        return max(moment, self.kept_until) if self.kept_until else moment

    def writes_count_until(self, timing: Timing) -> datetime:
        """Its row has to be there until then, if it names a write of a user's state.

        Before that time, a row that is gone means that the write was never committed: a session
        lasts so long at least. One that ends sooner, by `own` or `max_age`, leaves its row.

        Args:
            timing: of the policy, without `own`.
        """
        return self._not_before_kept_until(timing.deadline(self.last_accessed))

    @property
    def has_user_writes(self) -> bool:
        """Whether it names a write of a user's state, or a row of its own may."""
        return self.has_own_rows or any(each.writer for each in self.users.values())

    def ends_by_age(self, timing: Timing) -> bool:
        """Whether its greatest age ends it, and not its silence."""
        return self.deadline(timing) < self.deadline(replace(timing, max_age=None))

    def quiet_hours_end(self, now: datetime, timing: Timing) -> datetime | None:
        """When its users may be told something again; None: now."""
        hours = timing.quiet_hours
        return hours.end_at(now, self.time_zone) if hours else None

    def steps(self, timing: Timing) -> Sequence[datetime]:
        """When its users are warned, and then its deadline."""
        deadline = self.deadline(timing)
        if deadline == FAR_FUTURE:
            return [deadline]
        not_before = self.last_accessed + TIME_TO_ANSWER
        warnings = (deadline - each for each in timing.warnings)
        return [*(each for each in warnings if each >= not_before), deadline]

    def due(self, timing: Timing, warned: int = 0) -> int:
        """Its next step after so many warnings, in Unix seconds, as in due rows."""
        return due_seconds(_looked_at(self._step(timing, warned), self.last_accessed))

    def _step(self, timing: Timing, warned: int) -> datetime:
        steps = self.steps(timing)
        return steps[min(warned, len(steps) - 1)]

    def warned(self, *rows: DueRow) -> int:
        """How many warnings there were since it was last used, as its work items say."""
        return max(
            (row.warned for row in rows if row.warned_since == self.last_accessed), default=0
        )

    def moved_on(self, row: DueRow, read_at: datetime, timing: Timing, warned: int) -> DueRow:
        """Its work item at its next step, after so many warnings.

        Who is back after `read_at`, when this row was read, must be warned in time, too. So it is
        never later than such a user's first step.
        """
        due = due_seconds(_looked_at(self._step(timing, warned), read_at))
        if warned:
            due = min(due, self.used_at(read_at).due(timing))
        since = self.last_accessed if warned else None
        return replace(row, due_seconds=due, warned=warned, warned_since=since)

    def is_stale(self, now: datetime, timing: Timing) -> bool:
        """Whether its deadline is reached, or it is expired already.

        Source: "Expire a conversation" (Bot Framework documentation): the boundary is inclusive.
        """
        return self.status is Status.EXPIRED or now >= self.deadline(timing)

    @property
    def is_replayed(self) -> bool:
        """Whether it was made of a dead letter, which does not know its session's turns."""
        return self.expired_at is not None and self.expired_at <= self.last_accessed

    @property
    def concerns_hooks(self) -> bool:
        """Whether the author's code is told of its end.

        Not if no user has spoken. Nor if it was made of a dead letter: that has no state, and the
        author's code was told before.
        """
        return self.reference is not None and not self.quiet and not self.is_replayed

    def needs_guard(self, now: datetime, timing: Timing) -> bool:
        """Whether its expiry is so close that a sweep might come before the turn's commit."""
        return self.guard_begins(timing) <= now

    def guard_begins(self, timing: Timing) -> datetime:
        """From when on `needs_guard` is true."""
        return self.deadline(timing) - timing.guard

    def used_at(self, at: datetime) -> "Conversation":
        """The row after somebody used the session."""
        return replace(self, last_accessed=max(self.last_accessed, at))

    def kept_alive(self, now: datetime, timing: Timing) -> "Conversation":
        """The row while a turn runs of which nobody knows yet whether it uses the session."""
        return replace(self, kept_until=now + timing.keeps_for_now)

    def after_its_end(self, at: datetime) -> "Conversation":
        """The row after bot or client ended the conversation: a new, quiet session.

        Users' changes of their own state still count, because this turn's commit names them.
        """
        return replace(
            self,
            session=new_session_id(),
            last_accessed=at,
            status=Status.ACTIVE,
            state=b"",
            state_version="",
            has_private=False,
            expired_at=None,
            lease_until=None,
            attempts=0,
            quiet=True,
            kept_until=None,
            own=None,
            begun_at=None,
            kept=None,
            # If a kept session has the document, it goes with this write, too.
            bags=self.bags or (self.kept.bags if self.kept else None),
        )

    def resumable_until(self, now: datetime, timing: Timing) -> datetime | None:
        """Until when it may be resumed, if it expires now; None: not at all.

        No longer than its greatest age, and not if it has left no state.
        """
        has_state = bool(self.state_version) or self.has_private
        if not timing.resume_within or self.quiet or not has_state or self.ends_by_age(timing):
            return None
        until = now + timing.resume_within
        if timing.max_age and self.begun_at:
            until = min(until, self.begun_at + timing.max_age)
        return until if until > now else None

    def as_kept(self, now: datetime, timing: Timing) -> KeptSession | None:
        """What is left of this session, which is over, for one that begins now; None: nothing."""
        is_expired = self.status is Status.EXPIRED
        until = self.resume_until if is_expired else self.resumable_until(now, timing)
        if until is None or until < now:
            return None
        return KeptSession(
            session=self.session,
            until=until,
            state=self.state,
            state_version=self.state_version,
            has_private=self.has_private,
            private_place=self.private_place,
            own=self.own,
            begun_at=self.begun_at,
            bags=self.bags,
        )

    def keeping(self, kept: KeptSession | None) -> "Conversation":
        """This new session, beside one that may be resumed in its place."""
        if kept is None:
            return self
        # A conversation has one row for each user's private bag; the bags of both must stay.
        return replace(self, kept=kept, bags=None, private_place=_other_than(kept.private_place))

    def at_other_place(self) -> "Conversation":
        """It with the place where private bags may lie that a session before has left."""
        return replace(self, bags=None, private_place=_other_than(self.private_place))

    def resumed(self, kept: KeptSession, at: datetime) -> "Conversation":
        """The row after its user has resumed that session, its own or the one before it.

        Its id is new: a sweep may still hold a work item of the old one.
        """
        return replace(
            self,
            session=resumed_session_id(kept.session),
            last_accessed=max(self.last_accessed, at),
            status=Status.ACTIVE,
            state=kept.state,
            state_version=kept.state_version,
            has_private=kept.has_private,
            private_place=kept.private_place,
            replies=b"",
            own=kept.own,
            begun_at=kept.begun_at,
            bags=kept.bags,
            quiet=False,
            kept_until=None,
            expired_at=None,
            lease_until=None,
            attempts=0,
            resume_until=None,
            kept=None,
        )

    def succeeding(
        self, ended: "Conversation", timing: Timing, *, is_kept: bool = False
    ) -> "Conversation":
        """This new session instead of one that has ended, with the data that outlive it.

        Args:
            ended: the one before.
            timing: of the policy, without what its bot's code has set.
            is_kept: whether it may still be resumed; then its users' changes have to count.
        """
        # A sweep that settles an expired row removes the entries in its users' lists. And users'
        # changes of their own state belong to the session that has ended, unless that was early.
        is_listed = ended.status is Status.ACTIVE or ended.is_told or ended.resume_until is not None
        counts_until = ended.writes_count_until(timing) + CLOCK_SKEW
        still_count = is_kept or self.last_accessed < counts_until
        users = {
            user: Participant(
                writer=each.writer if still_count else "",
                index_etag=each.index_etag if is_listed else "",
            )
            for user, each in ended.users.items()
        }
        return replace(
            self,
            recent=ended.recent,
            users={user: each for user, each in users.items() if each != Participant()},
            has_own_rows=ended.has_own_rows,
            bags=ended.bags,
            etag=ended.etag,
        )

    def is_personal(self, user: str) -> bool:
        """Whether only the bot and this user (by hash) are in it."""
        where = self.reference
        is_alone = set(self.users) <= {user} and not self.has_own_rows
        return where is not None and not where.is_group and is_alone

    def has_place_for(self, user: str, users_in_row: int) -> bool:
        """Whether the row itself names this user, or may still do so."""
        return user in self.users or len(self.users) < users_in_row

    def joined_by(self, user: str, entry: Participant | None, users_in_row: int) -> "Conversation":
        """The row after a turn of this user, with their new entry, if there is one.

        If the row has no place for the user, it is a group's, whatever the channel says: its notice
        goes to all, and words to one member do not stay.
        """
        if self.has_place_for(user, users_in_row):
            return replace(self, users={**self.users, user: entry}) if entry else self
        return replace(
            self,
            reference=self.reference and replace(self.reference, user=None),
            replies=b"",
            own_rows={user: entry} if entry else {},
            has_own_rows=True,
        )

    def claimed(
        self, now: datetime, timing: Timing | None = None, *, keeps_state: bool = False
    ) -> "Conversation":
        """The row after a sweep's claim: expired, and leased to that sweep.

        Its state is gone, but for one that may be resumed: then it stays as it is in the row.

        Args:
            now: an aware time.
            timing: what holds for it; None: it may not be resumed.
            keeps_state: its state stays until its end is told, because a hook reads it.
        """
        resume_until = self.resume_until
        if self.status is Status.ACTIVE:
            resume_until = self.resumable_until(now, timing) if timing else None
        elif resume_until and resume_until + STAYS_LONGER <= now and not keeps_state:
            resume_until = None
        claimed = replace(
            self,
            status=Status.EXPIRED,
            resume_until=resume_until,
            expired_at=self.expired_at or now,
            lease_until=now + LEASE,
            attempts=self.attempts + 1,
            kept=None,
        )
        return claimed if resume_until or keeps_state else claimed.without_state()

    def without_state(self) -> "Conversation":
        """The expired row that can be resumed no more."""
        return replace(self, resume_until=None, state=b"", state_version="", replies=b"")

    def told(self, until: datetime) -> "Conversation":
        """The expired row after its end was told; it stays until then."""
        told = replace(self, lease_until=until, quiet=True, attempts=0)
        return told if self.resume_until else replace(told.without_state(), has_private=False)

    @property
    def is_told(self) -> bool:
        """Whether its end was told: its row stays for writes that it names, or to be resumed."""
        return self.status is Status.EXPIRED and self.quiet and not self.attempts

    def moved_to(self, service_url: str) -> "Conversation":
        """The row with another address to send to; done at most once in a session."""
        reference = self.reference and replace(self.reference, service_url=service_url)
        return replace(self, reference=reference, moved=True)


def _other_than(private_place: str) -> str:
    """The other of the two places for private bags."""
    return "" if private_place else "2"


def _looked_at(step: datetime, now: datetime) -> datetime:
    return min(step, now + _LOOKED_AT_EVERY) if step == FAR_FUTURE else step
