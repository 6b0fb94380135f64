"""Ways to break the product, one rule each. The simulation must catch them all.

Most rewrite requests between the store and the table, so they say what goes over the wire and
survive a change of the code above. "The turn" and "the sweep" are told apart by who asks.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from botbuilder.schema import Activity

import shared.connector.turn_messages
import shared.domain.conversation
import shared.expiry.expire
import shared.expiry.sweep
import shared.expiry.warn
import shared.turn.turn
from shared.authors import Effect
from shared.connector.adapter import BufferingAdapter
from shared.domain.control import Control
from shared.domain.conversation import Conversation
from shared.domain.errors import ConflictError
from shared.domain.identity import Address
from shared.domain.policy import Policy
from shared.domain.times import CLOCK_SKEW
from shared.domain.timing import Timing
from shared.domain.users import UserRow
from shared.domain.work import DueRow
from shared.expiry.expire import Expirer
from shared.expiry.fan_out import FanOut
from shared.expiry.notice import NoticeResult, SendNotice, Slot, Verdict
from shared.expiry.sweep import Sweep
from shared.expiry.warn import Warner
from shared.state.kept_ids import put_ids
from shared.state.turn_state import TurnState
from shared.state.user_row import UserRows
from shared.storage.table_rows import due_row
from shared.storage.table_store import CONTROL, TableStore
from shared.storage.tables import Operation, Row, Table
from shared.turn.effects import Effects
from shared.turn.turn import Turns, _Attempts
from tests.simulation.loop import ORIGIN
from tests.simulation.scenario import (
    Kind,
    Mutant,
    Simulation,
    anything,
    bots_own_turns,
    changed_timeout,
    changed_timeout_of_users,
    copies,
    dead_letters,
    ended,
    erased_and_back,
    erasures,
    fanned_out,
    hooked,
    kept_ids,
    long_turns,
    messages_at_expiry,
    no_words,
    old_notices,
    old_sessions,
    own_timing,
    paced_notices,
    quiet_hours,
    replayed_as_the_user_returns,
    resumed,
    resumed_as_it_is_given_up,
    resumed_for_long,
    short_timeout,
    slow_sweeps,
    two_types,
    user_returns,
    warnings,
    writes_in_doubt,
)
from tests.simulation.world import ScheduledTable

Operations = Sequence[Operation]
Write = Callable[[Operations], Awaitable[list[str]]]


class _Between:
    """Stands between the store and a table; `change` does the write in its own way."""

    def __init__(
        self,
        table: ScheduledTable,
        simulation: Simulation,
        change: "Change",
        hidden_columns: str,
    ) -> None:
        self.table = table
        self.simulation = simulation
        self.remembered: dict[str, Any] = {}
        self._change = change
        self._hidden = hidden_columns

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        if key.startswith("c|"):  # so begins an attempt
            self.simulation.bot_is_done.discard(ORIGIN.get().name)
        row = await self.table.get(partition, key, select)
        return row and self._without_hidden(row)

    async def write(self, operations: Operations) -> list[str]:
        return await self._change(self, operations)

    async def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        async for page in self.table.query(partition, first, last, select, page_size):
            yield page

    def _without_hidden(self, row: Row) -> Row:
        if not self._hidden:
            return row
        kept = {n: value for n, value in row.columns.items() if not n.startswith(self._hidden)}
        return replace(row, columns=kept)

    # What a rewrite needs to know

    @property
    def is_turn(self) -> bool:
        return not (self.is_sweep or self.is_replay)

    @property
    def is_sweep(self) -> bool:
        return "sweep" in ORIGIN.get().name

    @property
    def is_replay(self) -> bool:
        return "replay" in ORIGIN.get().name

    @property
    def bot_is_done(self) -> bool:
        """Whether this attempt's bot has run, so that what comes is the commit."""
        return ORIGIN.get().name in self.simulation.bot_is_done

    def stored(self, row: Row) -> Mapping[str, Any]:
        """The row's columns as they are now."""
        found = self.table.memory.rows.get((row.partition, row.key))
        return found.columns if found else {}

    def due_rows(self, row: Row) -> list[Operation]:
        """Deletions of the conversation's due rows."""
        key = row.key.removeprefix("c|")
        return [
            Operation("delete", Row(partition, found))
            for partition, found in self.table.memory.rows
            if found.startswith("d|") and key in found
        ]


Change = Callable[[_Between, Operations], Awaitable[list[str]]]


async def _as_it_is(on: _Between, operations: Operations) -> list[str]:
    return await on.table.write(operations)


@dataclass
class OnTheWire(Mutant):
    """Rewrites the writes of one table, or hides columns from those who read it."""

    which: str = "conversations"
    change: Change = _as_it_is
    hidden_columns: str = ""

    def table(self, table: ScheduledTable, simulation: Simulation) -> Table:
        if table.name != self.which:
            return table
        return _Between(table, simulation, self.change, self.hidden_columns)


@dataclass
class InTheCode(Mutant):
    """Replaces an attribute of the product."""

    target: Any
    name: str
    value: Any

    @contextmanager
    def applied(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.target, self.name, self.value)
            yield


# If-Match


