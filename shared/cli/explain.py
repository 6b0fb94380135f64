"""Why a conversation expires when it does, and which expire next. Nothing is changed."""

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from shared.domain.conversation import Conversation, KeptSession, Status
from shared.domain.errors import StoreError
from shared.domain.identity import ConversationKey
from shared.domain.policy import Policy
from shared.domain.store import ConversationStore
from shared.domain.timing import FAR_FUTURE, NEVER
from shared.domain.work import DueRow
from shared.expiry.status import FAR, duration
from shared.expiry.sweep import SHARDS_AT_ONCE
from shared.settings.policy_file import hours_in_words, in_units

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Explain:
    """The commands.

    Args:
        store: where the conversations are.
        policy: which timing holds for which conversation.
        is_notice_on: whether anybody is told at all.
        now: the present, in aware UTC.
        say: writes one line.
    """

    store: ConversationStore
    policy: Policy
    is_notice_on: bool
    now: datetime
    say: Say

    async def one(self, channel_id: str, conversation_id: str) -> None:
        """Say what holds for a conversation, which line decided it, and what comes next.

        It reads the conversation's row, and the work items of its shard.

        Raises:
            StoreError: the storage did not answer, or the row cannot be read.
        """
        address = self.store.address(ConversationKey(channel_id, conversation_id).hash)
        conversation = await self.store.load_tracking(address)
        self.say(f"shard {address.shard}, key {address.key}")
        if conversation is None:
            self.say("there is no row: nobody has written here, or it has expired and is forgotten")
            return
        timing = self.policy.of(conversation)
        where = conversation.reference
        deadline = conversation.deadline(timing)
        kept = conversation.kept
        all_rows = await self.store.due_rows_of(address)
        due_rows = [row for row in all_rows if row.session == conversation.session]
        own = conversation.own
        because = {**timing.sources, "state": f"session {conversation.session}"}
        if not self.is_notice_on:
            because["notify"] = "ExpiryNotice"
        is_told = timing.notify and self.is_notice_on
        warnings = timing.warnings if is_told else ()
        if not is_told:
            because["warn_before"] = because["notify"]
        for name, value in {
            "conversation": conversation.readable_key,
            "type": where.type if where else "not known yet",
            "state": self._state(conversation),
            "last access": self._moment(conversation.last_accessed),
            "expire_after": _or_never(timing.expire_after),
            "keep_until": _utc(own.keep_until) if own and own.keep_until else "no such time",
            "max_age": in_units(timing.max_age) if timing.max_age else "none",
            "warn_before": ", ".join(map(in_units, warnings)) or "never",
            "notify": "yes" if is_told else "no",
            "notify_within": _or_any(timing.notify_within),
            "quiet_hours": hours_in_words(timing.quiet_hours),
            "resume_within": in_units(timing.resume_within) if timing.resume_within else "no",
            "time zone": conversation.time_zone or "not known",
            "expires at": "never" if deadline == FAR_FUTURE else self._moment(deadline),
            "looked at": ", ".join(self._moment(_due(row)) for row in due_rows),
            **self._resume(conversation.resume_until),
            "next": self._next(conversation, min(due_rows, key=_due, default=None)),
        }.items():
            self.say(f"{name:13} {value}{f'  ({because[name]})' if name in because else ''}")
        if kept:
            self._say_kept(kept, [row for row in all_rows if row.session == kept.session])

    def _resume(self, until: datetime | None) -> dict[str, str]:
        return {"resume until": self._moment(until)} if until else {}

    def _say_kept(self, kept: KeptSession, due_rows: Sequence[DueRow]) -> None:
        """Say what is known of the session before, which may be resumed in place of this one."""
        for name, value in {
            "kept": f"the session before  (session {kept.session})",
            **self._resume(kept.until),
            "looked at": ", ".join(self._moment(_due(row)) for row in due_rows),
            "next": self._forgotten(kept.stays_until)
            + ", or once its user goes on with the new session",
        }.items():
            self.say(f"{name:13} {value}")

    def _forgotten(self, at: datetime | None) -> str:
        return f"it is forgotten{f' after {_utc(at)}' if at else ''}"

    async def next_ones(self, most: int) -> None:
        """Say which conversations are looked at next, and what happens to them then.

        It reads the first work items of each shard, and the rows of the first ones of all.

        Raises:
            StorageUnavailableError: the storage did not answer.
        """
        at_once = asyncio.Semaphore(SHARDS_AT_ONCE)

        async def first(shard: str) -> Sequence[DueRow]:
            async with at_once:
                return await _first(self.store.due(shard, FAR), most)

        shards = await asyncio.gather(*(first(shard) for shard in self.store.shards))
        rows = heapq.merge(*shards, key=lambda row: row.due_seconds)
        for row in islice(rows, most):
            try:
                conversation = await self.store.load_tracking(row.address)
            except StoreError as error:
                self.say(f"{row.address.key}  cannot be read: {error}")
                continue
            key = conversation.readable_key if conversation else "the rest of one that is gone"
            what = self._done_with(row, conversation) if conversation else "cleaned up"
            self.say(f"{row.address.key}  {self._moment(_due(row))}  {what}  {key}")

    def _state(self, conversation: Conversation) -> str:
        if conversation.resume_until and conversation.is_told:
            return "kept"
        if conversation.status is Status.EXPIRED:
            return f"expired, {conversation.attempts} attempts to tell"
        if conversation.is_stale(self.now, self.policy.of(conversation)):
            return "idle for too long; the next sweep ends it"
        return "active"

    def _done_with(self, row: DueRow, conversation: Conversation) -> str:
        """What comes next of a work item, which may be of another session."""
        if row.session == conversation.session:
            return self._next(conversation, row)
        if conversation.kept and conversation.kept.session == row.session:
            return "the kept session before this one is forgotten"
        return "the rest of a session that is over is cleaned up"

    def _next(self, conversation: Conversation, row: DueRow | None) -> str:
        timing = self.policy.of(conversation)
        deadline = conversation.deadline(timing)
        if conversation.status is Status.EXPIRED:
            lease = conversation.lease_until
            if conversation.is_told:
                return self._forgotten(lease)
            return f"its notice is tried{f' after {_utc(lease)}' if lease else ''}"
        if deadline == FAR_FUTURE:
            return "it is only looked at, because it never expires"
        if conversation.quiet:
            return "it expires in silence, because no user has spoken in it"
        is_told = self.is_notice_on and timing.notify
        if is_told and row and _due(row) < deadline:
            return "its users are warned, if nobody has written until then"
        return "it expires, and its users are told" if is_told else "it expires in silence"

    def _moment(self, at: datetime) -> str:
        seconds = (at - self.now).total_seconds()
        distance = f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"
        return f"{_utc(at)} ({distance})"


def _due(row: DueRow) -> datetime:
    return datetime.fromtimestamp(row.due_seconds, UTC)


def _or_never(timeout: timedelta) -> str:
    if timeout == NEVER:
        return "never"
    return in_units(timedelta(seconds=math.ceil(timeout.total_seconds())))


def _or_any(within: timedelta | None) -> str:
    return in_units(within) if within else "at any time"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


async def _first(pages: AsyncIterator[Sequence[DueRow]], most: int) -> Sequence[DueRow]:
    rows: list[DueRow] = []
    async for page in pages:
        rows += (row for row in page if row.is_of_conversation)
        if len(rows) >= most:
            break
    return rows[:most]
