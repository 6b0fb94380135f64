"""One turn: load, expire lazily, run the bot with its replies held back, commit, then send.

::

    load ─► stale? a new session ─► close to expiry? save the time of receipt ─► run the bot
    │  ▲                                                                              │
    │  └── another writer was first: drop the replies, start over ◄── commit If-Match ┤
    └─ no answer from the store: 503, nothing sent                            saved ─► send
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakValueDictionary

from botbuilder.core import Bot, TurnContext
from botbuilder.core.conversation_reference_extension import get_continuation_activity
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import (
    Activity,
    ActivityTypes,
    ConversationAccount,
    ConversationParameters,
    ConversationReference,
)
from botframework.connector.auth import AuthenticateRequestResult

from shared import telemetry
from shared.authors import Effect, expiry, has_ended
from shared.connector.buttons import add_resume_button
from shared.domain.buttons import asks_to_stay, session_to_resume
from shared.domain.conversation import Conversation, KeptSession, Status, TakenTurn
from shared.domain.errors import (
    ConflictError,
    StateUnreadableError,
    StorageUnavailableError,
    StoreError,
)
from shared.domain.identity import Address, ConversationKey, life_of
from shared.domain.policy import Policy
from shared.domain.store import StateStore
from shared.domain.times import utc_now
from shared.domain.timing import Bounds, OwnTiming, zone_of
from shared.domain.values import replace
from shared.domain.work import DueRow
from shared.expiry.notice import OnExpired
from shared.expiry.pauses import ended_by_user
from shared.state.codec import StateDecodeError
from shared.state.erasure import leaves_a_group
from shared.state.kept_ids import KeptIds, put_ids
from shared.state.turn_state import TurnState
from shared.texts.durations import rounded_down
from shared.texts.languages import ENGLISH, Key, Texts
from shared.texts.texts_file import read_texts
from shared.turn.activity import (
    hash_of,
    with_reference,
)
from shared.turn.effects import Effects, was_handled
from shared.turn.replies import Replies, pack, unpack

if TYPE_CHECKING:
    from shared.connector.adapter import BufferingAdapter  # it brings aiohttp along

logger = logging.getLogger(__name__)

# Attempts of one turn. Turns of one conversation queue up within a process, so only another
# process can make one start over.
MAX_ATTEMPTS = 8

# The conversation's row remembers this many of the last turns.
RECENT_TURNS = 16

# A copy of an activity sends the replies if it comes this long after its turn was saved, to a
# process that does not know that they were sent: the process that saved the turn has most likely
# died. A process that is still sending after most of this time says so in the row.
RESEND_AFTER = timedelta(seconds=10)
SLOW_DELIVERY_SECONDS = 8

# How long a message that answers nobody may wait for its slot.
NOTICE_WAITS_AT_MOST_SECONDS = 10

# The replies of a turn end this long after its bot's code must end.
DELIVERY_ENDS_AFTER_SECONDS = 15

# Writes that a process remembers as its own: it sends, or has sent, their replies.
REMEMBERED_WRITES = 10_000


Logic = Callable[[TurnContext], Awaitable[None]]


@dataclass
class _Attempts:
    """The attempts of one turn so far: by writer id, the outcome of each.

    Attributes:
        bot_ends_at: when the bot's code is ended, by the loop's clock; None: never.
        logic: what runs in place of the bot, if the author's own code began the turn.
        latest: the context of the latest attempt.
        row: the conversation's row as it was last read.
        told_hook_of: the session whose end the author's hook knows from this turn.
    """

    activity_hash: str
    bot_ends_at: float | None = None
    logic: Logic | None = None
    latest: TurnContext | None = None
    row: Conversation | None = None
    outcomes: dict[str, "_Outcome"] = field(default_factory=dict)
    unavailable: bool = False
    start_over: bool = False
    told_hook_of: str = ""
    turn: str = field(init=False)

    def __post_init__(self) -> None:
        # Another process that takes a copy must know the user's row as written by this turn.
        self.turn = self.activity_hash or uuid4().hex[:16]

    def committed(self, row: Conversation | None) -> "_Outcome | None":
        """The outcome of the attempt that was saved, if the row names one."""
        for taken in row.recent if row else ():
            if taken.writer in self.outcomes:
                return self.outcomes[taken.writer]
        return None

    def earlier_copy(self, row: Conversation | None) -> TakenTurn | None:
        """The turn of another copy of this activity, if the row names one."""
        for taken in row.recent if row and self.activity_hash else ():
            if taken.activity == self.activity_hash:
                return taken
        return None


@dataclass(frozen=True)
class _Outcome:
    """The result of a turn: replies to send, the response, and the saved row, if known.

    `kept` says where the ids of the replies belong in state.
    """

    context: TurnContext
    response: InvokeResponse | None
    saved: Conversation | None = None
    kept: KeptIds | None = None
    ended: str = "taken"


class _BotTooSlowError(Exception):
    """The bot's code was still running when its time was over."""