def unconditional(when: Callable[[_Between, Operation], bool]) -> Change:
    """Drop the If-Match of the writes it is said of."""

    def dropped(on: _Between, operation: Operation) -> Operation:
        if not operation.row.etag or not when(on, operation):
            return operation
        kind = "upsert" if operation.kind == "replace" else operation.kind
        return Operation(kind, replace(operation.row, etag=""))

    async def change(on: _Between, operations: Operations) -> list[str]:
        return await on.table.write([dropped(on, operation) for operation in operations])

    return change


def _is_conversation(operation: Operation) -> bool:
    return operation.row.key.startswith("c|")


def _is_claim(on: _Between, operation: Operation) -> bool:
    return (
        on.is_sweep
        and _is_conversation(operation)
        and operation.kind == "replace"
        and on.stored(operation.row).get("ExpiredAt") is None
    )


def _is_settling(on: _Between, operation: Operation) -> bool:
    return on.is_sweep and _is_conversation(operation) and operation.kind == "delete"


# Orders and transactions


def in_steps(when: Callable[[_Between, Operations], bool], *, reverse: bool = False) -> Change:
    """Make several writes of what is to be one transaction."""

    async def change(on: _Between, operations: Operations) -> list[str]:
        if len(operations) == 1 or not when(on, operations):
            return await on.table.write(operations)
        steps = list(operations)[:: -1 if reverse else 1]
        etags = [(await on.table.write([step]))[0] for step in steps]
        return etags[:: -1 if reverse else 1]

    return change


async def due_row_deleted_first(on: _Between, operations: Operations) -> list[str]:
    if _is_settling(on, operations[0]):
        for deletion in on.due_rows(operations[0].row):
            await on.table.write([deletion])
    return await on.table.write(operations)


async def due_row_deleted_on_refused_claim(on: _Between, operations: Operations) -> list[str]:
    is_claim = any(_is_claim(on, operation) for operation in operations)
    try:
        return await on.table.write(operations)
    except ConflictError:
        if is_claim:
            for deletion in on.due_rows(operations[0].row):
                await on.table.write([deletion])
        raise


async def no_due_row(on: _Between, operations: Operations) -> list[str]:
    """A session that follows another gets no due row of its own."""
    is_first = operations[0].kind != "replace"
    kept = [o for o in operations if is_first or o.kind != "upsert" or o.row.key[0] != "d"]
    return (await on.table.write(kept)) + [""] * (len(operations) - len(kept))


async def no_fence(on: _Between, operations: Operations) -> list[str]:
    """What only changes the ETag, so that a stopped turn's commit fails, is not written."""
    row = operations[0].row
    if on.is_turn and _is_conversation(operations[0]) and row.columns == on.stored(row):
        return [row.etag]
    return await on.table.write(operations)


async def no_state_before(on: _Between, operations: Operations) -> list[str]:
    """The user's row does not keep the state as it was."""
    return await on.table.write(
        [
            replace(
                operation,
                row=replace(
                    operation.row,
                    columns={
                        name: value
                        for name, value in operation.row.columns.items()
                        if not name.startswith("Before")
                    },
                ),
            )
            for operation in operations
        ]
    )


class UserRowAfterTheConversation(Mutant):
    """A turn writes the user's row once its conversation is committed."""

    def table(self, table: ScheduledTable, simulation: Simulation) -> Table:
        return _Between(table, simulation, self._write, "")

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[_Between, Operations]] = {}

    async def _write(self, on: _Between, operations: Operations) -> list[str]:
        turn = ORIGIN.get().name
        if on.table.name == "users" and on.bot_is_done and operations[0].row.key == "user":
            self._waiting[turn] = (on, operations[:1])
            rest = operations[1:]
            return ["later", *(await on.table.write(rest) if rest else [])]
        etags = await on.table.write(operations)
        if on.bot_is_done and turn in self._waiting:
            users, waiting = self._waiting.pop(turn)
            await users.table.write(waiting)
        return etags


# Notices


class NoticeBeforeTheClaim(Mutant):
    """A sweep tells the user first, and claims then."""

    def __init__(self) -> None:
        self._send: SendNotice | None = None

    def table(self, table: ScheduledTable, simulation: Simulation) -> Table:
        return _Between(table, simulation, self._write, "")

    def sender(self, send: SendNotice, simulation: Simulation) -> SendNotice:
        del simulation
        self._send = send

        async def already_sent(_: Conversation) -> NoticeResult:
            return NoticeResult(Verdict.DELIVERED)

        return already_sent

    async def _write(self, on: _Between, operations: Operations) -> list[str]:
        row = operations[0].row
        if _is_claim(on, operations[0]) and self._send:
            address = Address(row.partition, row.key.removeprefix("c|"))
            conversation = await on.simulation.store.load_tracking(address)
            if conversation:
                await self._send(conversation)
        return await on.table.write(operations)


class SettledBeforeTheNotice(Mutant):
    """A sweep deletes the conversation, and tells the user then."""

    def sender(self, send: SendNotice, simulation: Simulation) -> SendNotice:
        async def settle_and_send(conversation: Conversation) -> NoticeResult:
            await simulation.store.settle(conversation)
            return await send(conversation)

        return settle_and_send


# In the code


