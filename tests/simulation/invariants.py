"""The promises, checked at every write and every send as it takes effect, and at the end.

Times here are true time in seconds; what a process stamps is off by its clock's skew.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn

from shared import notices
from shared.conversations import (
    CLOCK_SKEW,
    LEASE,
    MAX_GUARD,
    Address,
    Conversation,
    ConversationStore,
    Status,
)
from shared.storage import codec
from shared.sweep import GIVE_UP_AFTER
from tests.simulation.world import Request, ScheduledTable, Violation, World, at_once

SKEW = CLOCK_SKEW.total_seconds()
# A turn that has not committed so long after it wrote the user's row counts as crashed.
COMMIT_TAKES_AT_MOST = 30
# From the send of a notice to its settling. A sweep that is held up for longer, between its last
# look at the lease and the end, cannot know that another took over.
UNDISTURBED = LEASE.total_seconds() / 2 - SKEW
APOLOGIES = (notices.SOMETHING_WENT_WRONG, notices.TOO_MANY_AT_ONCE)


@dataclass(frozen=True)
class TurnSpec:
    """One message: who writes where, and in which bags the bot counts it ("c", "u", "p")."""

    name: str
    user: str
    conversation: str
    bags: str = "cup"


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
class Session:
    """What is known of one session."""

    id: str
    log: list[str]
    touched: float
    claimed: float | None = None
    outcome: str = ""
    notices: list[Notice] = field(default_factory=list)


@dataclass
class Started:
    """A step of a turn: when, and in which session (None: one that is yet to begin)."""

    at: float
    session: Session | None


class Promises:
    """Watches one world.

    Args:
        world: the world.
        store: reads the tables as they are, at once.
        conversations: the table of conversations.
        users: the table of users.
        turns: the turns that may happen.
        expire_after: how long a conversation may be idle.
        notices_on: whether users are told.
    """

    def __init__(
        self,
        world: World,
        store: ConversationStore,
        conversations: ScheduledTable,
        users: ScheduledTable,
        turns: Sequence[TurnSpec],
        *,
        expire_after: timedelta,
        notices_on: bool,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self._world = world
        self._store = store
        self._conversations = conversations
        self._users = users
        self._turns = {turn.name: turn for turn in turns}
        self._expire_after = expire_after.total_seconds()
        self._guard = min(MAX_GUARD, expire_after / 4).total_seconds()
        self._notices_on = notices_on
        self._received: dict[str, float] = {}
        self._started: dict[str, Started] = {}
        self._committed: dict[str, Session] = {}
        self._numbers: dict[str, str] = {}
        self._user_written: dict[str, list[Started]] = {}
        self._said: Counter[tuple[str, str]] = Counter()
        self._before: dict[Address, Conversation | None] = {}

    # Told by the bot and the scenario

    def received(self, turn: str) -> None:
        """The turn begins."""
        self._received[turn] = self._world.seconds

    def bot_runs(self, turn: str, log: Sequence[str]) -> None:
        """The bot begins, in the session whose turns so far are these."""
        session = self._committed[log[-1]] if log else None
        self._started[turn] = Started(self._world.seconds, session)

    def edges(self) -> list[float]:
        """The moments at which most is at stake."""
        found = []
        for session in self.sessions.values():
            if session.outcome:
                continue
            if session.claimed is None:
                stale = session.touched + self._expire_after
                found += [stale - 1, stale + SKEW + 1.1]
            else:
                found += [session.claimed + LEASE.total_seconds() + offset for offset in (-20, 3)]
        return found

    # Told by the world

    def before_write(self, request: Request) -> None:
        """Remember the rows that are about to be written."""
        self._before = {}
        if request.table is self._conversations:
            for operation in request.operations:
                row = operation.row
                if row.key.startswith("c|"):
                    address = Address(row.partition, row.key.removeprefix("c|"))
                    self._before[address] = self._load(address)

    def after_write(self, request: Request, *, succeeded: bool) -> None:
        """Check what became of the rows."""
        for address, old in self._before.items():
            self._conclude(request)
            if succeeded:
                self._changed(request, old, self._load(address))
        if succeeded:
            self._check_due_rows()

    def issued(self, request: Request) -> None:
        """A request is made; when it arrives, and what is answered, comes later."""
        turn = request.origin.name
        if request.kind == "send":
            self._sends(request)
        elif request.kind == "write" and request.table is self._users and turn in self._started:
            written = Started(self._world.seconds, self._started[turn].session)
            self._user_written.setdefault(turn, []).append(written)

    def _sends(self, request: Request) -> None:
        data = request.body.get("channelData") or {}
        if "expiredSession" in data:
            session = self.sessions.get(data["expiredSession"])
            if session is None or session.claimed is None:
                self._violated("a notice is sent for a session that is not expired")
            session.notices.append(Notice(request, self._world.seconds))
            return
        turn, text = request.origin.name, str(request.body.get("text"))
        self._said[turn, text] += 1
        is_committed = turn in self._committed
        if self._said[turn, text] > 1:
            self._violated(f"{turn} says {text!r} twice")
        if text in APOLOGIES:
            if is_committed:
                self._violated(f"{turn} was committed, and asks to be sent again")
        elif not is_committed:
            self._violated(f"{turn} answers before it is committed")
        elif text != notices.WELCOME_BACK and text != self._numbers[turn]:
            self._violated(f"{turn} says {text!r}, and committed {self._numbers[turn]!r}")

    def delivered(self, request: Request) -> None:
        """A send arrived."""
        for notice in self._notices(request):
            notice.delivered = True

    def answered(self, request: Request, status: int | None) -> None:
        """The sender got this answer."""
        for notice in self._notices(request):
            notice.answered = True
            notice.status = status

    # One conversation's row

    def _changed(
        self, request: Request, old: Conversation | None, new: Conversation | None
    ) -> None:
        if old is not None and (new is None or new.session != old.session):
            self._ended(request, old, replaced=new is not None)
        if new is None:
            return
        if old is None or new.session != old.session:
            if new.session in self.sessions:
                self._violated(f"session {new.session} is back")
            received = self._received[request.origin.name]
            session = self.sessions[new.session] = Session(new.session, [], received)
            self._check_log(request, session, new)
        else:
            session = self.sessions[new.session]
            if new.status is Status.ACTIVE:
                if session.claimed is not None:
                    self._violated("an expired session is active again")
                if new.last_accessed < old.last_accessed:
                    self._violated("LastAccessed goes back")
                self._check_log(request, session, new)
                if new.last_accessed > old.last_accessed:
                    session.touched = max(
                        session.touched, self._received.get(request.origin.name, 0)
                    )
            elif session.claimed is None:
                self._claimed(session, new)

    def _claimed(self, session: Session, new: Conversation) -> None:
        now = self._world.seconds
        if new.state:
            self._violated("an expired conversation has state")
        if now - session.touched < self._expire_after:
            self._violated(f"expired while live: idle for {now - session.touched:g} s only")
        for turn, started in self._started.items():
            is_running = turn not in self._committed and not self._world.interrupted(turn)
            age = now - self._received[turn]
            if is_running and started.session is session and age < self._guard:
                self._violated(f"expired under {turn}, which is {age:g} s old")
        session.claimed = now

    def _ended(self, request: Request, old: Conversation, *, replaced: bool) -> None:
        session = self.sessions[old.session]
        now = self._world.seconds
        if replaced:
            if session.claimed is None and now - session.touched < self._expire_after - SKEW:
                self._violated("a live session was replaced by another")
            session.outcome = "superseded"
        elif session.claimed is None:
            self._violated("a conversation was deleted that is not expired")
        elif any(each.row.key.startswith("x|") for each in request.operations):
            too_late = now - session.claimed >= GIVE_UP_AFTER.total_seconds() - SKEW
            if not too_late and all(notice.status != 500 for notice in session.notices):
                self._violated("a dead letter, and the notice may be tried again")
            session.outcome = "dead-lettered"
        elif any(notice.is_surely_delivered for notice in session.notices):
            session.outcome = "notified"
        elif any(notice.status == 403 for notice in session.notices):
            session.outcome = "refused"
        elif not self._notices_on:
            session.outcome = "silent"
        else:
            self._violated(f"settled by {request.task}, and the user was not told")

    def _check_log(self, request: Request, session: Session, new: Conversation) -> None:
        state = _unpacked(new.state)
        log = state.get("log", [])
        turn = request.origin.name
        if log == session.log:
            return
        if log != [*session.log, turn]:
            self._violated(f"the session counted {session.log}, and now {log}")
        if turn in self._committed and not self._outlived_a_session(turn):
            self._violated(f"{turn} counts twice")
        spec = self._turns[turn]
        session.log = log
        session.touched = max(session.touched, self._received[turn])
        if "p" in spec.bags:
            mine = [
                name
                for name in log
                if "p" in self._turns[name].bags and self._turns[name].user == spec.user
            ]
            if state["private"] != mine:
                self._violated(f"{turn} sees private {state['private']}, not {mine}")
        if "u" in spec.bags:
            self._check_user_log(turn, spec, state["user"])
        self._committed[turn] = session
        self._numbers[turn] = reply(
            turn, log, state["user"] if "u" in spec.bags else (), state.get("private", ())
        )

    def _check_user_log(self, turn: str, spec: TurnSpec, log: Sequence[str]) -> None:
        """The user's bag counts every committed turn of the user once.

        The exception (docs/architecture.md, "A turn"): one that stopped between its two writes
        counts, or is forgotten, once its session's fate can no longer be told.
        """
        committed = {
            name
            for name in self._committed
            if "u" in self._turns[name].bags and self._turns[name].user == spec.user
        }
        missing = committed - set(log)
        # One that was taken for crashed, and counted, may commit after others have gone on.
        if missing and not self._was_held_up(turn):
            self._violated(f"{turn} commits user state without {sorted(missing)}: {log}")
        for name in set(log) - committed - {turn}:
            if not self._may_count(name):
                self._violated(f"{turn} counts {name}, which was not committed: {log}")
        twice = {name for name, times in Counter(log).items() if times > 1}
        if any(not self._was_held_up(name) for name in twice):
            self._violated(f"the user's bag counts {sorted(twice)} twice: {log}")

    def _was_held_up(self, turn: str) -> bool:
        """Whether it was taken for crashed, and counted, before it tried again."""
        return any(
            self._may_be_taken_for_crashed(turn, each) for each in self._user_written.get(turn, ())
        )

    def _may_count(self, turn: str) -> bool:
        return any(
            (each.session is None or bool(each.session.outcome))
            and self._may_be_taken_for_crashed(turn, each)
            for each in self._user_written.get(turn, ())
        )

    def _may_be_taken_for_crashed(self, turn: str, written: Started) -> bool:
        patience = COMMIT_TAKES_AT_MOST if written.session is None else self._expire_after
        age = self._world.seconds - written.at
        return age >= patience - SKEW or self._outlived_a_session(turn)

    def _outlived_a_session(self, turn: str) -> bool:
        """Whether it took longer than a session lasts without a message: too long for promises."""
        return self._world.seconds - self._received[turn] >= self._expire_after - SKEW

    # Due rows and notices

    def _check_due_rows(self) -> None:
        rows = self._conversations.memory.rows
        due = {tuple(key.split("|")[2:]) for _, key in rows if key.startswith("d|")}
        for partition, key in rows:
            if key.startswith("c|"):
                conversation = self._load(Address(partition, key.removeprefix("c|")))
                assert conversation is not None
                if (conversation.address.key, conversation.session) not in due:
                    self._violated(f"session {conversation.session} has no due row")
                self._check_lists(conversation)

    def _check_lists(self, conversation: Conversation) -> None:
        """Whoever wrote in a live session finds it in the list that an erasure goes by."""
        if conversation.status is Status.ACTIVE:
            log = self.sessions[conversation.session].log
            users = {self._turns[name].user for name in log}
            rows = self._users.memory.rows
            listed = sum(key == f"in|{conversation.address.key}" for _, key in rows)
            if listed < len(users):
                self._violated(f"{listed} users are listed with it, and {users} wrote in it")

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
                )
            if not excused:
                self._violated(f"{len(delivered)} notices of session {session.id}, for no reason")

    # The end

    def check_end(self) -> None:
        """Every session is over and told of, every message answered, no row left."""
        for session in self.sessions.values():
            if not session.outcome:
                self._violated(f"session {session.id} never ended")
            self._check_repeats(session)
        for turn in self._received:
            apologised = any(self._said[turn, text] for text in APOLOGIES)
            if turn not in self._committed and not self._world.interrupted(turn) and not apologised:
                self._violated(f"{turn} was lost")
        self._check_dead_letters()
        left = [key for _, key in self._conversations.memory.rows if key[:2] in ("c|", "d|", "p|")]
        if left:
            self._violated(f"rows are left: {left}")

    def _check_dead_letters(self) -> None:
        """One for each session that ended so, and its user's list leads to it."""
        letters = [key for _, key in self._conversations.memory.rows if key.startswith("x|")]
        dead = [each.id for each in self.sessions.values() if each.outcome == "dead-lettered"]
        if sorted(key.split("|")[3] for key in letters) != sorted(dead):
            self._violated(f"dead letters {letters} of sessions {dead}")
        listed = {key for _, key in self._users.memory.rows}
        for letter in letters:
            _, expired, key, session = letter.split("|")
            if f"in|{key}|{expired}|{session}" not in listed:
                self._violated(f"no user's list leads to {letter}")

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many sessions ended how."""
        return Counter(session.outcome for session in self.sessions.values())

    def _load(self, address: Address) -> Conversation | None:
        conversation: Conversation | None = at_once(self._store.load(address))
        return conversation

    def _violated(self, what: str) -> NoReturn:
        self._world.broken = Violation(what)
        raise self._world.broken


def reply(turn: str, log: Sequence[str], user: Sequence[str], private: Sequence[str]) -> str:
    """What the bot says: how much it has counted in each bag."""
    return f"{turn}: {len(log)} {len(user)} {len(private)}"


def _unpacked(state: bytes | None) -> Mapping[str, Any]:
    return codec.unpack(state) if state else {}
