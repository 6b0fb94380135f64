"""The promises, checked at every write and every send as it takes effect, and at the end.

Times here are true time in seconds; what a process stamps is off by its clock's skew.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Literal, NoReturn

from shared.authors import Effect
from shared.domain.conversation import Conversation, Status
from shared.domain.identity import Address, ConversationKey, life_of, user_hash
from shared.domain.placeholders import is_placeholder
from shared.domain.store import ConversationStore
from shared.domain.times import CLOCK_SKEW, LEASE, MAX_GUARD
from shared.domain.timing import NEVER, TIME_TO_ANSWER, OwnTiming, QuietHours
from shared.expiry.expire import GIVE_UP_AFTER
from shared.state import codec
from shared.storage.table_rows import dead_letter_of, joined_chunks, user_named_in
from shared.turn.turn import RESEND_AFTER
from tests import texts
from tests.bot_in_memory import CHANNEL
from tests.simulation.loop import Origin
from tests.simulation.world import (
    Request,
    ScheduledTable,
    Violation,
    World,
    at_once,
    id_given_to,
)

SKEW = CLOCK_SKEW.total_seconds()
# A turn that has not committed so long after it wrote the user's row counts as crashed.
COMMIT_TAKES_AT_MOST = 30
# From the send of a notice to its settling. A sweep that is held up for longer, between its last
# look at the lease and the end, cannot know that another took over.
UNDISTURBED = LEASE.total_seconds() / 2 - SKEW
# A turn whose timers go off later than this, or whose requests take longer, is held up: its
# heartbeat cannot be relied on.
PUNCTUAL_SECONDS = 5
# What comes before an answer.
_GREETINGS = (texts.WELCOME_BACK, texts.WELCOME_BACK_RESUMABLE, texts.RESUMED)
APOLOGIES = (texts.SOMETHING_WENT_WRONG, texts.TOO_MANY_AT_ONCE)


Act = Literal["word", "click", "refused", "reaction", "join", "resume"]
EFFECTS: dict[Act, Effect] = {
    "resume": Effect.OPENS,  # of its own session; a press that resumes nothing keeps one alive
    "word": Effect.OPENS,
    "click": Effect.OPENS,
    "reaction": Effect.KEEPS_ALIVE,
    "refused": Effect.NONE,
    "join": Effect.NONE,
}


@dataclass(frozen=True)
class TurnSpec:
    """One activity: who acts where, and in which bags the bot counts it ("c", "u", "p").

    Attributes:
        act: what it is; `EFFECTS` says what that does to a session.
        counts: whether the bot counts it and answers; otherwise it leaves nothing and is silent.
        ends: the bot ends the conversation with it.
        keeps: the bot keeps the id of its answer in each bag that it counts in.
        timeout: in seconds, the time that the bot gives the conversation with it; 0: none;
            infinite: it never expires.
        kept_for: so many seconds the bot keeps the conversation from then on; 0: it does not.
        copy_of: the turn whose activity the channel sends once more with this one.
        seconds: how long the bot thinks about it.
    """

    name: str
    user: str
    conversation: str
    bags: str = "cup"
    copy_of: str = ""
    seconds: float = 0
    act: Act = "word"
    counts: bool = True
    ends: bool = False
    keeps: bool = False
    timeout: float = 0
    kept_for: float = 0

    @property
    def expire_after(self) -> timedelta:
        """The same as the bot's code has it."""
        return NEVER if math.isinf(self.timeout) else timedelta(seconds=self.timeout)

    @property
    def effect(self) -> Effect:
        """What it promises for its session; the bot refuses an invoke that is "refused"."""
        return EFFECTS[self.act]

    @property
    def activity(self) -> str:
        """The id of its activity, and what the bot notes of it."""
        return self.copy_of or self.name


@dataclass
class Notice:
    """One send of a session's notice."""

    request: Request
    issued: float
    delivered: bool = False
    answered: bool = False
    status: int | None = None
    concluded: float | None = None  # when the sweep's next write of the conversation took effect

    @property
    def is_surely_delivered(self) -> bool:
        return self.status == 200


@dataclass
class Warned:
    """One send of a warning: of which stage, and of the silence that began when."""

    request: Request
    stage: int
    since: datetime | None
    status: int | None = None

    @property
    def is_surely_not_seen(self) -> bool:
        return self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass
class Session:
    """What is known of one session; a dead letter that is made due again begins it anew.

    Attributes:
        touched: when it was last kept alive, in true seconds.
        used: the same as its row has it.
        spoken: whether a user has spoken in it, or clicked something that the bot handled.
        kept: until then it is not over, as its row says.
        own: what the bot has set for its time, as its row says.
        begun_at: when it began, as its row says.
        told: its end was told, and its row stays for a while.
        kept_since: since when its row has said that it may be resumed; None: it does not say so.
    """

    id: str
    address: Address
    log: list[str]
    touched: float
    used: datetime
    began: float
    spoken: bool = False
    kept: datetime | None = None
    own: OwnTiming | None = None
    begun_at: datetime | None = None
    told: bool = False
    kept_since: float | None = None
    claimed: float | None = None
    outcome: str = ""
    notices: list[Notice] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)

    @property
    def life(self) -> str:
        return life_of(self.id)

    def keep_alive(self, at: float) -> None:
        self.touched = max(self.touched, at)


@dataclass
class Started:
    """A step of a turn: when, and in which session (None: one that is yet to begin)."""

    at: float
    session: Session | None
    received: float = 0


@dataclass
class Erased:
    """A user's erasure, from its request to the receipt (None: not yet)."""

    user: str
    began: float
    filed: bool = False  # whether a sweep goes on with it
    ended: float | None = None


@dataclass
class Commit:
    """What is known of a turn that was saved.

    Attributes:
        by: the turn; others may have been sent the same activity.
        ran_at: when its bot began, or earlier than that.
        at: when the write took effect.
        text: what it answers.
        is_remembered: whether the conversation's row is still there, with its recent turns.
        answers: who sent the answer, the turn itself or others with a copy of its activity.
    """

    by: Origin
    address: Address
    session: Session
    ran_at: float
    at: float
    text: str
    is_remembered: bool = True
    answers: set[str] = field(default_factory=set)