def _sweeps_take_all_for_stale() -> InTheCode:
    is_stale = Conversation.is_stale

    def always_for_sweeps(self: Conversation, now: datetime, timing: Timing) -> bool:
        return "sweep" in ORIGIN.get().name or is_stale(self, now, timing)

    return InTheCode(Conversation, "is_stale", always_for_sweeps)


def _no_conflict_at_settling() -> InTheCode:
    settle = TableStore.settle

    async def settle_blindly(self: TableStore, conversation: Conversation) -> None:
        with suppress(ConflictError):
            await settle(self, conversation)

    return InTheCode(TableStore, "settle", settle_blindly)


def _replies_not_held_back() -> InTheCode:
    prepare = BufferingAdapter.prepare

    async def prepare_to_send(self: BufferingAdapter, *arguments: Any) -> Any:
        context = await prepare(self, *arguments)
        self._messages(context).is_over = True
        return context

    return InTheCode(BufferingAdapter, "prepare", prepare_to_send)


async def _no_ids(*_: object) -> None:
    return


async def _ids_over_whatever_is_there(store: TableStore, *rest: Any) -> None:
    save = store.save

    async def save_blindly(conversation: Conversation, **options: Any) -> Conversation:
        there = await store.load(conversation.address)
        return await save(replace(conversation, etag=there.etag if there else ""), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "save", save_blindly)
        await put_ids(store, *rest)


def _late_heartbeat() -> InTheCode:
    seconds_to_guard = Turns._seconds_to_guard

    def as_if_stored(self: Turns, stored: Conversation) -> float:
        return seconds_to_guard(self, replace(stored, last_accessed=self._now()))

    return InTheCode(Turns, "_seconds_to_guard", as_if_stored)


def _warned_first() -> InTheCode:
    async def in_the_wrong_order(
        self: Warner, conversation: Conversation, row: DueRow, moved: DueRow
    ) -> None:
        await self._warn(conversation, moved, Slot(0))
        with suppress(ConflictError):
            await self._store.warn(row, moved)

    return InTheCode(Warner, "_warn_in_turn", in_the_wrong_order)


def _warned_blindly() -> InTheCode:
    async def upserted(self: TableStore, row: DueRow, warned: DueRow) -> None:
        with suppress(ConflictError):
            await self._conversations.write([Operation("delete", due_row(row))])
        await self._conversations.write([Operation("upsert", due_row(warned))])

    return InTheCode(TableStore, "warn", upserted)


def _one_timeout_for_users() -> InTheCode:
    session_of = UserRows._session_of

    def by_default(self: UserRows, row: UserRow) -> tuple[timedelta, datetime | None]:
        rows = copy(self)
        rows._policy = Policy(self._policy.default)
        return session_of(rows, row)

    return InTheCode(UserRows, "_session_of", by_default)


def _not_moved_up() -> InTheCode:
    async def as_it_is(_self: Sweep, row: DueRow, _conversation: Conversation) -> DueRow:
        return row

    return InTheCode(Expirer, "_moved_up", as_it_is)


def _is_commit(on: _Between, operation: Operation) -> bool:
    return on.is_turn and on.bot_is_done and _is_conversation(operation)


def _is_guard(on: _Between, operation: Operation) -> bool:
    row = operation.row
    return (
        on.is_turn
        and not on.bot_is_done
        and _is_conversation(operation)
        and row.columns.get("LastAccessed") != on.stored(row).get("LastAccessed")
    )


def _is_retry(on: _Between, operation: Operation) -> bool:
    return on.is_sweep and operation.kind == "replace" and not _is_claim(on, operation)


def _has(*kinds: str) -> Callable[[_Between, Operations], bool]:
    return lambda _, operations: set(kinds) <= {each.row.key[0] for each in operations}


async def _private_rows_kept(on: _Between, operations: Operations) -> list[str]:
    if on.is_sweep and operations[0].row.key.startswith("p|"):
        return [""]
    return await on.table.write(operations)


def _recent(row: Row) -> list[tuple[str, str]]:
    return [(activity, writer) for activity, writer in json.loads(row.columns.get("Recent", "[]"))]


async def ids_not_kept(on: _Between, operations: Operations) -> list[str]:
    """The conversation's row does not say which activities the recent turns were taken for."""
    return await on.table.write(
        [
            _with_recent(each, [("", writer) for _, writer in _recent(each.row)])
            for each in operations
        ]
    )


async def ids_not_carried_over(on: _Between, operations: Operations) -> list[str]:
    """A session that follows another knows nothing of the other's turns."""

    def changed(operation: Operation) -> Operation:
        stored = on.stored(operation.row).get("SessionId")
        if stored in (None, operation.row.columns.get("SessionId")):
            return operation
        return _with_recent(operation, _recent(operation.row)[-1:])

    return await on.table.write([changed(each) for each in operations])


def _with_recent(operation: Operation, recent: list[tuple[str, str]]) -> Operation:
    if not recent:
        return operation
    columns = {**operation.row.columns, "Recent": json.dumps(recent)}
    return replace(operation, row=replace(operation.row, columns=columns))


async def replies_left_in_the_row(on: _Between, operations: Operations) -> list[str]:
    """A copy that sends the replies does not take them out of the row."""
    row, stored = operations[0].row, on.stored(operations[0].row)
    taken_out = {name for name in stored if name.startswith("Replies")} - set(row.columns)
    if on.is_turn and taken_out and not on.bot_is_done:
        return [row.etag]
    return await on.table.write(operations)


