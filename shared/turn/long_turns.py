"""Turns that are taken after the channel got its answer: they may take longer than it waits.

::

    messages function: put the activity in the inbox ─► put a message on the queue ─► 202
    queue function:    first of the conversation ─► lease it ─► its turn, replies ─► remove it ─┐
                          ▲                                                                     │
                          └─────────────────────────── the next one ◄───────────────────────────┘

The inbox has what is to be done, and in which order. A message of the queue is only a hint that
names a conversation: if it is lost, late or doubled, it costs a look at the inbox. The timer puts
messages again for what waits too long.
"""

import asyncio
import json
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

from botbuilder.schema import Activity, ActivityTypes, DeliveryModes
from botframework.connector.auth import AuthenticateRequestResult, ClaimsIdentity

from shared.connector.inbound import BadRequestError, activity_of, json_object
from shared.domain.bounded_json import read_json
from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.domain.identity import ConversationKey
from shared.domain.inbox import Inbox, Waiting
from shared.domain.times import LEASE, utc_now
from shared.expiry.fan_out import Queue
from shared.turn.activity import hash_of

logger = logging.getLogger(__name__)

# So often a turn is begun that then ends with its process, or without an answer of the store. The
# next run tells the user. The host gives a message of the queue five runs.
MAX_ATTEMPTS = 4

# A run takes the turns that wait behind its first one if they begin within this time. A turn may
# take until 30 s before the host's timeout.
NEXT_WITHIN_SECONDS = 20

RENEW_LEASE_EVERY_SECONDS = LEASE.total_seconds() / 3

# What has waited for so long may have lost its message.
OVERDUE_AFTER = timedelta(seconds=60)
MOST_WOKEN = 1_000

# Of an activity with its caller's claims; the messages function takes 256 KiB.
_MAX_UNPACKED_BYTES = 512 * 1024

# A channel's time counts for the order if it is this close to ours.
_BELIEVED_WITHIN = timedelta(seconds=60)


class InvalidHintError(ValueError):
    """A message names no conversation; trying it again does not help."""


class Turns(Protocol):
    """What takes the turns: the app."""

    async def take(
        self, activity: Activity, caller: AuthenticateRequestResult, received_at: datetime
    ) -> object:
        """Take a turn and send its replies.

        Raises:
            StorageUnavailableError: nothing was sent. The turn may still have been saved.
        """

    async def give_up(self, activity: Activity, caller: AuthenticateRequestResult) -> None:
        """Tell the user that the turn failed for good, unless it was taken after all."""

    async def keep_alive(self, activity: Activity, received_at: datetime) -> None:
        """Keep the session that the activity came in alive until its turn begins."""


def can_wait(activity: Activity) -> bool:
    """Whether the channel needs no answer of the bot's in the HTTP response."""
    return not (
        activity.type == ActivityTypes.invoke
        or activity.delivery_mode == DeliveryModes.expect_replies
    )