class Promises:
    """Watches one world.

    Args:
        world: the world.
        store: reads the tables as they are, at once.
        conversations: the table of conversations.
        users: the table of users.
        turns: the turns that may happen.
        expire_after: how long a conversation may be idle, by its name.
        notices_on: whether users are told.
        max_notice_age_seconds: they are told at most so long after the expiry; None: at any time.
        max_age: how long a session lasts at most; None: for ever.
        quiet_hours: in which nobody is told anything; None: there are none.
        resume_within: how long an expired session may be resumed.
        hooked: whether the author has a hook for each expiry.
    """

    def __init__(
        self,
        world: World,
        store: ConversationStore,
        conversations: ScheduledTable,
        users: ScheduledTable,
        turns: Sequence[TurnSpec],
        *,
        expire_after: Callable[[str], timedelta],
        notices_on: bool,
        max_notice_age_seconds: float | None = None,
        max_age: timedelta | None = None,
        quiet_hours: QuietHours | None = None,
        resume_within: timedelta = timedelta(0),
        hooked: bool = False,
    ) -> None:
        self._hooked = hooked
        self._hook_ran: set[str] = set()  # for which sessions
        self._resume_within = resume_within
        self._pressed: dict[str, str] = {}  # by turn, the session whose button it presses
        self._refused_presses: set[str] = set()  # turns that were told that they resume nothing
        self._max_age = max_age
        self._quiet_hours = quiet_hours
        self.sessions: dict[str, Session] = {}
        self._world = world
        self._store = store
        self._conversations = conversations
        self._users = users
        self._turns = {turn.name: turn for turn in turns}
        self.expire_after = expire_after  # the scenario may change it
        self._notices_on = notices_on
        self._max_notice_age_seconds = max_notice_age_seconds
        self._erasures: dict[str, Erased] = {}
        self._ending: dict[str, str] = {}  # by turn, what the bot says as it ends the conversation
        self._received: dict[str, float] = {}
        self._started: dict[str, Started] = {}
        self._first_ran: dict[str, float] = {}
        self._thinking: set[str] = set()
        self._commits: dict[str, list[Commit]] = {}  # by activity
        self._user_written: dict[str, list[Started]] = {}
        self._user_written_by: list[str] = []
        self._apologised: set[str] = set()
        self._said: Counter[tuple[str, str]] = Counter()
        self._stood_still: set[Address] = set()  # where a turn that began a session did
        self._failed_sends: set[str] = set()  # turns to which the channel did not answer 200
        self._before: dict[Address, Conversation | None] = {}
        self._letters: set[str] = set()  # the sessions of those that are about to go
        self._loaded: dict[Address, Conversation | None] = {}  # as last read
        self._tracked: dict[Address, Conversation] = {}  # the same without state
        # Of the warning that each task of a sweep has noted: its stage, and when the silence began.
        self._stages: dict[str, tuple[int, datetime]] = {}

    # Told by the bot and the scenario

    def received(self, turn: str) -> None:
        """The turn begins."""
        self._received[turn] = self._world.seconds

    def bot_runs(self, turn: str, log: Sequence[str]) -> None:
        """The bot begins, in the session whose turns so far are these."""
        session = self._latest(self._commits[log[-1]][-1].session) if log else None
        if self._turns[turn].act == "resume":
            session = None  # it opens one
        self._started[turn] = Started(self._world.seconds, session)
        self._first_ran.setdefault(turn, self._world.seconds)
        self._thinking.add(turn)

    def hook_runs(self, conversation: Conversation) -> None:
        """The author's code is told of an expiry, and sees the state as it was."""
        session = self.sessions[conversation.session]
        log = _unpacked(conversation.state).get("log", [])
        if not session.spoken:
            self._violated(f"a hook runs for {session.id}, and no user has said a word in it")
        # It was told already if a crash came between a state's end and its dead letter.
        if log != session.log and session.id not in self._hook_ran:
            self._violated(f"a hook sees {log} of {session.id}, whose log is {session.log}")
        self._hook_ran.add(session.id)

    def presses(self, turn: str) -> str:
        """The session whose button a turn presses: what there is to resume, or was lately."""
        spec = self._turns[turn]
        address = self._store.address(ConversationKey(CHANNEL, spec.conversation).hash)
        row = self._load(address)
        known = [each.id for each in self.sessions.values() if each.address == address]
        session = row.session if row else known[-1] if known else "nothing"
        if row and row.kept:
            session = row.kept.session
        self._pressed[turn] = session
        return session

    def _latest(self, session: Session) -> Session:
        """The last session of its life."""
        return [each for each in self.sessions.values() if each.life == session.life][-1]

    def bot_stops(self, turn: str) -> None:
        """The bot has said all that it has to say, or failed."""
        self._thinking.discard(turn)

    def bot_ends(self, turn: str, answer: str) -> None:
        """The bot ends the conversation, and says this."""
        self._ending[turn] = answer

    def erasure_begins(self, name: str, user: str) -> None:
        """Somebody asks for a user's erasure."""
        self._erasures[name] = Erased(user, self._world.seconds)

    def erasure_ends(self, name: str, user: str) -> None:
        """The receipt says that nothing is left."""
        del user
        self._erasures[name].ended = self._world.seconds

    def answered_request(self, turn: str, status: int) -> None:
        """The channel gets this answer, so it will not send the activity again."""
        spec = self._turns[turn]
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:  # how an invoke is apologised for
            self._apologised.add(turn)
        if spec.act == "reaction":
            self._reacted(spec)
        if not self._commits.get(spec.activity):
            return
        commit = self._commits[spec.activity][-1]
        row = self._load(commit.address)
        process = self._world.roots[turn][0].process
        is_late = self._received[turn] - commit.at >= RESEND_AFTER.total_seconds() + SKEW
        is_last = row is not None and self.sessions[row.session].log[-1:] == [spec.activity]
        if row and row.replies and is_last and is_late and process is not commit.by.process:
            self._violated(f"{turn} found an answer that nobody is known to have sent, and left it")

    def _reacted(self, spec: TurnSpec) -> None:
        """What a user does without a word keeps a session alive that was not over."""
        received = self._received[spec.name]
        for session in self.sessions.values():
            is_here = self._world.names[session.address.key] == spec.conversation
            is_alive = (
                session.began < received < session.touched + self._expire_after(session) - SKEW
            )
            if is_here and is_alive and not session.outcome and session.claimed is None:
                session.keep_alive(received)

    def swept(self, began: float) -> None:
        """A sweep that began then, after every retry, has come to its end, and all was well."""
        if any(erasure.ended is None for erasure in self._erasures.values()):
            return  # what the sweep finishes itself may be first; the next sweep sees to the rest
        for session in self.sessions.values():
            idle = began - session.touched
            is_over = session.outcome or session.told
            if not is_over and idle > self._expire_after(session) + 10:
                self._violated(f"session {session.id} is idle for {idle:g} s, and is not over")

    def edges(self) -> list[float]:
        """The moments at which most is at stake."""
        found = []
        for session in self.sessions.values():
            if session.outcome:
                continue
            if self._resume_within and session.claimed is not None:
                ends = session.claimed + self._resume_within.total_seconds()
                found += [ends - SKEW - 1, ends + SKEW + 1, ends + 60 + SKEW + 1]
            if session.claimed is None:
                stale = session.touched + self._expire_after(session)
                found += [stale - 1, stale + SKEW + 1.1]
            else:
                found += [session.claimed + LEASE.total_seconds() + offset for offset in (-20, 3)]
        if any(turn.copy_of for turn in self._turns.values()):
            for commits in self._commits.values():
                resend = commits[-1].at + RESEND_AFTER.total_seconds()
                found += [resend - SKEW - 1, resend + SKEW + 1]
        return found

    # Told by the world

    def before_write(self, request: Request) -> None:
        """Remember the rows that are about to be written."""
        self._before, self._letters = {}, set()
        if request.table is self._conversations:
            for operation in request.operations:
                row = operation.row
                if row.key.startswith("c|"):
                    address = Address(row.partition, row.key.removeprefix("c|"))
                    self._before[address] = self._load(address)
                is_there = (row.partition, row.key) in self._conversations.memory.rows
                if is_there and operation.kind == "delete" and row.key.startswith("x|"):
                    self._letters.add(row.key.split("|")[3])

    def after_write(self, request: Request, *, succeeded: bool) -> None:
        """Check what became of the rows."""
        for address, old in self._before.items():
            self._conclude(request)
            if succeeded:
                self._changed(request, old, self._load(address))
        if succeeded and self._resume_within:
            self._check_kept_states()
        if succeeded:
            for each in request.operations:
                columns = each.row.columns
                if each.row.key.startswith("d|") and columns.get("Warned"):
                    self._stages[request.task] = columns["Warned"], columns["WarnedSince"]
            erasure = self._erasures.get(request.origin.name)
            if erasure and any(each.row.key.startswith("d|") for each in request.operations):
                erasure.filed = True
            self._check_due_rows()
            for session in self._letters:
                self._letter_gone(self.sessions[session])

    def issued(self, request: Request) -> None:
        """A request is made; when it arrives, and what is answered, comes later."""
        turn = request.origin.name
        if request.kind == "send":
            self._sends(request)
        elif request.kind == "write" and request.table is self._users and turn in self._started:
            session, received = self._started[turn].session, self._received[turn]
            written = Started(self._world.seconds, session, received)
            activity = self._turns[turn].activity
            if any(commit.by.name == turn for commit in self._commits.get(activity, ())):
                return  # what comes after the commit is only the id of its answer
            self._user_written.setdefault(activity, []).append(written)
            self._user_written_by.append(activity)

    def _sends(self, request: Request) -> None:
        data = request.body.get("channelData") or {}
        self._check_quiet_hours(data)
        if "warnedSession" in data:
            self._warns(request, self.sessions[data["warnedSession"]])
            return
        if "expiredSession" in data:
            session = self.sessions.get(data["expiredSession"])
            if session is None or session.claimed is None:
                self._violated("a notice is sent for a session that is not expired")
            if not session.spoken:
                self._violated("a notice, and no user has said a word since the last one")
            self._check_age(session)
            session.notices.append(Notice(request, self._world.seconds))
            return
        turn, text = request.origin.name, str(request.body.get("text"))
        self._said[turn, text] += 1
        if self._said[turn, text] > 1:
            self._violated(f"{turn} says {text!r} twice")
        if not self._turns[turn].counts and text in _GREETINGS:
            return
        if text in (texts.RESUME_GONE, texts.STAYED):
            self._refuses_press(turn, text)
            return
        self._says(request, turn, text)

    def _says(self, request: Request, turn: str, text: str) -> None:
        commits = self._commits.get(self._turns[turn].activity, [])
        mine = [commit for commit in commits if commit.by.name == turn]
        if text in APOLOGIES:
            self._apologised.add(turn)
            if commits and commits[-1].is_remembered:
                self._violated(f"{turn} was committed, and asks to be sent again")
        elif not commits:
            self._violated(f"{turn} answers before it is committed")
        else:
            self._answers(request, (mine or commits)[-1], text)

    def _refuses_press(self, turn: str, text: str) -> None:
        """A press that resumes nothing is told the truth."""
        self._refused_presses.add(turn)
        pressed, received = self._pressed[turn], self._received[turn]
        lives = [each for each in self.sessions.values() if each.life == life_of(pressed)]
        if text == texts.STAYED:
            if not any(each.claimed is None or each.claimed > received - SKEW for each in lives):
                self._violated(f"{turn} is told that {pressed} goes on, and it does not")
            return
        for session in lives:
            until = self._kept_until(session)
            if (
                session.kept_since is not None
                and session.kept_since < received
                and until is not None
                and self._true(until) > self._world.seconds + 2 * SKEW
                and self._is_live_beside(session, received)
                and not self._erasures
            ):
                self._violated(f"{turn} is told that {pressed} is gone, and it is there")

    def _is_live_beside(self, kept: Session, received: float) -> bool:
        """Whether the session in its place, if there is one, is not over, too."""
        row = self._load(kept.address)
        if row is None or row.session == kept.id:
            return True
        here = self.sessions[row.session]
        return received < here.touched + self._expire_after(here) - SKEW

    def _kept_until(self, session: Session) -> datetime | None:
        """Until when its row says that it may be resumed."""
        row = self._load(session.address)
        if row is None:
            return None
        if row.kept and row.kept.session == session.id:
            return row.kept.until
        return row.resume_until if row.session == session.id else None

    def _warns(self, request: Request, session: Session) -> None:
        # By the row: a turn that is close to the expiry says when its bot began.
        used = max(session.touched, self._true(session.used))
        left = used + self._expire_after(session) - self._world.seconds
        if left < TIME_TO_ANSWER.total_seconds() - 2 * SKEW:
            self._violated(f"a warning leaves {left:g} s to answer")
        if not session.spoken:
            self._violated("a warning, and no user has said a word")
        stage, since = self._stages.get(request.task, (0, None))
        if not stage:
            self._violated("a warning is sent, and its work item does not say so")
        for earlier in session.warnings:
            is_same = (earlier.stage, earlier.since) == (stage, since)
            if is_same and not earlier.is_surely_not_seen:
                self._violated(f"warning {stage} comes twice in one silence")
        session.warnings.append(Warned(request, stage, since))

    def _check_quiet_hours(self, data: Mapping[str, Any]) -> None:
        """Nobody is told anything in them, but for what was on its way when they began.

        By a clock that is ahead they are over earlier, by one that is behind they begin later.
        """
        hours, now = self._quiet_hours, self._world.now
        began = now - timedelta(seconds=UNDISTURBED)
        moments = (now, now + CLOCK_SKEW, now - CLOCK_SKEW, began)
        if data and hours and all(hours.end_at(each, None) for each in moments):
            self._violated("somebody is told something in quiet hours")

    def _check_age(self, session: Session) -> None:
        limit = self._max_notice_age_seconds
        late = self._world.seconds - session.touched - self._expire_after(session)
        # It is looked at when the session is claimed; the notice goes within half a lease.
        if limit is not None and late > limit + LEASE.total_seconds() / 2 + 2 * SKEW:
            self._violated(f"a notice is sent {late:g} s late")

    def _answers(self, request: Request, commit: Commit, text: str) -> None:
        """A turn's answer is sent: by itself, or by one that was sent the same activity."""
        turn, first = request.origin, commit.by
        if text not in (*_GREETINGS, commit.text):
            self._violated(f"{turn.name} says {text!r}, and committed {commit.text!r}")
        commit.answers.add(turn.name)
        if turn.name == first.name:
            return
        if turn.process is first.process:
            self._violated(f"{turn.name} answers, and {first.name} of the same process does too")
        if self._world.seconds - commit.ran_at < RESEND_AFTER.total_seconds() - SKEW:
            self._violated(f"{turn.name} answers, and {first.name} has hardly begun to")
        if len(commit.answers - {first.name}) > 1:
            self._violated(f"{sorted(commit.answers)} all answer one activity")

    def delivered(self, request: Request) -> None:
        """A send arrived."""
        for notice in self._notices(request):
            notice.delivered = True

    def answered(self, request: Request, status: int | None) -> None:
        """The sender got this answer."""
        if status != HTTPStatus.OK:
            self._failed_sends.add(request.origin.name)
        for notice in self._notices(request):
            notice.answered = True
            notice.status = status
        for session in self.sessions.values():
            for warned in session.warnings:
                if warned.request is request:
                    warned.status = status

    # One conversation's row

    def _changed(
        self, request: Request, old: Conversation | None, new: Conversation | None
    ) -> None:
        source = self._resumed_by(new) if new else None
        if new and source:
            self._resumed(request, source, old, new)
            return
        if old is not None and (new is None or new.session != old.session):
            self._ended(request, old, replaced=new is not None)
        if new is None:
            if old is not None:
                self._forget_commits(old.address)
            return
        if old is None or new.session != old.session:
            if new.session in self._letters:
                self._replayed(self.sessions[new.session], old, new)
                return
            if new.session in self.sessions:
                self._violated(f"session {new.session} is back")
            self._begun(request, old, new)
        elif new.status is Status.ACTIVE:
            self._used(request, old, new)
        else:
            session = self.sessions[new.session]
            session.told = session.told or new.is_told
            if session.claimed is None:
                self._claimed(session, new)

    def _resumed_by(self, new: Conversation) -> Session | None:
        """The session that a new one goes on with, if there is one of the same life."""
        if new.session in self.sessions:
            return None
        life = [each for each in self.sessions.values() if each.life == new.life]
        return life[-1] if life else None

    def _resumed(
        self, request: Request, source: Session, old: Conversation | None, new: Conversation
    ) -> None:
        """A turn goes on with an expired session: in its own row, in time, and with its state."""
        turn, now = request.origin.name, self._world.seconds
        spec = self._turns.get(turn)
        if spec is None or spec.act != "resume" or new.status is not Status.ACTIVE:
            self._violated(f"{turn} resumes session {source.id}")
        if life_of(self._pressed[turn]) != source.life:
            self._violated(f"{turn} pressed {self._pressed[turn]}, and resumes {source.id}")
        if old is None:
            self._violated(f"{turn} resumes session {source.id}, whose row is gone")
        received = self._received[turn]
        kept = old.kept
        if old.session != source.id and not (kept and kept.session == source.id):
            self._violated(f"{turn} resumes {source.id} in the place of {old.session}")
        until = kept.until if kept and old.session != source.id else old.resume_until
        if until and self._true(until) < received - 2 * SKEW:
            self._violated(f"{turn} resumes {source.id}, which was kept until {until}")
        if old.session == source.id:
            self._check_replacement(request, source)
        else:  # the user gives up the one that has begun since
            self.sessions[old.session].outcome = "given up"
        source.outcome = source.outcome or "resumed"
        session = Session(
            new.session, new.address, source.log, received, new.last_accessed, now, spoken=True
        )
        session.own, session.begun_at = source.own, source.begun_at
        self.sessions[new.session] = session
        if now - received >= self._expire_after(session) - SKEW:
            self._stood_still.add(new.address)
        self._check_log(request, session, new)
        self._check_own(session, spec, new, is_commit=True)
        if new.quiet or new.kept or new.resume_until:
            self._violated(f"{turn} leaves quiet {new.quiet}, kept {new.kept} behind")

    def _check_kept_states(self) -> None:
        """What may be resumed is all there, until its time is over."""
        for session in self.sessions.values():
            if session.claimed is None and session.outcome not in ("", "superseded"):
                continue
            until = self._kept_until(session)
            if until is None:
                session.kept_since = None
                continue
            if session.kept_since is None:
                session.kept_since = self._world.seconds
            if self._world.now > until + CLOCK_SKEW or self._erasures:
                continue
            row = self._load(session.address)
            state = row.state if row and row.session == session.id else None
            if row and row.kept and row.kept.session == session.id:
                kept = at_once(self._store.load_kept(row))
                if kept is None and row.kept.bags:
                    continue  # its document has outlived its time: a sweep came late
                state = kept.state if kept else b""
            log = _unpacked(state).get("log", [])
            if log != session.log:
                self._violated(f"session {session.id} may be resumed, and its log is {log}")

    def _begun(self, request: Request, old: Conversation | None, new: Conversation) -> None:
        turn = request.origin.name
        now = self._world.seconds
        received = self._received.get(turn, now)
        session = Session(new.session, new.address, [], received, new.last_accessed, now)
        self.sessions[new.session] = session
        if now - received >= self._expire_after(session) - SKEW:
            self._stood_still.add(new.address)
        if turn not in self._turns:
            # An erasure stops the first turn of a conversation that its user's list has already.
            if old is not None or new.status is not Status.EXPIRED or new.state:
                self._violated(f"{turn} begins a session")
            session.claimed = now
        elif self._turns[turn].ends and not _unpacked(new.state):
            # The turn that ends a conversation is saved with the empty session that follows.
            self._commit(
                request, self.sessions[old.session] if old else session, self._ending[turn]
            )
            if not new.quiet:
                self._violated("a conversation that the bot has ended gets a notice")
        else:
            self._check_log(request, session, new)
            self._check_word(request, session, old, new)

    def _check_word(
        self, request: Request, session: Session, old: Conversation | None, new: Conversation
    ) -> None:
        """The row knows whether a user spoke in this session; only some acts keep it alive."""
        spec = self._turns[request.origin.name]
        is_commit = new.recent[-1:] != (old.recent[-1:] if old else ())
        self._check_own(session, spec, new, is_commit=is_commit)
        is_word = is_commit and spec.effect is Effect.OPENS and spec.act != "resume"
        if is_word and session.spoken and new.kept:
            self._violated(f"{spec.name} goes on, and {new.kept.session} may still be resumed")
        if is_word:
            session.spoken = True
        if new.quiet is session.spoken:
            self._violated(f"quiet: {new.quiet}, and a user has spoken: {session.spoken}")
        if spec.effect is not Effect.NONE:
            session.used = max(session.used, new.last_accessed)
        elif is_commit and new.last_accessed > session.used:
            self._violated(f"{spec.name} ({spec.act}) keeps the session alive")

    def _check_own(
        self, session: Session, spec: TurnSpec, new: Conversation, *, is_commit: bool
    ) -> None:
        """The time that the bot sets holds from its turn's commit on, until another one's."""
        own = session.own or OwnTiming()
        if is_commit and spec.timeout:
            own = replace(own, expire_after=spec.expire_after)
        now = new.own or OwnTiming()
        if is_commit and spec.kept_for:
            until = self._received[spec.name] + spec.kept_for - SKEW
            if now.keep_until is None or self._true(now.keep_until) < until:
                self._violated(f"{spec.name}: kept until {now.keep_until} only")
            own = replace(own, keep_until=now.keep_until)
        if own != now:
            self._violated(f"{spec.name}: the time is {now}, and the bot has set {own}")
        if session.begun_at not in (None, new.begun_at):
            self._violated(f"the session began at {session.begun_at}, and now {new.begun_at}")
        session.own = new.own
        session.begun_at = new.begun_at

    def _replayed(self, session: Session, old: Conversation | None, new: Conversation) -> None:
        if old is not None:
            self._violated("a dead letter takes a conversation's place")
        if new.status is not Status.EXPIRED or new.state:
            self._violated("a dead letter brings a conversation back to life")
        session.outcome = ""
        session.touched = session.claimed = self._world.seconds
        session.notices.clear()

    def _letter_gone(self, session: Session) -> None:
        """It was made due again, or the user is known to have been back."""
        if not session.outcome:
            return
        erased = {erasure.user for erasure in self._erasures.values()}
        if erased & {self._turns[name].user for name in session.log}:
            session.outcome = "erased"
            return
        later = [*self.sessions.values()]
        later = later[later.index(session) + 1 :]
        if not any(other.address == session.address for other in later):
            self._violated(f"the dead letter of session {session.id} is gone for no reason")
        session.outcome = "superseded"

    def _used(self, request: Request, old: Conversation, new: Conversation) -> None:
        session = self.sessions[new.session]
        if session.claimed is not None:
            self._violated("an expired session is active again")
        if request.origin.name not in self._turns:  # an erasure takes its user out
            if new.last_accessed != old.last_accessed or new.state != old.state:
                self._violated(f"{request.origin.name} uses a conversation")
            return
        spec = self._turns[request.origin.name]
        if new.last_accessed < old.last_accessed:
            self._violated("LastAccessed goes back")
        self._check_kept(session, new)
        self._check_log(request, session, new)
        self._check_word(request, session, old, new)
        if new.last_accessed > old.last_accessed and spec.effect is not Effect.NONE:
            session.keep_alive(self._received[spec.name])

    def _check_kept(self, session: Session, new: Conversation) -> None:
        """A turn that may not use the session keeps it alive, but not for long after."""
        if new.kept_until in (None, session.kept):
            return
        if new.kept_until > self._world.now + timedelta(seconds=2 * self._guard_of(session) + SKEW):
            self._violated(f"kept until {new.kept_until}")
        session.kept = new.kept_until

    def _forget_commits(self, address: Address) -> None:
        """The row is gone, and with it the ids of its recent turns."""
        for commits in self._commits.values():
            for commit in commits:
                if commit.address == address:
                    commit.is_remembered = False

    def _claimed(self, session: Session, new: Conversation) -> None:
        now = self._world.seconds
        if new.state and not (new.resume_until or self._hooked):
            self._violated("an expired conversation has state")
        if now - session.touched < self._expire_after(session):
            self._violated(f"expired while live: idle for {now - session.touched:g} s only")
        if session.kept and self._world.now < session.kept - CLOCK_SKEW:
            self._violated(f"expired, and it was to be kept until {session.kept}")
        for turn, started in self._started.items():
            age = now - self._received[turn]
            if (
                started.session is session
                and self._turns[turn].effect is not Effect.NONE
                and self._turns[turn].act != "resume"  # of a session that is over already
                and self._turns[turn].counts
                and not self._commits.get(self._turns[turn].activity)
                and not self._world.interrupted(turn)
                and (age < self._guard_of(session) or self._has_reliable_heartbeat(turn))
            ):
                self._violated(f"expired under {turn}, which is {age:g} s old")
        session.claimed = now

    def _has_reliable_heartbeat(self, turn: str) -> bool:
        is_faulted = any(task.partition(".")[0] == turn for task in self._world.faulted)
        return (
            turn in self._thinking
            and not is_faulted
            and self._started[turn].at - self._received[turn]
            < self._guard(self._turns[turn].conversation)
            and self._world.longest_wait(turn) < PUNCTUAL_SECONDS
        )

    def _ended(self, request: Request, old: Conversation, *, replaced: bool) -> None:
        session = self.sessions[old.session]
        writes_letter = any(each.row.key.startswith("x|") for each in request.operations)
        if replaced:
            self._check_replacement(request, session)
            session.outcome = "superseded"
        elif self._is_being_erased(session) and not writes_letter:
            session.outcome = "erased"
        elif session.claimed is None:
            self._violated("a conversation was deleted that is not expired")
        elif writes_letter:
            # By the row: a claim that took long to arrive is stamped with when it was sent.
            age = self._world.now - (old.expired_at or self._world.now)
            is_too_late = age >= GIVE_UP_AFTER - CLOCK_SKEW
            if not is_too_late and all(notice.status != 500 for notice in session.notices):
                self._violated("a dead letter, and the notice may be tried again")
            session.outcome = "dead-lettered"
        else:
            session.outcome = self._settled(request, session)

    def _check_replacement(self, request: Request, session: Session) -> None:
        spec = self._turns.get(request.origin.name)
        is_end = spec is not None and spec.ends
        idle = self._world.seconds - session.touched
        is_kept = session.kept is not None and self._world.now < session.kept - CLOCK_SKEW
        is_live = idle < self._expire_after(session) - SKEW or is_kept
        if not is_end and session.claimed is None and is_live:
            self._violated("a live session was replaced by another")

    def _settled(self, request: Request, session: Session) -> str:
        if any(notice.is_surely_delivered for notice in session.notices):
            return "notified"
        if any(notice.status == 403 for notice in session.notices):
            return "refused"
        if not (self._notices_on and session.spoken):
            return "silent"
        if not self._is_too_late(session):
            self._violated(f"settled by {request.task}, and the user was not told")
        return "too old"

    def _is_too_late(self, session: Session) -> bool:
        limit = self._max_notice_age_seconds
        late = self._world.seconds - session.touched - self._expire_after(session)
        return limit is not None and late > limit - 2 * SKEW

    def _is_being_erased(self, session: Session) -> bool:
        """Whether only users wrote in it whose erasure has begun."""
        erased = {
            erasure.user
            for erasure in self._erasures.values()
            if erasure.ended is None or session.began <= erasure.ended
        }
        writers = {self._turns[name].user for name in session.log}
        return bool(erased) and writers <= erased

    def _was_erased(self, activity: str, user: str) -> bool:
        """Whether an erasure of the user may have removed what this activity left."""
        commits = self._commits[activity]
        return any(
            erasure.user == user and (erasure.ended is None or commits[-1].at <= erasure.ended)
            for erasure in self._erasures.values()
        )

    def _must_be_erased(self, activity: str, user: str, at: float) -> bool:
        """Whether an erasure that had ended by then began after the activity was saved."""
        return any(
            erasure.user == user
            and erasure.ended is not None
            and erasure.ended < at
            and self._commits[activity][-1].at < erasure.began
            for erasure in self._erasures.values()
        )

    def _check_log(self, request: Request, session: Session, new: Conversation) -> None:
        state = _unpacked(new.state)
        log = state.get("log", [])
        turn = request.origin.name
        if log == session.log:
            return
        spec = self._turns[turn]
        if spec.ends:
            self._violated(f"{turn} ended the conversation, and its state is kept")
        if log != [*session.log, spec.activity]:
            self._violated(f"the session counted {session.log}, and now {log}")
        session.log = log
        if "p" in spec.bags:
            mine = [
                name
                for name in log
                if "p" in self._turns[name].bags and self._turns[name].user == spec.user
            ]
            kept = [
                name
                for name in mine
                if name == spec.activity or not self._was_erased(name, spec.user)
            ]
            seen = state["private"]
            # An erasure begins anew with what has come in meanwhile.
            if seen != mine[len(mine) - len(seen) :] or len(seen) < len(kept):
                self._violated(f"{turn} sees private {seen}, not {mine}")
        if "u" in spec.bags:
            self._check_user_log(turn, spec, state["user"])
        user = state["user"] if "u" in spec.bags else ()
        text = reply(spec.activity, log, user, state.get("private", ()))
        self._commit(request, session, text)

    def _commit(self, request: Request, session: Session, text: str) -> None:
        turn = request.origin.name
        spec = self._turns[turn]
        commits = self._commits.setdefault(spec.activity, [])
        # Once its conversation is expired and settled, nobody knows that it was taken.
        if commits and commits[-1].is_remembered:
            self._violated(f"{turn} counts twice")
        if spec.effect is not Effect.NONE:
            session.keep_alive(self._received[turn])
        # Which of its attempts this was cannot be told: an earlier one's write may be late.
        ran_at = self._first_ran[turn]
        commits.append(
            Commit(request.origin, session.address, session, ran_at, self._world.seconds, text)
        )

    def _check_user_log(self, turn: str, spec: TurnSpec, log: Sequence[str]) -> None:
        """The user's bag counts every committed turn of the user once.

        The exception (docs/protocol.md, "A turn"): one that stopped between its two writes
        counts, or is forgotten, once its session's fate can no longer be told.
        """
        committed = Counter(
            {
                name: len(commits)
                for name, commits in self._commits.items()
                if "u" in self._turns[name].bags and self._turns[name].user == spec.user
            }
        )
        now = self._started[turn].at
        for name in set(log) & set(committed):
            if self._must_be_erased(name, spec.user, now):
                self._violated(f"{turn} finds {name} in the user's bag, which was erased: {log}")
        missing = {
            name for name in set(committed) - set(log) if not self._was_erased(name, spec.user)
        }
        # One that was taken for crashed, and counted, may commit after others have gone on.
        if missing and not self._was_held_up(spec.activity):
            self._violated(f"{turn} commits user state without {sorted(missing)}: {log}")
        for name in Counter(log) - committed - Counter([spec.activity]):
            if self._wrote_alone(name):  # nobody took it for crashed, and counted it
                self._violated(f"the user's bag counts {name} and its copy: {log}")
            if not committed[name] and not self._may_count(name):
                self._violated(f"{turn} counts {name}, which was not committed: {log}")
            if committed[name] and not self._was_held_up(name):
                self._violated(f"the user's bag counts {name} too often: {log}")

    def _wrote_alone(self, activity: str) -> bool:
        """Whether no other activity has written a user's row since this one did."""
        writers = list(self._user_written_by)
        return set(writers[writers.index(activity) :]) == {activity}

    def _was_held_up(self, activity: str) -> bool:
        """Whether it was taken for crashed, and counted, before it tried again."""
        written = self._user_written.get(activity, ())
        return any(self._may_be_taken_for_crashed(activity, each) for each in written)

    def _may_count(self, activity: str) -> bool:
        return any(
            (each.session is None or bool(each.session.outcome))
            and self._may_be_taken_for_crashed(activity, each)
            for each in self._user_written.get(activity, ())
        )

    def _may_be_taken_for_crashed(self, activity: str, written: Started) -> bool:
        now = self._world.seconds
        conversation = self._turns[activity].conversation
        expire_after = patience = self.expire_after(conversation).total_seconds()
        if written.session is None:
            patience = min(COMMIT_TAKES_AT_MOST, expire_after)
        elif self._turns[activity].effect is Effect.NONE:
            patience = self._guard(conversation)  # its session may be over by then
        # It took longer than a session lasts without a message: too long for promises.
        outlived_a_session = now - written.received >= expire_after - SKEW
        return now - written.at >= patience - SKEW or outlived_a_session

    # How long conversations may be idle

    def _expire_after(self, session: Session) -> float:
        """How long after its last use it is over, in true seconds."""
        after = self.expire_after(self._world.names[session.address.key])
        own = session.own or OwnTiming()
        lasts = (own.expire_after or after).total_seconds()
        if own.keep_until:
            lasts = max(lasts, self._true(own.keep_until) - session.touched)
        if self._max_age and session.begun_at:
            ends = self._true(session.begun_at + self._max_age) - session.touched
            lasts = min(lasts, max(ends, MAX_GUARD.total_seconds()))
        return lasts

    def _true(self, moment: datetime) -> float:
        return self._world.seconds + (moment - self._world.now).total_seconds()

    def _guard_of(self, session: Session) -> float:
        own = session.own and session.own.expire_after
        if own:
            return min(MAX_GUARD, own / 4).total_seconds()
        return self._guard(self._world.names[session.address.key])

    def _guard(self, conversation: str) -> float:
        return min(MAX_GUARD, self.expire_after(conversation) / 4).total_seconds()

    # Due rows and notices

    def _check_due_rows(self) -> None:
        rows = self._conversations.memory.rows
        due: dict[tuple[str, ...], int] = {}
        for key in sorted(key for _, key in rows if key.startswith("d|")):
            _, seconds, *whose = key.split("|")
            due.setdefault(tuple(whose), int(seconds))
        for partition, key in rows:
            if key.startswith("c|"):
                conversation = self._tracking(partition, key)
                due_at = due.get((conversation.address.key, conversation.session))
                if due_at is None:
                    self._violated(f"session {conversation.session} has no due row")
                if conversation.status is Status.ACTIVE:
                    self._check_early_enough(conversation, due_at)
                self._check_lists(conversation)

    def _check_early_enough(self, conversation: Conversation, due_seconds: int) -> None:
        """If the bot has set its time, its work item comes up by then."""
        session = self.sessions[conversation.session]
        touched = max(session.touched, self._true(conversation.last_accessed))
        ends = touched + self._expire_after(session) + 2 * SKEW
        if session.kept:
            ends = max(ends, self._true(session.kept) + SKEW)
        due = self._true(datetime.fromtimestamp(due_seconds, UTC))
        if session.own and due > ends:
            self._violated(f"session {session.id} is looked at {due - ends:g} s late")

    def _check_lists(self, conversation: Conversation) -> None:
        """Whoever wrote in a live session finds it in the list that an erasure goes by."""
        if conversation.status is Status.ACTIVE:
            log = self.sessions[conversation.session].log
            users = {
                self._turns[name].user
                for name in log
                if self._joins(self._turns[name])
                and not self._was_erased(name, self._turns[name].user)
            }
            rows = self._users.memory.rows
            listed = sum(key == f"in|{conversation.address.key}" for _, key in rows)
            # Between two writes of a turn that stands still for longer than a session, another
            # session may be settled, with its entry.
            if listed < len(users) and conversation.address not in self._stood_still:
                self._violated(f"{listed} users are listed with it, and {users} wrote in it")

    @staticmethod
    def _joins(spec: TurnSpec) -> bool:
        """What is kept of one who did not act is the conversation's, and says nothing of them."""
        return spec.effect is not Effect.NONE or "p" in spec.bags

    def _conclude(self, request: Request) -> None:
        for session in self.sessions.values():
            for notice in session.notices:
                if notice.concluded is None and notice.request.task == request.task:
                    notice.concluded = self._world.seconds

    def _notices(self, request: Request) -> list[Notice]:
        return [
            notice
            for session in self.sessions.values()
            for notice in session.notices
            if notice.request is request
        ]

    def _check_repeats(self, session: Session) -> None:
        delivered = [notice for notice in session.notices if notice.delivered]
        for notice in delivered[:-1]:
            if notice.request.answer.cancelled():  # by a sweep that did not wait for its own sends
                excused = not notice.request.origin.process.alive
            else:
                held_up = (notice.concluded or self._world.seconds) - notice.issued
                excused = (
                    not notice.is_surely_delivered
                    or not notice.request.origin.process.alive
                    or notice.request.task in self._world.faulted
                    or held_up >= UNDISTURBED
                    or bool(self._erasures)  # one that takes its user out of the row comes between
                )
            if not excused:
                self._violated(f"{len(delivered)} notices of session {session.id}, for no reason")

    # The end

    def check_ids(self) -> None:
        """State holds the channel's id of each answer, unless something has failed on the way."""
        rows = [*self._conversations.memory.rows.values(), *self._users.memory.rows.values()]
        over = {session.id for session in self.sessions.values() if session.claimed is not None}
        over |= {session.id for session in self.sessions.values() if session.outcome}
        for row in rows:
            is_private = row.key.startswith("p|") and row.columns.get("SessionId") not in over
            if is_private or row.key.startswith("c|") or row.key == "user":
                self._check_ids_in(joined_chunks(row, "State"))

    def _check_ids_in(self, state: bytes) -> None:
        for activity, id_ in _unpacked(state).get("ids", {}).items():
            answers = {
                id_given_to(text) for turn, text in self._said if text.startswith(f"{activity}: ")
            }
            if id_ not in answers and not is_placeholder(id_):
                self._violated(f"state holds {id_!r} for the id of {activity}")
            by = {commit.by.name for commit in self._commits.get(activity, ())}
            went_wrong = self._failed_sends | {
                task.partition(".")[0] for task in self._world.faulted
            }
            excused = any(turn in went_wrong or self._world.interrupted(turn) for turn in by)
            if is_placeholder(id_) and by and not excused:
                self._violated(f"state holds a placeholder for the id of {activity}")

    def check_end(self) -> None:
        """Every session is over and told of, every message answered, no row left."""
        for session in self.sessions.values():
            if not session.outcome:
                self._violated(f"session {session.id} never ended")
            self._check_repeats(session)
            self._check_hook(session)
        for turn in self._received:
            commits = self._commits.get(self._turns[turn].activity, [])
            if self._world.interrupted(turn) or not self._turns[turn].counts:
                continue
            if turn in self._apologised or turn in self._refused_presses:
                continue
            if not commits:
                self._violated(f"{turn} was lost")
            mine = [commit for commit in commits if commit.by.name == turn]
            # Of two writes one may have been late: too late for all that was said of the first. And
            # once its conversation is gone, the activity may be taken anew, by a copy too.
            counted = mine if not mine or mine[-1].is_remembered else commits
            if mine and not any(commit.answers for commit in counted):
                self._violated(f"{turn} was committed, and never answered")
        self._check_dead_letters()
        self._check_erasures()
        left = [key for _, key in self._conversations.memory.rows if key[:2] in ("c|", "d|", "p|")]
        if left:
            self._violated(f"rows are left: {left}")

    def _check_hook(self, session: Session) -> None:
        """The author's code was told of each expiry; the other outcomes are none."""
        is_expiry = session.outcome not in ("given up", "resumed", "erased")
        is_known = session.id in self._hook_ran or self._latest(session) is not session
        if self._hooked and session.spoken and session.log and is_expiry and not is_known:
            self._violated(f"no hook has run for {session.id}: {session.outcome}")

    def _check_erasures(self) -> None:
        """Nothing is left of what a user had saved before their erasure began."""
        for erasure in self._erasures.values():
            if not erasure.filed:
                continue
            row = at_once(self._store.load_user(user_hash(CHANNEL, erasure.user)))
            log = _unpacked(row.state).get("log", []) if row else []
            for activity in log:
                commits = self._commits.get(activity)
                if commits and commits[-1].at < erasure.began:
                    self._violated(f"{activity} is kept of {erasure.user}, who was erased")

    def _check_dead_letters(self) -> None:
        """One for each session that ended so, and its user's list leads to it."""
        letters = [each for each in self._conversations.memory.rows if each[1].startswith("x|")]
        dead = [each.id for each in self.sessions.values() if each.outcome == "dead-lettered"]
        if sorted(key.split("|")[3] for _, key in letters) != sorted(dead):
            self._violated(f"dead letters {letters} of sessions {dead}")
        listed = {key for _, key in self._users.memory.rows}
        for partition, letter in letters:
            if not user_named_in(
                dead_letter_of(self._conversations.memory.rows[partition, letter])
            ):
                continue  # an erasure took its user out
            _, expired, key, session = letter.split("|")
            if f"in|{key}|{expired}|{session}" not in listed:
                self._violated(f"no user's list leads to {letter}")

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many sessions ended how."""
        return Counter(session.outcome for session in self.sessions.values())

    def _load(self, address: Address) -> Conversation | None:
        """The row, read once for each version of it; anew where its state is in a document."""
        row = self._conversations.memory.rows.get((address.shard, f"c|{address.key}"))
        found = self._loaded.get(address)
        if found is None or row is None or found.etag != row.etag or found.bags is not None:
            found = self._loaded[address] = at_once(self._store.load(address))
        return found

    def _tracking(self, partition: str, key: str) -> Conversation:
        """The row, with or without its state, read once for each version of it."""
        address = Address(partition, key.removeprefix("c|"))
        etag = self._conversations.memory.rows[partition, key].etag
        for found in (self._tracked.get(address), self._loaded.get(address)):
            if found is not None and found.etag == etag:
                return found
        read: Conversation = at_once(self._store.load_tracking(address))
        self._tracked[address] = read
        return read

    def _violated(self, what: str) -> NoReturn:
        self._world.broken = Violation(what)
        raise self._world.broken


def reply(turn: str, log: Sequence[str], user: Sequence[str], private: Sequence[str]) -> str:
    """What the bot says: how much it has counted in each bag."""
    return f"{turn}: {len(log)} {len(user)} {len(private)}"


def _unpacked(state: bytes | None) -> Mapping[str, Any]:
    return codec.unpack(state) if state else {}