@dataclass(frozen=True)
class _Begun:
    """The beginning of a turn: the row as it was, its session, the activity's effect.

    `is_new`: the turn begins the session, or resumes it. `received_at`: when the activity came.
    `says`: what a press of one of our buttons is answered, in place of the bot.
    """

    row: Conversation | None
    session: Conversation
    effect: Effect
    is_new: bool
    received_at: datetime
    says: Key | None = None

    @property
    def resumes(self) -> bool:
        """Whether the turn resumes an expired session."""
        return self.says == "resumed"

    @property
    def starts_over(self) -> bool:
        """Whether a session that somebody spoke in is over, and this one takes its place."""
        is_over = self.is_new and self.row is not None and not self.resumes
        return is_over and (not self._row_is_quiet or self.session.kept is not None)

    @property
    def _row_is_quiet(self) -> bool:
        return self.row is None or self.row.quiet

    @property
    def keeps(self) -> KeptSession | None:
        """The session that may be resumed after this turn, too: until a user goes on without it."""
        goes_on = self.effect is Effect.OPENS and not self.is_new and not self._row_is_quiet
        return None if goes_on else self.session.kept

    def forgets(self, kept: KeptSession | None, now: datetime) -> KeptSession | None:
        """The session whose kept state goes with this turn's commit; None: none does."""
        row, before = self.row, self.row.kept if self.row else None
        if row is None or before is None or (kept and kept.session == before.session):
            return None
        if self.resumes:
            return replace(before, bags=row.bags)  # the other one's document goes
        return before if before.is_to_go(now) else None