def _is_taking_out_of_replies(on: _Between, operation: Operation) -> bool:
    row, stored = operation.row, on.stored(operation.row)
    return on.is_turn and "Replies00" in stored and row.columns.get("Recent") == stored["Recent"]


async def looked_ahead_before_the_sweep(on: _Between, operations: Operations) -> list[str]:
    """What a sweep is going to look at is noted as looked at."""
    row = operations[0].row
    if row.key != CONTROL or "LongestExpireAfter" not in row.columns:
        return await on.table.write(operations)
    ahead = row.columns["LongestExpireAfter"] - row.columns["ExpireAfter"]
    until = on.simulation.world.now + timedelta(seconds=ahead)
    columns = {**row.columns, "LookedUntil": until}
    return await on.table.write([replace(operations[0], row=replace(row, columns=columns))])


# Notices that wait, and dead letters


def _is_telling_later(on: _Between, operation: Operation) -> bool:
    row, stored = operation.row, on.stored(operation.row)
    return _is_claim(on, operation) and row.columns.get("Attempts") == stored.get("Attempts")


async def told_later_with_its_state(on: _Between, operations: Operations) -> list[str]:
    """Where the notice has to wait, the state does too."""
    first = operations[0]
    if _is_telling_later(on, first):
        kept = {n: v for n, v in on.stored(first.row).items() if n.startswith("State")}
        columns = {**first.row.columns, **kept}
        operations = [replace(first, row=replace(first.row, columns=columns)), *operations[1:]]
    return await on.table.write(operations)


async def told_later_and_not_due(on: _Between, operations: Operations) -> list[str]:
    """A notice that has to wait is not filed again."""
    if not _is_telling_later(on, operations[0]):
        return await on.table.write(operations)
    kept = [each for each in operations if each.kind != "upsert"]
    return (await on.table.write(kept)) + [""] * (len(operations) - len(kept))


class WaitsUnderTheClaim(Mutant):
    """A sweep claims first, and waits for the notice's place then."""

    def sender(self, send: SendNotice, simulation: Simulation) -> SendNotice:
        del simulation

        async def wait_and_send(conversation: Conversation) -> NoticeResult:
            await asyncio.sleep(70)
            return await send(conversation)

        return wait_and_send


def _is_letter(operations: Operations) -> bool:
    return any(each.kind == "insert" and each.row.key.startswith("x|") for each in operations)


def _is_of_letter(on: _Between, operation: Operation) -> bool:
    """The deletion of the conversation that leaves a dead letter; no other is in a transaction."""
    del on
    return _is_conversation(operation) and operation.kind == "delete"


async def no_letter(on: _Between, operations: Operations) -> list[str]:
    """What cannot be delivered is settled, and nothing is kept of it."""
    if not _is_letter(operations):
        return await on.table.write(operations)
    kept = [each for each in operations if each.kind == "delete"]
    return (await on.table.write(kept)) + [""]


async def letter_not_listed(on: _Between, operations: Operations) -> list[str]:
    """The user's list does not lead to the dead letter."""
    row = operations[0].row
    if operations[0].kind == "upsert" and row.key.count("|") == 3:  # in|key|expired|session
        return [""]
    return await on.table.write(operations)


async def replayed_over_what_is_there(on: _Between, operations: Operations) -> list[str]:
    """A dead letter that is made due again takes the place of whatever conversation there is."""
    first = operations[0]
    if on.is_replay and first.kind == "insert":
        operations = [replace(first, kind="upsert"), *operations[1:]]
    return await on.table.write(operations)


async def replayed_and_kept(on: _Between, operations: Operations) -> list[str]:
    """A dead letter stays when its notice is made due again."""
    if not on.is_replay or operations[0].kind != "insert":
        return await on.table.write(operations)
    kept = [each for each in operations if each.kind != "delete"]
    return (await on.table.write(kept)) + [""]


def _no_end_of_trying() -> InTheCode:
    return InTheCode(shared.expiry.expire, "GIVE_UP_AFTER", timedelta(0))


def _replay_taken_for_any_other() -> InTheCode:
    return InTheCode(Conversation, "is_replayed", False)


# What opens a session, and what ends one


def _effects(change: Callable[[Effect], Effect]) -> InTheCode:
    effect_of = Effects.of

    def changed(self: Effects, activity: Activity) -> Effect:
        return change(effect_of(self, activity))

    return InTheCode(Effects, "of", changed)


def _taken_for(one: Effect, other: Effect) -> InTheCode:
    return _effects(lambda effect: other if effect is one else effect)


def _another_turn_for_each_copy() -> InTheCode:
    def begin(self: _Attempts) -> None:
        self.turn = uuid4().hex[:16]

    return InTheCode(_Attempts, "__post_init__", begin)


def _notice_after_the_end() -> InTheCode:
    after_its_end = Conversation.after_its_end

    def with_notice(self: Conversation, at: datetime) -> Conversation:
        return replace(after_its_end(self, at), quiet=False)

    return InTheCode(Conversation, "after_its_end", with_notice)