class LongTurns:
    """Answers channels first, and takes the turns of one conversation one after the other.

    Args:
        inbox: where activities wait.
        queue: the platform runs the queue function for each message of it.
        turns: takes the turns.
        now: the clock, in aware UTC.
        sleep: as `asyncio.sleep`.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        inbox: Inbox,
        queue: Queue,
        turns: Turns,
        *,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox = inbox
        self._queue = queue
        self._turns = turns
        self._now = now
        self._sleep = sleep
        self._clock = clock

    async def accept(
        self, activity: Activity, caller: AuthenticateRequestResult, body: bytes
    ) -> None:
        """Put an activity where nothing loses it; its turn follows.

        Args:
            activity: see `can_wait`.
            caller: its caller, who was authenticated.
            body: what the activity was read from.

        Raises:
            StorageUnavailableError: it may be there all the same; the channel may send it again.
        """
        received_at = self._now()
        key = ConversationKey(activity.channel_id, activity.conversation.id)
        await self._turns.keep_alive(activity, received_at)
        content = _pack(body, caller)
        place = _place(activity, received_at)
        await self._inbox.put(Waiting(key.hash, place, content, received_at))
        await self._queue.put(hint_for(key.hash))

    async def run(self, conversation: str) -> None:
        """Take the turns that wait in a conversation, in their order.

        Raises:
            StorageUnavailableError: the first of them still waits; try again.
            Exception: a turn raised it; the same.
        """
        begin_until = self._clock() + NEXT_WITHIN_SECONDS
        while first := await self._inbox.first(conversation):
            now = self._now()
            if first.lease_until and first.is_leased(now):
                # Who has the lease goes on with those behind it. If that process has died, its
                # message comes again in some minutes only; so this one looks again.
                wait = first.lease_until - now
                await self._queue.put(
                    hint_for(conversation), after_seconds=int(wait.total_seconds()) + 1
                )
                return
            if self._clock() >= begin_until:
                await self._queue.put(hint_for(conversation))
                return
            try:
                leased = await self._inbox.save(first.begun(now))
            except ConflictError:
                continue
            await self._take(leased)

    async def wake(self) -> int:
        """Put messages for what waits although nobody has it; returns for how many conversations.

        Raises:
            StorageUnavailableError: the next call does the rest.
        """
        woken: set[str] = set()
        now = self._now()
        async for page in self._inbox.waiting_since(now - OVERDUE_AFTER):
            for waiting in page:
                is_new = waiting.conversation not in woken and len(woken) < MOST_WOKEN
                if is_new and not waiting.is_leased(now):
                    woken.add(waiting.conversation)
                    await self._queue.put(hint_for(waiting.conversation))
        if woken:
            logger.warning("inbox: %d conversations waited for too long; woken", len(woken))
        return len(woken)

    async def _take(self, leased: Waiting) -> None:
        read = _unpack(leased.content)
        if read is None:
            # Nobody knows whose it was.
            logger.error("inbox: %s of %s is damaged; dropped", leased.place, leased.conversation)
            await self._remove(_Lease(leased))
            return
        activity, caller = read
        async with self._renewed(leased) as lease:
            try:
                if leased.attempts > MAX_ATTEMPTS:
                    logger.error(
                        "inbox: a turn of conversation %s failed %d times; given up",
                        leased.conversation,
                        MAX_ATTEMPTS,
                    )
                    await self._turns.give_up(activity, caller)
                else:
                    await self._turns.take(activity, caller, leased.received_at)
            except Exception:
                await self._release(lease)
                raise
        await self._remove(lease)

    async def _remove(self, lease: "_Lease") -> None:
        try:
            await self._inbox.remove(lease.waiting)
        except ConflictError:
            logger.info("inbox: %s: another run has it by now", lease.waiting.place)

    async def _release(self, lease: "_Lease") -> None:
        """Let the next run begin at once."""
        try:
            await self._inbox.save(replace(lease.waiting, lease_until=None))
        except (ConflictError, StorageUnavailableError) as error:
            logger.warning("inbox: the lease stays until its end: %s", error)

    @asynccontextmanager
    async def _renewed(self, leased: Waiting) -> AsyncIterator["_Lease"]:
        """Renew a lease for as long as its turn runs."""
        lease = _Lease(leased)
        done = asyncio.Event()

        async def renew() -> None:
            while not done.is_set():
                sleeping = asyncio.ensure_future(self._sleep(RENEW_LEASE_EVERY_SECONDS))
                ended = asyncio.ensure_future(done.wait())
                await asyncio.wait({sleeping, ended}, return_when=asyncio.FIRST_COMPLETED)
                sleeping.cancel()
                ended.cancel()
                if not done.is_set() and not await self._renew(lease):
                    return

        renewing = asyncio.create_task(renew())
        try:
            yield lease
        finally:
            done.set()
            await renewing  # a write under way is not cancelled: its ETag is needed

    async def _renew(self, lease: "_Lease") -> bool:
        until = self._now() + LEASE
        try:
            lease.waiting = await self._inbox.save(replace(lease.waiting, lease_until=until))
        except StorageUnavailableError as error:
            logger.warning("inbox: a lease was not renewed: %s", error)
        except ConflictError:
            # This process stood still for longer than the lease. The turn's own commit decides.
            logger.warning("inbox: another run has the turn of %s too", lease.waiting.place)
            return False
        return True


@dataclass
class _Lease:
    """A lease that is renewed: the newest version of the row."""

    waiting: Waiting


def hint_for(conversation: str) -> str:
    """The text of a message that names a conversation."""
    return json.dumps({"conversation": conversation})


def conversation_of(hint: bytes) -> str:
    """The conversation that a message names.

    Raises:
        InvalidHintError: it names none.
    """
    try:
        named = json.loads(hint)["conversation"]
    except (ValueError, LookupError, TypeError, RecursionError):
        named = None
    if not (isinstance(named, str) and len(named) == 32 and set(named) <= set("0123456789abcdef")):  # noqa: PLR2004 - see ConversationKey
        raise InvalidHintError('a message must be {"conversation": a hash of 32 digits}')
    return named


def _place(activity: Activity, received_at: datetime) -> str:
    """In the order in which the user wrote, as far as channel and clocks tell."""
    at = received_at
    written: datetime | None = activity.timestamp
    if written and written.tzinfo and abs(written - received_at) < _BELIEVED_WITHIN:
        at = written
    micros = int(at.timestamp()) * 1_000_000 + at.microsecond
    return f"{micros:017d}-{hash_of(activity) or uuid4().hex[:16]}"


def _pack(body: bytes, caller: AuthenticateRequestResult) -> bytes:
    """The activity as it came, read again by the same code, and what was found of its caller."""
    identity = caller.claims_identity
    verdict = {
        "claims": dict(identity.claims),
        "authenticated": identity.is_authenticated,
        "type": identity.authentication_type,
        "audience": caller.audience,
        "caller_id": caller.caller_id,
    }
    return zlib.compress(json.dumps(verdict).encode() + b"\n" + body, 1)


def _unpack(content: bytes) -> tuple[Activity, AuthenticateRequestResult] | None:
    """What `_pack` was given; None if it is damaged or too large."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(content, _MAX_UNPACKED_BYTES)
        verdict, _, body = plain.partition(b"\n")
        if not inflater.eof:
            return None
        activity = activity_of(json_object(body))
        return activity, _caller(read_json(verdict))
    except (zlib.error, ValueError, LookupError, TypeError, BadRequestError):
        return None


def _caller(verdict: Any) -> AuthenticateRequestResult:
    caller = AuthenticateRequestResult()
    caller.claims_identity = ClaimsIdentity(
        dict(verdict["claims"]), verdict["authenticated"] is True, verdict["type"]
    )
    caller.audience = verdict["audience"]
    caller.caller_id = verdict["caller_id"]
    return caller