class Turns:
    """Takes turns.

    Args:
        store: the store of conversations and users.
        adapter: speaks to the channel.
        bot: the bot.
        policy: which timing holds for which conversation.
        effects: the effect of each activity on its session; None: the table's.
        texts: what is said of our own accord; None: ours.
        bot_seconds: how long after its beginning the bot's code of a turn is ended; its replies
            end `DELIVERY_ENDS_AFTER_SECONDS` later. None: no limit.
        bounds: what the bot's code may set of a conversation's time.
        on_resumed: runs in place of the bot once a user has resumed a session; None: nothing does.
        on_expired: the author's hook, for a session that a message finds over before a sweep has
            told of it; its words are not wanted. None: there is none.
        now: the clock, in aware UTC.
    """

    def __init__(
        self,
        store: StateStore,
        adapter: "BufferingAdapter",
        bot: Bot,
        *,
        policy: Policy,
        effects: Effects | None = None,
        texts: Texts | None = None,
        bot_seconds: float | None = None,
        bounds: Bounds | None = None,
        on_resumed: Logic | None = None,
        on_expired: OnExpired | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._on_resumed = on_resumed
        self._on_expired = on_expired
        self._bounds = bounds or Bounds()
        self._adapter = adapter
        self._bot_seconds = bot_seconds
        self._bot = bot
        self._policy = policy
        self._effects = effects or Effects()
        self._texts = texts or read_texts()
        self._now = now
        self._my_writes: deque[str] = deque(maxlen=REMEMBERED_WRITES)
        self._queues: WeakValueDictionary[Address, asyncio.Lock] = WeakValueDictionary()

    async def continue_conversation(self, reference: ConversationReference, logic: Logic) -> None:
        """Take a turn that the author's own code begins: `logic` runs in place of the bot.

        It loads, runs again if need be, commits and sends as any turn, and keeps no session alive.
        What it sends counts as notices. Without a user in the reference, the states of the user are
        those of the bot.

        Raises:
            ConflictError: others were faster each time; nothing was saved or sent.
            ConnectorError: saved, but not sent; the channel refused, or its limit is used up.
            CredentialError: saved, but not sent; there is no token.
            StorageUnavailableError: nothing was sent. The turn may still have been saved.
            Exception: what `logic` raised; nothing was saved or sent.
        """
        activity = get_continuation_activity(reference)
        activity.from_property = activity.from_property or activity.recipient
        _, failure = await self._take(activity, self._adapter.own_identity(), logic)
        if failure:
            raise failure

    async def create_conversation(
        self,
        channel_id: str,
        service_url: str,
        parameters: ConversationParameters,
        logic: Logic,
    ) -> ConversationReference:
        """Begin a conversation, once, and take a turn in it, as `continue_conversation` does.

        Raises:
            ConnectorError: the channel refused to begin it; or see `continue_conversation`.
        """
        created = await self._adapter.create_conversation_in(service_url, parameters)
        members = parameters.members or []
        reference = ConversationReference(
            channel_id=channel_id,
            service_url=service_url,
            conversation=ConversationAccount(
                id=created, is_group=parameters.is_group, tenant_id=parameters.tenant_id
            ),
            user=members[0] if len(members) == 1 else None,
            bot=parameters.bot,
        )
        await self.continue_conversation(reference, logic)
        return reference

    async def take(
        self,
        activity: Activity,
        caller: AuthenticateRequestResult,
        received_at: datetime | None = None,
    ) -> InvokeResponse | None:
        """Take the turn of one inbound activity; its replies are sent when this returns.

        Returns the body of the HTTP response for an invoke or expectReplies, and None for others. A
        copy of an activity whose turn was taken changes nothing, and gets the first one's answer.

        Args:
            activity: what came in.
            caller: who sent it.
            received_at: when it came, if it has waited; None: now.

        Raises:
            StorageUnavailableError: nothing was sent. The turn may still have been saved.
        """
        outcome, _ = await self._take(activity, caller, received_at=received_at)
        return outcome.response

    async def keep_alive(self, activity: Activity, received_at: datetime) -> None:
        """Save the time of an activity whose turn has to wait, if its session is about to end.

        So no sweep ends the session in between, if the turn begins within `Timing.guard`.

        Raises:
            StorageUnavailableError: the time may have been saved.
        """
        if self._effects.of(activity) is Effect.NONE:
            return
        address = self._store.address(
            ConversationKey(activity.channel_id, activity.conversation.id).hash
        )
        for _ in range(MAX_ATTEMPTS):
            with suppress(StateUnreadableError, ConflictError):
                row = await self._store.load(address)
                if row and self._is_about_to_end(row, received_at):
                    await self._store.save(row.used_at(received_at))
                    ended_by_user(row, received_at, self._policy)  # the turn will not see it
                return

    def _is_about_to_end(self, row: Conversation, at: datetime) -> bool:
        timing = self._policy.of(row)
        return not row.is_stale(at, timing) and row.needs_guard(at, timing)

    async def give_up(self, activity: Activity, caller: AuthenticateRequestResult) -> None:
        """Apologise for a turn that failed for good; if it was taken after all, as `take`.

        Raises:
            StorageUnavailableError: the turn was taken, and its replies could not be looked at.
        """
        key = ConversationKey(activity.channel_id, activity.conversation.id)
        address = self._store.address(key.hash)
        attempts = _Attempts(hash_of(activity))
        error = StorageUnavailableError("the turn failed each time")
        async with self._queues.setdefault(address, asyncio.Lock()):
            context = await self._prepare(activity, caller, address, attempts)
            try:
                row = attempts.row = await self._load(address)
            except StoreError:
                row = None
            outcome = await self._answer_if_taken(context, row, attempts)
            if outcome is None:
                outcome = await self._say_only(context, "something_went_wrong", attempts, error)
            await self._send(outcome, attempts, address)

    async def _take(
        self,
        activity: Activity,
        caller: AuthenticateRequestResult,
        logic: Logic | None = None,
        received_at: datetime | None = None,
    ) -> tuple[_Outcome, Exception | None]:
        """Take a turn; returns its result, and why its messages did not go out, if they did not."""
        received_at = received_at or self._now()
        bot_ends_at = None
        if self._bot_seconds is not None:
            bot_ends_at = asyncio.get_running_loop().time() + self._bot_seconds
        key = ConversationKey(activity.channel_id, activity.conversation.id)
        address = self._store.address(key.hash)
        # Turns of one conversation follow each other, and their replies do too.
        queue = self._queues.setdefault(address, asyncio.Lock())
        span = telemetry.tracer.start_as_current_span(
            "turn", attributes={"conversation": address.key, "activity.type": activity.type}
        )
        ended = "failed"
        with span:
            try:
                async with queue:
                    attempts = _Attempts(hash_of(activity), bot_ends_at, logic)
                    outcome = await self._run_until_committed(
                        activity, caller, key, received_at, attempts
                    )
                    ended = outcome.ended
                    failure = await self._send(outcome, attempts, address)
            finally:
                telemetry.turns.add(1, {"ended": ended})
        return outcome, failure

    async def _run_until_committed(
        self,
        activity: Activity,
        caller: AuthenticateRequestResult,
        key: ConversationKey,
        received_at: datetime,
        attempts: _Attempts,
    ) -> _Outcome:
        address = self._store.address(key.hash)
        for attempt in range(MAX_ATTEMPTS + 1):
            context = await self._prepare(activity, caller, address, attempts)
            try:
                row = attempts.row = await self._load(address)
                taken = await self._answer_if_taken(context, row, attempts)
                if taken:
                    return taken
                if attempt == MAX_ATTEMPTS:  # only a look: was the last attempt saved after all?
                    break
                return await self._attempt(context, row, key, received_at, attempts)
            except ConflictError:
                telemetry.turn_conflicts.add(1)
                logger.info("turn: conversation %s changed meanwhile, again", address.key)
            except StateUnreadableError as error:
                logger.error("turn: %s", error)  # noqa: TRY400 - it names the row; no code is wrong
                if attempts.start_over:
                    return await self._say_only(context, "something_went_wrong", attempts, error)
                attempts.start_over = True
            except StorageUnavailableError:
                # The answer to a write may be lost: one more look at the row tells.
                if attempts.unavailable or not attempts.outcomes:
                    raise
                attempts.unavailable = True
            except Exception as error:
                logger.exception("turn: the bot failed; nothing of it was saved or sent")
                return await self._say_only(context, "something_went_wrong", attempts, error)
            # Two writers that met should not meet again. A channel waits at most 15 s.
            await asyncio.sleep(random.uniform(0, min(0.05 * 2**attempt, 0.5)))  # noqa: S311 - no secret
        logger.error("turn: conversation %s: gave up, %d attempts", address.key, MAX_ATTEMPTS)
        return await self._say_only(
            await self._prepare(activity, caller, address, attempts),
            "too_many_at_once",
            attempts,
            ConflictError(f"conversation {address.key} changed during each attempt"),
        )

    async def _answer_if_taken(
        self, context: TurnContext, row: Conversation | None, attempts: _Attempts
    ) -> _Outcome | None:
        """The result if an attempt of this turn was saved, or a copy of its activity was taken."""
        saved = attempts.committed(row)
        if saved:
            return saved
        copy = attempts.earlier_copy(row)
        return await self._answer_copy(context, row, copy) if row and copy else None

    async def _prepare(
        self,
        activity: Activity,
        caller: AuthenticateRequestResult,
        address: Address,
        attempts: _Attempts,
    ) -> TurnContext:
        """The context of an attempt. The bot may change the activity: each gets it as it came."""
        attempts.latest = await self._adapter.prepare(
            deepcopy(activity),
            caller,
            f"{address.key}.{attempts.turn}",
            notices_within_seconds=NOTICE_WAITS_AT_MOST_SECONDS if attempts.logic else None,
            shown=self._adapter.shown(attempts.latest) if attempts.latest else (),
        )
        return attempts.latest

    async def _load(self, address: Address) -> Conversation | None:
        try:
            return await self._store.load(address)
        except StateUnreadableError as error:
            if not error.etag:
                raise
            # Treated as expired: the user starts over, and the new row replaces it.
            logger.error("turn: %s", error)  # noqa: TRY400 - it names the row; no code is wrong
            long_ago = datetime.min.replace(tzinfo=UTC)
            return Conversation(address, "", long_ago, Status.EXPIRED, etag=error.etag)

    def _replies_to_keep(self, outcome: _Outcome) -> bytes:
        if outcome.context.activity.conversation.is_group:
            return b""  # words to one member do not stay in the group's row
        held = self._adapter.held(outcome.context)
        return pack(Replies(self._now(), held, outcome.response, outcome.kept))

    async def _answer_copy(
        self, context: TurnContext, row: Conversation, copy: TakenTurn
    ) -> _Outcome:
        """Answer an activity whose turn was taken; send its replies if no other process will."""
        is_last = row.recent[-1] == copy
        replies = unpack(row.replies) if is_last else None
        if replies is None:
            return _Outcome(context, None, ended="copy")
        if (
            copy.writer not in self._my_writes
            and self._now() - replies.committed_at >= RESEND_AFTER
        ):
            # The process that removes them from the row sends them.
            row = await self._store.save(replace(row, replies=b""))
            self._adapter.hold(context, replies.held)
            return _Outcome(context, replies.response, row, replies.kept, ended="copy")
        return _Outcome(context, replies.response, ended="copy")

    async def _send(
        self, outcome: _Outcome, attempts: _Attempts, address: Address
    ) -> Exception | None:
        """Send the replies; then the ids that the channel gave go where the bot has kept them."""
        failure = await self._deliver(outcome, attempts)
        ids = self._adapter.ids(outcome.context)
        if outcome.kept and ids:
            try:
                await put_ids(self._store, address, outcome.kept, ids, outcome.saved)
            except (StoreError, StateDecodeError) as error:
                logger.warning("turn: saved, but the ids of its messages are not: %s", error)
        return failure

    async def _deliver(self, outcome: _Outcome, attempts: _Attempts) -> Exception | None:
        """Send the replies. If that takes long, remove them from the row: no copy sends them."""
        bot_ends_at = attempts.bot_ends_at
        delivery = asyncio.ensure_future(self._adapter.deliver(outcome.context))
        ends_at = None if bot_ends_at is None else bot_ends_at + DELIVERY_ENDS_AFTER_SECONDS
        try:
            done, _ = await asyncio.wait({delivery}, timeout=SLOW_DELIVERY_SECONDS)
            if not done and outcome.saved and outcome.saved.replies:
                with suppress(StoreError):  # another turn is the last one, and has replaced them
                    await self._store.save(replace(outcome.saved, replies=b""))
            async with asyncio.timeout_at(ends_at):
                return await delivery
        except TimeoutError as error:
            logger.warning("turn: saved, but its replies took too long; the rest is not sent")
            return error
        finally:
            delivery.cancel()

    async def _say_only(
        self, context: TurnContext, key: Key, attempts: _Attempts, error: Exception
    ) -> _Outcome:
        if attempts.logic:
            raise error  # its own caller learns of it; nobody waits for an apology
        self._adapter.discard(context)
        if context.activity.type == ActivityTypes.invoke:
            failure = InvokeResponse(status=HTTPStatus.INTERNAL_SERVER_ERROR)
            await context.send_activity(Activity(type=ActivityTypes.invoke_response, value=failure))
        else:
            await self._say(context, key, attempts)
        return _Outcome(context, self._adapter.response(context), ended="apologized")

    async def _say(
        self,
        context: TurnContext,
        key: Key,
        attempts: _Attempts,
        kept: KeptSession | None = None,
    ) -> None:
        """Say it in the language of the activity, or else of whoever wrote before.

        Args:
            context: of the turn.
            key: which text.
            attempts: the turn's.
            kept: the session that a button is to resume; None: there is no button.
        """
        locale = context.activity.locale or (attempts.row.locale if attempts.row else None)
        if kept is None:
            await context.send_activity(self._texts.say(key, locale).text)
            return
        left = rounded_down(max(kept.until - self._now(), timedelta(0)))
        message = Activity(
            type=ActivityTypes.message, text=self._texts.say(key, locale, remaining=left).text
        )
        channel = context.activity.channel_id
        add_resume_button(message, channel, kept.session, self._texts, locale)
        await context.send_activity(message)

    async def _attempt(
        self,
        context: TurnContext,
        row: Conversation | None,
        key: ConversationKey,
        received_at: datetime,
        attempts: _Attempts,
    ) -> _Outcome:
        activity = context.activity
        begun = await self._begin(activity, row, key, received_at, attempts)
        if begun.effect is Effect.OPENS:
            # Before the bot runs, which so finds what the hook has kept for the user.
            await self._tell_hook(begun, attempts)
        state = TurnState(
            self._store,
            activity,
            begun.session,
            turn=attempts.turn,
            policy=self._policy,
            now=self._now,
        )
        context.turn_state[TurnState.TURN_STATE_KEY] = state
        expiry.OfTurn(
            self._policy.without_own(begun.session),
            begun.session.own or OwnTiming(),
            self._bounds,
            received_at,
        ).put_into(context)
        if begun.starts_over and _is_word(activity, begun.effect):
            await self._welcome_back(context, begun, attempts)
        elif begun.resumes:
            await self._say(context, "resumed", attempts)
        # A sweep sees only what is stored, not what this turn will store.
        keeps_alive = begun.effect is not Effect.NONE and not begun.is_new
        is_invoke = activity.type == ActivityTypes.invoke
        stored = begun.row if keeps_alive else None
        try:
            async with self._heartbeat(state, stored=stored, is_use=not is_invoke):
                await self._run_bot(context, attempts, begun)
        finally:
            state.close()
        if state.failure:
            raise state.failure
        if is_invoke and not was_handled(self._adapter.response(context)):
            begun = replace(begun, effect=Effect.NONE)
        elif is_invoke and keeps_alive:
            state.used_at(received_at)
        return await self._save(context, state, begun, attempts)

    async def _tell_hook(self, begun: _Begun, attempts: _Attempts) -> None:
        """Tell the author's code of a session that this turn puts an end to.

        Before the commit: after it, nothing knows of that session any more.
        """
        ended = begun.row
        if ended is None or self._on_expired is None or attempts.told_hook_of == ended.session:
            return
        is_stale = ended.is_stale(begun.received_at, self._policy.of(ended))
        if begun.starts_over and is_stale and ended.concerns_hooks:
            attempts.told_hook_of = ended.session
            until = begun.session.kept.until if begun.session.kept else None
            await self._on_expired(replace(ended, resume_until=until))

    async def _run_bot(self, context: TurnContext, attempts: _Attempts, begun: _Begun) -> None:
        async def answer_press(context: TurnContext) -> None:
            if begun.resumes and self._on_resumed:
                await self._on_resumed(context)
            elif begun.says == "expired_resumable":
                await self._say(context, begun.says, attempts, begun.session.kept)
            elif begun.says and not begun.resumes:
                await self._say(context, begun.says, attempts)

        logic = answer_press if begun.says else attempts.logic or self._bot.on_turn
        try:
            async with asyncio.timeout_at(attempts.bot_ends_at) as limit:
                await self._adapter.run_pipeline(context, logic)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the bot's own
            raise _BotTooSlowError("ended before the host's functionTimeout is over") from error

    async def _begin(
        self,
        activity: Activity,
        row: Conversation | None,
        key: ConversationKey,
        received_at: datetime,
        attempts: _Attempts,
    ) -> _Begun:
        """The turn's session: the row's, or a new one if that is over."""
        effect = self._effects.of(activity)
        timing = self._policy.of(row) if row else self._policy.default
        is_over = row is None or row.is_stale(received_at, timing)
        kept = self._kept(row, received_at, is_over=is_over) if not attempts.start_over else None
        resumed = await self._resumed(activity, row, kept, received_at, attempts)
        if resumed:
            return resumed
        is_over = is_over or attempts.start_over
        says = None if attempts.logic else _answer_to_press(activity.value, row, kept, is_over)
        if row is None or is_over:
            session = Conversation.begun(key, self._store.address(key.hash), received_at)
            if row:
                session = session.succeeding(
                    row, self._policy.without_own(row), is_kept=kept is not None
                )
            # So that its timing is known from the start; who is in it is known at its commit.
            session = with_reference(session, activity, is_from_user=False).keeping(kept)
            return _Begun(row, session, effect, is_new=True, received_at=received_at, says=says)
        session, now = row, self._now()
        is_close_to_expiry = row.needs_guard(now, timing)
        if effect is not Effect.NONE and activity.type == ActivityTypes.invoke:
            if is_close_to_expiry:  # the bot may refuse it
                row = session = await self._store.save(row.kept_alive(now, timing))
        elif effect is not Effect.NONE:
            session = row.used_at(now if is_close_to_expiry else received_at)
            if is_close_to_expiry:
                row = session = await self._store.save(session)
        return _Begun(row, session, effect, is_new=False, received_at=received_at, says=says)

    def _kept(self, row: Conversation | None, at: datetime, *, is_over: bool) -> KeptSession | None:
        """The session that may be resumed: the row's own, if it is over, or the one before."""
        if row is None:
            return None
        kept = row.as_kept(at, self._policy.of(row)) if is_over else row.kept
        return kept if kept and kept.until >= at else None

    async def _resumed(
        self,
        activity: Activity,
        row: Conversation | None,
        kept: KeptSession | None,
        at: datetime,
        attempts: _Attempts,
    ) -> _Begun | None:
        """The turn's beginning, if it resumes this session; None: it does not."""
        if row is None or kept is None or not self._asks_to_resume(activity, row, kept, attempts):
            return None
        found = kept if kept.state is not None else await self._store.load_kept(row)
        if found is None:
            return None
        session = row.resumed(found, at)
        return _Begun(row, session, Effect.OPENS, is_new=True, received_at=at, says="resumed")

    def _asks_to_resume(
        self, activity: Activity, row: Conversation, kept: KeptSession, attempts: _Attempts
    ) -> bool:
        """Whether the activity is a press of the button, or says its title.

        Channels without buttons, and some with, send the title as text. In a group it may be meant
        for somebody else.
        """
        if attempts.logic or activity.type != ActivityTypes.message:
            return False
        pressed = session_to_resume(activity.value)
        if pressed is not None:
            return life_of(pressed) == kept.life
        if activity.conversation.is_group or (row.reference and row.reference.is_group):
            return False
        said = (activity.text or "").strip().casefold()
        locales = (activity.locale, row.locale, ENGLISH)
        return said in {self._texts.say("resume", each).text.casefold() for each in locales}

    async def _save(
        self, context: TurnContext, state: TurnState, begun: _Begun, attempts: _Attempts
    ) -> _Outcome:
        ends = self._ends(context)
        kept = await state.keeping(self._adapter.placeholders(context))
        # A user spoke, there is state, or a session ended: only then a new session is stored.
        opens = (
            begun.effect is Effect.OPENS
            or state.has_session_change
            or (begun.row is not None and ends)
        )
        own = expiry.set_in(context)
        if begun.is_new and not opens:
            if own:
                logger.warning("turn: the time that the bot has set has no session to count for")
            await state.save_user_alone()
            return _Outcome(context, self._adapter.response(context), kept=kept)
        if begun.starts_over and not _is_word(context.activity, begun.effect):
            await self._tell_hook(begun, attempts)
            await self._welcome_back_first(context, begun, attempts)
        outcome = _Outcome(context, self._adapter.response(context), kept=kept)
        if begun.is_new and (
            self._needs_guard(state.conversation)
            or self._needs_guard(replace(state.conversation, own=own))
        ):
            # A long turn: its session begins when it is stored; otherwise it would end at once.
            state.used_at(self._now())
        if state.changes_user and self._needs_guard(state.conversation):
            # Others tell by the session's end whether this turn's write of the user's row counts.
            await state.keep_alive(is_use=False)
            if state.failure:
                raise state.failure
        session = self._after_the_bot(context.activity, state.conversation, begun, own)
        is_changed = state.is_changed or session != state.conversation
        if not (begun.effect is not Effect.NONE or ends or is_changed):
            return outcome
        taken = TakenTurn(attempts.activity_hash, writer=uuid4().hex[:16])
        attempts.outcomes[taken.writer] = outcome
        self._my_writes.append(taken.writer)
        session = replace(session, replies=self._replies_to_keep(outcome))
        is_due_anew = begun.is_new or ends
        # Another work item would stand too late; two would warn twice.
        instead_of: Sequence[DueRow] = ()
        if not is_due_anew and begun.row and self._comes_earlier(session, begun.row):
            # Not those of earlier sessions: they lead to what is left of these.
            instead_of = [
                row
                for row in await self._store.due_rows_of(session.address)
                if row.session == session.session
            ]
            is_due_anew = True
        saved = await self._commit(
            session,
            state,
            taken,
            begun,
            ends=ends,
            is_due_anew=is_due_anew,
            instead_of=instead_of,
        )
        if begun.effect is not Effect.NONE and attempts.row:
            ended_by_user(attempts.row, begun.received_at, self._policy)
        return replace(outcome, saved=saved)

    def _after_the_bot(
        self, activity: Activity, session: Conversation, begun: _Begun, own: OwnTiming | None
    ) -> Conversation:
        """What the turn has made of its session, but for the states."""
        is_from_user = begun.effect is not Effect.NONE
        is_quiet = session.quiet
        if begun.is_new or begun.effect is Effect.OPENS:
            is_quiet = begun.effect is not Effect.OPENS
        session = with_reference(session, activity, is_from_user=is_from_user)
        session = replace(session, own=own, quiet=is_quiet, kept=begun.keeps)
        timing = self._policy.of(session)
        if session.begun_at is None and timing.max_age:
            session = replace(session, begun_at=session.last_accessed)
        if timing.quiet_hours and not activity.conversation.is_group:
            zone = activity.local_timezone
            session = replace(session, time_zone=zone if zone_of(zone) else session.time_zone)
        return session

    def _ends(self, context: TurnContext) -> bool:
        """Whether the client or the bot ends the conversation with this turn."""
        return (
            context.activity.type == ActivityTypes.end_of_conversation
            or leaves_a_group(context.activity)
            or has_ended(context)
            or any(
                isinstance(held.what, Activity)
                and held.what.type == ActivityTypes.end_of_conversation
                for held in self._adapter.held(context)
            )
        )

    async def _welcome_back(self, context: TurnContext, begun: _Begun, attempts: _Attempts) -> None:
        kept = begun.session.kept
        key: Key = "welcome_back_resumable" if kept else "welcome_back"
        await self._say(context, key, attempts, kept)

    async def _welcome_back_first(
        self, context: TurnContext, begun: _Begun, attempts: _Attempts
    ) -> None:
        """Put the welcome before the bot's replies; if no user spoke, only if there are replies."""
        if begun.effect is not Effect.OPENS and not self._adapter.held(context):
            return
        await self._welcome_back(context, begun, attempts)
        *others, said = self._adapter.held(context)
        self._adapter.hold(context, [said, *others])

    @asynccontextmanager
    async def _heartbeat(
        self, state: TurnState, *, stored: Conversation | None, is_use: bool
    ) -> AsyncIterator[None]:
        """Keep the session of a long turn alive: save the time whenever its expiry is close."""
        if stored is None:
            yield
            return
        beats: list[asyncio.Task[None]] = []
        done = asyncio.Event()

        async def beat() -> None:
            while not done.is_set() and not state.failure:
                await state.keep_alive(is_use=is_use)
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), self._seconds_to_guard(state.conversation))

        def begin() -> None:
            beats.append(asyncio.create_task(beat()))

        # A turn that ends before then costs one timer, no task and no request.
        timer = asyncio.get_running_loop().call_later(self._seconds_to_guard(stored), begin)
        try:
            yield
        finally:
            timer.cancel()
            done.set()
            # A write under way is not cancelled: nobody could tell whether it took effect.
            await asyncio.gather(*beats)

    def _seconds_to_guard(self, stored: Conversation) -> float:
        wait = stored.guard_begins(self._policy.of(stored)) - self._now()
        return max(wait.total_seconds(), 0)

    def _needs_guard(self, session: Conversation) -> bool:
        return session.needs_guard(self._now(), self._policy.of(session))

    def _comes_earlier(self, session: Conversation, stored: Conversation) -> bool:
        """Whether a step of it comes earlier, as this turn has shown that another timing holds."""
        now, then = self._policy.of(session), self._policy.of(stored)
        return session.due(now) < stored.due(then) or session.deadline(now) < stored.deadline(then)

    async def _commit(
        self,
        session: Conversation,
        state: TurnState,
        taken: TakenTurn,
        begun: _Begun,
        *,
        ends: bool,
        is_due_anew: bool,
        instead_of: Sequence[DueRow],
    ) -> Conversation:
        private = [] if ends else state.private_changes(version=taken.writer)
        participant = await state.save_user(
            joining=begun.effect is not Effect.NONE or bool(private)
        )
        session = session.joined_by(state.user, participant, self._store.users_in_row)
        change = state.conversation_change
        if change is not None:
            session = replace(session, state=change, state_version=taken.writer)
        if ends:
            session = session.after_its_end(self._now())
        session = replace(
            session,
            etag=state.conversation.etag,  # stopping a crashed turn has changed it
            recent=(*session.recent, taken)[-RECENT_TURNS:],
            trace=telemetry.traceparent(),
            has_private=session.has_private or bool(private),
        )
        warned = session.warned(*instead_of)
        due = session.due(self._policy.of(session), warned) if is_due_anew else None
        return await self._store.save(
            session,
            due=due,
            instead_of=instead_of,
            private=private,
            forgetting=begun.forgets(session.kept, self._now()),
        )


def _answer_to_press(
    value: object, row: Conversation | None, kept: KeptSession | None, is_over: bool
) -> Key | None:
    """What a press of one of our buttons is answered, if it resumes nothing; None: it is none."""
    pressed = session_to_resume(value)
    if pressed is not None:
        goes_on = row is not None and not is_over and row.life == life_of(pressed)
        return "stayed" if goes_on else "resume_gone"
    if not asks_to_stay(value):
        return None
    if not is_over:
        return "stayed"
    return "expired_resumable" if kept else "expired"


def _is_word(activity: Activity, effect: Effect) -> bool:
    """Whether a user speaks. Of an invoke that is known only once the bot has handled it."""
    return effect is Effect.OPENS and activity.type != ActivityTypes.invoke