class HandedOverAndDone(Mutant):
    """What a sweep hands over is not due any more: a lost message would lose it."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        mutant = self

        async def hand_over(self: FanOut, unfinished: Sequence[str]) -> None:
            del self
            memory = mutant._memory
            for shard, key in list(memory.rows):
                if shard in unfinished and key.startswith("d|"):
                    await memory.write([Operation("delete", Row(shard, key))])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FanOut, "hand_over", hand_over)
            yield

    def table(self, table: ScheduledTable, simulation: Simulation) -> Table:
        self._memory = simulation.conversations.memory
        return table


class _AnySession(str):
    """A session's id that is equal to every other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def _due_rows_of_later_sessions_erased() -> InTheCode:
    due_rows_of = TableStore.due_rows_of

    async def of_any(self: TableStore, address: Address) -> Sequence[DueRow]:
        rows = await due_rows_of(self, address)
        return [replace(row, session=_AnySession(row.session)) for row in rows]

    return InTheCode(TableStore, "due_rows_of", of_any)


def _on_user_rows(_: _Between, operation: Operation) -> bool:
    return operation.row.key == "user"


async def _yes(*_: object) -> bool:
    return True


async def _no(*_: object) -> bool:
    return False


def _no_step_earlier(*_: object) -> bool:
    return False


_quiet_hours_end = Conversation.quiet_hours_end


def _of_warnings_only(self: Conversation, now: datetime, timing: Timing) -> datetime | None:
    return None if self.is_stale(now, timing) else _quiet_hours_end(self, now, timing)


def _of_notices_only(self: Conversation, now: datetime, timing: Timing) -> datetime | None:
    return _quiet_hours_end(self, now, timing) if self.is_stale(now, timing) else None


_deadline = Conversation.deadline


def _deadline_of_the_timing_alone(self: Conversation, timing: Timing) -> datetime:
    return _deadline(replace(self, own=None), timing)


# Kept sessions


def _is_merge(on: _Between, operation: Operation) -> bool:
    return on.is_sweep and _is_conversation(operation) and operation.kind == "merge"


def _is_resume(on: _Between, operation: Operation) -> bool:
    columns = operation.row.columns
    is_commit = on.is_turn and _is_conversation(operation) and columns.get("Status") == "active"
    return is_commit and "." in columns["SessionId"] and "ExpiredAt" in on.stored(operation.row)


def _is_forgetting(on: _Between, operation: Operation) -> bool:
    """The claim that takes the state of a kept session away."""
    is_claim = on.is_sweep and _is_conversation(operation) and operation.kind == "replace"
    return is_claim and "ResumeUntil" in on.stored(operation.row)


async def merged_as_a_replacement(on: _Between, operations: Operations) -> list[str]:
    """What a sweep has not read is gone."""
    first, *others = operations
    if _is_merge(on, first):
        columns = {
            name: value
            for name, value in on.stored(first.row).items()
            if not name.startswith("State")
        }
        row = replace(first.row, columns={**columns, **first.row.columns})
        first = Operation("replace", row)
    return await on.table.write([first, *others])


async def settled_as_a_replacement(on: _Between, operations: Operations) -> list[str]:
    """The same, but only after the claim."""
    if "ExpiredAt" not in on.stored(operations[0].row):
        return await on.table.write(operations)
    return await merged_as_a_replacement(on, operations)


async def archived_after_the_claim(on: _Between, operations: Operations) -> list[str]:
    """The claim takes the state away; a second write brings it back."""
    first = operations[0]
    if not _is_merge(on, first) or len(operations) > 1:
        return await on.table.write(operations)
    state = {n: v for n, v in on.stored(first.row).items() if n.startswith("State")}
    (etag,) = await merged_as_a_replacement(on, operations)
    return await on.table.write([Operation("merge", replace(first.row, columns=state, etag=etag))])


async def archived_before_the_claim(on: _Between, operations: Operations) -> list[str]:
    """The state is copied to a row of its own, which is there even if the user is back."""
    first = operations[0]
    if _is_merge(on, first) and "ExpiredAt" not in on.stored(first.row):
        stored = on.stored(first.row)
        state = {n: v for n, v in stored.items() if n.startswith("State") or n == "SessionId"}
        key = f"p|{first.row.key.removeprefix('c|')}|kept"
        await on.table.write([Operation("upsert", Row(first.row.partition, key, state))])
    return await on.table.write(operations)


async def no_due_row_for_a_resumed_session(on: _Between, operations: Operations) -> list[str]:
    if not _is_resume(on, operations[0]):
        return await on.table.write(operations)
    kept = [each for each in operations if each.row.key[0] != "d"]
    return (await on.table.write(kept)) + [""] * (len(operations) - len(kept))


def _private_bags_before_forgetting() -> InTheCode:
    claim = Expirer._expire

    async def expire(self: Expirer, conversation: Conversation, row: DueRow, slot: Slot) -> None:
        if conversation.is_told:
            store: Any = self._store
            await store._delete_private_of(conversation.address, conversation.life)
        await claim(self, conversation, row, slot)

    return InTheCode(Expirer, "_expire", expire)


def _kept_for_ever(self: shared.turn.turn._Begun) -> object:
    return self.session.kept


def _cleaned_up_at_once() -> InTheCode:
    """The work item of a kept session does not wait until its time is over."""
    handle = Expirer._handle_succeeded

    async def handle_at_once(
        self: Expirer,
        conversation: Conversation,
        row: DueRow,
    ) -> None:
        await handle(self, replace(conversation, kept=None), row)

    return InTheCode(Expirer, "_handle_succeeded", handle_at_once)


def _claimed_without_state(
    self: Expirer, conversation: Conversation, now: datetime
) -> Conversation:
    return conversation.claimed(now, self._policy.of(conversation))


async def _tells_nobody(*_: object) -> None:
    return


def _settled_with_what_may_be_resumed() -> InTheCode:
    return InTheCode(Expirer, "_stays_until", Expirer._names_writes_until)


def _dead_before_it_is_emptied() -> InTheCode:
    return InTheCode(Conversation, "without_state", lambda self: self)


class _LookedOnce:
    """A store that answers a second look at a conversation with nothing."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def load_tracking(self, address: Address) -> None:
        del address


_handle_succeeded = Expirer._handle_succeeded


async def _without_another_look(self: Expirer, conversation: Conversation, row: DueRow) -> None:
    blind = copy(self)
    blind._store = _LookedOnce(self._store)
    await _handle_succeeded(blind, conversation, row)


MUTANTS: dict[str, tuple[Kind, Callable[[], Mutant]]] = {
    "turn commits without If-Match": (
        anything,
        lambda: OnTheWire(change=unconditional(_is_commit)),
    ),
    "guard without If-Match": (
        messages_at_expiry,
        lambda: OnTheWire(change=unconditional(_is_guard)),
    ),
    "claim without If-Match": (user_returns, lambda: OnTheWire(change=unconditional(_is_claim))),
    "settling without If-Match": (
        user_returns,
        lambda: OnTheWire(change=unconditional(_is_settling)),
    ),
    "retry_later without If-Match": (
        slow_sweeps,
        lambda: OnTheWire(change=unconditional(_is_retry)),
    ),
    "user row without If-Match": (
        writes_in_doubt,
        lambda: OnTheWire("users", unconditional(_on_user_rows)),
    ),
    "private rows deleted without If-Match": (
        user_returns,
        lambda: OnTheWire(change=unconditional(lambda _, each: each.row.key.startswith("p|"))),
    ),
    "conversation first, due row second": (
        anything,
        lambda: OnTheWire(
            change=in_steps(lambda on, each: on.is_turn and _has("c", "d")(on, each))
        ),
    ),
    "no due row for a following session": (anything, lambda: OnTheWire(change=no_due_row)),
    "conversation first, private row second": (
        anything,
        lambda: OnTheWire(
            change=in_steps(lambda on, each: on.is_turn and _has("c", "p")(on, each))
        ),
    ),
    "re-filed in two steps": (
        anything,
        lambda: OnTheWire(
            change=in_steps(lambda on, each: on.is_sweep and not _has("c")(on, each))
        ),
    ),
    "tried later in three steps": (
        slow_sweeps,
        lambda: OnTheWire(change=in_steps(lambda on, each: on.is_sweep and _has("c")(on, each))),
    ),
    "due row deleted before the conversation": (
        anything,
        lambda: OnTheWire(change=due_row_deleted_first),
    ),
    "due row deleted on a refused claim": (
        user_returns,
        lambda: OnTheWire(change=due_row_deleted_on_refused_claim),
    ),
    "due row deleted on a refused settling": (slow_sweeps, _no_conflict_at_settling),
    "private rows kept": (anything, lambda: OnTheWire(change=_private_rows_kept)),
    "notice before the claim": (slow_sweeps, NoticeBeforeTheClaim),
    "settled before the notice": (slow_sweeps, SettledBeforeTheNotice),
    "no guard": (
        messages_at_expiry,
        lambda: InTheCode(Conversation, "needs_guard", lambda *_: False),
    ),
    "staleness not checked again": (anything, _sweeps_take_all_for_stale),
    "clocks taken to agree": (
        messages_at_expiry,
        lambda: InTheCode(shared.expiry.sweep, "CLOCK_SKEW", timedelta(0)),
    ),
    "lease ignored": (slow_sweeps, lambda: OnTheWire(hidden_columns="LeaseUntil")),
    "held-up sweep sends all the same": (
        slow_sweeps,
        lambda: InTheCode(shared.expiry.expire, "LEASE", timedelta(days=1)),
    ),
    "own commit not recognised": (writes_in_doubt, lambda: OnTheWire(hidden_columns="Recent")),
    "replies not held back": (anything, _replies_not_held_back),
    "user row after the conversation": (writes_in_doubt, UserRowAfterTheConversation),
    "no state before in the user row": (
        writes_in_doubt,
        lambda: OnTheWire("users", no_state_before),
    ),
    "crashed turn not fenced off": (writes_in_doubt, lambda: OnTheWire(change=no_fence)),
    "recent ids not kept": (copies, lambda: OnTheWire(change=ids_not_kept)),
    "recent ids not carried into the next session": (
        copies,
        lambda: OnTheWire(change=ids_not_carried_over),
    ),
    "copies answered at once": (
        copies,
        lambda: InTheCode(shared.turn.turn, "RESEND_AFTER", timedelta(0)),
    ),
    "copies never answered": (
        copies,
        lambda: InTheCode(shared.turn.turn, "RESEND_AFTER", timedelta(days=1)),
    ),
    "own writes not remembered": (
        copies,
        lambda: InTheCode(shared.turn.turn, "REMEMBERED_WRITES", 0),
    ),
    "replies sent again and left in the row": (
        copies,
        lambda: OnTheWire(change=replies_left_in_the_row),
    ),
    "replies taken out without If-Match": (
        copies,
        lambda: OnTheWire(change=unconditional(_is_taking_out_of_replies)),
    ),
    "no heartbeat": (long_turns, lambda: InTheCode(Turns, "_seconds_to_guard", lambda *_: 1e6)),
    "heartbeat goes by what is not stored yet": (long_turns, _late_heartbeat),
    "no look ahead after a shorter timeout": (
        changed_timeout,
        lambda: InTheCode(Control, "range_ahead", lambda *_: None),
    ),
    "looked ahead noted before it is done": (
        changed_timeout,
        lambda: OnTheWire(change=looked_ahead_before_the_sweep),
    ),
    "due rows looked at ahead not moved up": (changed_timeout, _not_moved_up),
    "told later without If-Match": (
        paced_notices,
        lambda: OnTheWire(change=unconditional(_is_telling_later)),
    ),
    "told later in three steps": (
        paced_notices,
        lambda: OnTheWire(
            change=in_steps(lambda on, each: _is_telling_later(on, each[0])),
        ),
    ),
    "told later, and the state kept": (
        paced_notices,
        lambda: OnTheWire(change=told_later_with_its_state),
    ),
    "told later, and not due again": (
        paced_notices,
        lambda: OnTheWire(change=told_later_and_not_due),
    ),
    "place waited for under the claim": (slow_sweeps, WaitsUnderTheClaim),
    "dead letter without If-Match": (
        dead_letters,
        lambda: OnTheWire(change=unconditional(_is_of_letter)),
    ),
    "dead letter in three steps": (
        dead_letters,
        lambda: OnTheWire(change=in_steps(lambda _, each: _is_letter(each))),
    ),
    "no dead letter": (dead_letters, lambda: OnTheWire(change=no_letter)),
    "dead letter that no list leads to": (
        dead_letters,
        lambda: OnTheWire("users", letter_not_listed),
    ),
    "dead letter at the first failure": (dead_letters, _no_end_of_trying),
    "replayed over a conversation": (
        replayed_as_the_user_returns,
        lambda: OnTheWire(change=replayed_over_what_is_there),
    ),
    "replayed in three steps": (
        dead_letters,
        lambda: OnTheWire(change=in_steps(lambda on, each: on.is_replay and _has("c")(on, each))),
    ),
    "dead letter kept when it is replayed": (
        dead_letters,
        lambda: OnTheWire(change=replayed_and_kept),
    ),
    "replayed session taken for any other": (dead_letters, _replay_taken_for_any_other),
    "every activity taken for a word": (no_words, lambda: _effects(lambda _: Effect.OPENS)),
    "what a client sends keeps a session alive": (
        no_words,
        lambda: _taken_for(Effect.NONE, Effect.KEEPS_ALIVE),
    ),
    "a reaction keeps no session alive": (
        no_words,
        lambda: _taken_for(Effect.KEEPS_ALIVE, Effect.NONE),
    ),
    "a refused invoke taken for an act": (
        no_words,
        lambda: InTheCode(shared.turn.turn, "was_handled", lambda _: True),
    ),
    "a quiet session told of": (no_words, lambda: OnTheWire(hidden_columns="Quiet")),
    "ended, and the session goes on": (
        ended,
        lambda: InTheCode(Conversation, "after_its_end", lambda self, _: self),
    ),
    "ended, and a notice follows": (ended, _notice_after_the_end),
    "until when a session lasts not kept": (
        changed_timeout_of_users,
        lambda: OnTheWire("users", hidden_columns="LastsUntil"),
    ),
    "one timeout for all types": (
        two_types,
        lambda: InTheCode(Policy, "of_type", lambda self, *_: self.default),
    ),
    "a change of a type's timeout not noticed": (
        two_types,
        lambda: InTheCode(Policy, "fingerprint", ""),
    ),
    "a user's row goes by the timeout of all": (two_types, _one_timeout_for_users),
    "warned before the work item says so": (warnings, _warned_first),
    "a warning without a look whether the work item is there": (warnings, _warned_blindly),
    "warnings not remembered": (
        warnings,
        lambda: InTheCode(Conversation, "warned", lambda *_: 0),
    ),
    "what a client sends arms a warning again": (
        warnings,
        lambda: _taken_for(Effect.NONE, Effect.KEEPS_ALIVE),
    ),
    "warned with no time to answer": (
        warnings,
        lambda: InTheCode(shared.expiry.warn, "TIME_TO_ANSWER", timedelta(0)),
    ),
    "a copy's turn taken for any other": (short_timeout, _another_turn_for_each_copy),
    "notices sent however old": (
        old_notices,
        lambda: InTheCode(Expirer, "_is_too_old", lambda *_: False),
    ),
    "users told however long after the last use": (
        old_notices,
        lambda: InTheCode(Expirer, "_is_silent", lambda _, conversation, __: conversation.quiet),
    ),
    "ids of messages not written": (
        kept_ids,
        lambda: InTheCode(shared.turn.turn, "put_ids", _no_ids),
    ),
    "ids of messages written without If-Match": (
        kept_ids,
        lambda: InTheCode(shared.turn.turn, "put_ids", _ids_over_whatever_is_there),
    ),
    "another placeholder in each attempt": (
        kept_ids,
        lambda: InTheCode(
            shared.connector.turn_messages, "placeholder_for", lambda *_: f"held-{uuid4().hex}"
        ),
    ),
    "handed over, and not due any more": (fanned_out, HandedOverAndDone),
    "user row written over an erasure": (
        erasures,
        lambda: OnTheWire("users", unconditional(_on_user_rows)),
    ),
    "due rows of later sessions erased": (erasures, _due_rows_of_later_sessions_erased),
    "a notice in quiet hours": (
        quiet_hours,
        lambda: InTheCode(Conversation, "quiet_hours_end", _of_warnings_only),
    ),
    "a warning in quiet hours": (
        quiet_hours,
        lambda: InTheCode(Conversation, "quiet_hours_end", _of_notices_only),
    ),
    "rows that end early deleted at once": (
        own_timing,
        lambda: InTheCode(Expirer, "_stays_until", lambda *_: None),
    ),
    "writes that still count forgotten by the next session": (
        own_timing,
        lambda: InTheCode(
            Conversation, "writes_count_until", lambda self, _: self.last_accessed - CLOCK_SKEW
        ),
    ),
    "due row not moved up to the bot's own time": (
        own_timing,
        lambda: InTheCode(Turns, "_comes_earlier", _no_step_earlier),
    ),
    "the bot's own time not stored": (own_timing, lambda: OnTheWire(hidden_columns="Timing")),
    "a time to be kept not heeded": (
        own_timing,
        lambda: InTheCode(Conversation, "deadline", _deadline_of_the_timing_alone),
    ),
    "ended for its age in the middle of an exchange": (
        old_sessions,
        lambda: InTheCode(shared.domain.conversation, "MAX_GUARD", timedelta(0)),
    ),
    "a session begun anew by each use": (old_sessions, lambda: OnTheWire(hidden_columns="BegunAt")),
    "an act that may be refused saved as a use": (
        no_words,
        lambda: InTheCode(Conversation, "kept_alive", lambda self, now, _: self.used_at(now)),
    ),
    "until when a session is kept not heeded": (
        no_words,
        lambda: OnTheWire(hidden_columns="KeptUntil"),
    ),
    "user state written in a session that is about to end": (
        bots_own_turns,
        lambda: InTheCode(TurnState, "changes_user", False),
    ),
    "an erasure goes on that another process has finished": (
        erased_and_back,
        lambda: InTheCode(TableStore, "is_erasure_marked", _yes),
    ),
    "a dead letter that comes during its user's erasure kept": (
        erased_and_back,
        lambda: InTheCode(TableStore, "drop_listed", _no),
    ),
    "claim of what may be resumed replaces its row": (
        resumed,
        lambda: OnTheWire(change=merged_as_a_replacement),
    ),
    "settling of what may be resumed replaces its row": (
        resumed,
        lambda: OnTheWire(change=settled_as_a_replacement),
    ),
    "kept state written back after the claim": (
        resumed,
        lambda: OnTheWire(change=archived_after_the_claim),
    ),
    "kept state copied before the claim": (
        resumed,
        lambda: OnTheWire(change=archived_before_the_claim),
    ),
    "resumed without If-Match": (resumed, lambda: OnTheWire(change=unconditional(_is_resume))),
    "resumed without a due row": (
        resumed,
        lambda: OnTheWire(change=no_due_row_for_a_resumed_session),
    ),
    "resumed as the same session": (
        resumed,
        lambda: InTheCode(shared.domain.conversation, "resumed_session_id", str),
    ),
    "forgotten without If-Match": (
        resumed,
        lambda: OnTheWire(change=unconditional(_is_forgetting)),
    ),
    "private bags of a kept session go first": (resumed, _private_bags_before_forgetting),
    "kept session outlives words that go on": (
        resumed,
        lambda: InTheCode(shared.turn.turn._Begun, "keeps", property(_kept_for_ever)),
    ),
    "kept session is cleaned up at once": (resumed, _cleaned_up_at_once),
    "old work item takes a resumed life for over": (
        resumed,
        lambda: InTheCode(shared.expiry.expire, "life_of", "over: {}".format),
    ),
    "private bags of both sessions in one place": (
        resumed,
        lambda: InTheCode(shared.domain.conversation, "_other_than", lambda _: ""),
    ),
    "state gone before the hook has seen it": (
        hooked,
        lambda: InTheCode(Expirer, "_claimed", _claimed_without_state),
    ),
    "turns tell no hook": (hooked, lambda: InTheCode(Turns, "_tell_hook", _tells_nobody)),
    "settled although it may be resumed": (resumed, _settled_with_what_may_be_resumed),
    "dead letter of what may be resumed": (
        resumed_as_it_is_given_up,
        _dead_before_it_is_emptied,
    ),
    "private bags of a kept session go without another look": (
        resumed_for_long,
        lambda: InTheCode(Expirer, "_handle_succeeded", _without_another_look),
    ),
}
