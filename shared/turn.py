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
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

from botbuilder.core import Bot, TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ActivityTypes, ChannelAccount, RoleTypes
from botframework.connector.auth import AuthenticateRequestResult

from shared import notices
from shared.connector.adapter import BufferingAdapter
from shared.conversations import (
    Address,
    ConflictError,
    Conversation,
    ConversationKey,
    ConversationStore,
    StateUnreadableError,
    Status,
    StorageUnavailableError,
    due_seconds,
    new_session_id,
    utc_now,
)
from shared.state import TurnState

logger = logging.getLogger(__name__)

# Attempts of one turn. Turns of one conversation queue up within a process, so only another
# process can make one start over.
MAX_ATTEMPTS = 8

# So many of the last turns are remembered in the conversation's row.
RECENT_TURNS = 16

# What a user does; other activities never open a session and never move LastAccessed.
_USER_ACTIVITIES = {
    ActivityTypes.message,
    ActivityTypes.invoke,
    ActivityTypes.event,
    ActivityTypes.message_reaction,
    ActivityTypes.message_update,
}


@dataclass
class _Attempts:
    """The attempts of one turn so far: by writer id, what each would send."""

    contexts: dict[str, TurnContext] = field(default_factory=dict)
    unavailable: bool = False
    start_over: bool = False

    def committed(self, row: Conversation | None) -> TurnContext | None:
        """The context of the attempt that the row says was saved, if any."""
        for writer in row.recent if row else ():
            if writer in self.contexts:
                return self.contexts[writer]
        return None


class Turns:
    """Takes turns.

    Args:
        store: where conversations and users are.
        adapter: what speaks to the channel.
        bot: what answers.
        expire_after: how long a conversation may be idle.
        shard_count: the store's.
        now: the clock, in aware UTC.
    """

    def __init__(
        self,
        store: ConversationStore,
        adapter: BufferingAdapter,
        bot: Bot,
        *,
        expire_after: timedelta,
        shard_count: int,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._adapter = adapter
        self._bot = bot
        self._expire_after = expire_after
        self._shard_count = shard_count
        self._now = now
        self._queues: WeakValueDictionary[Address, asyncio.Lock] = WeakValueDictionary()

    async def take(
        self, activity: Activity, caller: AuthenticateRequestResult
    ) -> InvokeResponse | None:
        """Take the turn of one inbound activity; its replies are sent when this returns.

        Returns what belongs in the HTTP response: for an invoke or expectReplies, else None.

        Raises:
            StorageUnavailableError: nothing was sent. It may have been saved all the same.
        """
        received_at = self._now()
        key = ConversationKey(activity.channel_id, activity.conversation.id)
        address = key.address(self._shard_count)
        # Turns of one conversation follow each other, and their replies do too.
        queue = self._queues.setdefault(address, asyncio.Lock())
        async with queue:
            context = await self._run_until_committed(activity, caller, address, received_at)
            await self._adapter.deliver(context)
        return self._adapter.response(context)

    async def _run_until_committed(
        self,
        activity: Activity,
        caller: AuthenticateRequestResult,
        address: Address,
        received_at: datetime,
    ) -> TurnContext:
        attempts = _Attempts()
        for attempt in range(MAX_ATTEMPTS):
            # The bot may change what it is given: every attempt gets the activity as it came.
            context = await self._adapter.prepare(deepcopy(activity), caller)
            try:
                row = await self._load(address)
                saved = attempts.committed(row)
                if saved:
                    return saved
                await self._attempt(context, row, address, received_at, attempts)
            except ConflictError:
                logger.info("turn: conversation %s changed meanwhile, again", address.key)
            except StateUnreadableError as error:
                logger.error("turn: %s", error)  # noqa: TRY400 - it names the row; no code is wrong
                if attempts.start_over:
                    return await self._say_only(context, notices.SOMETHING_WENT_WRONG)
                attempts.start_over = True
            except StorageUnavailableError:
                # Of a write, the answer may be lost: one more look at the row tells.
                if attempts.unavailable or not attempts.contexts:
                    raise
                attempts.unavailable = True
            except Exception:
                logger.exception("turn: the bot failed; nothing of it was saved or sent")
                return await self._say_only(context, notices.SOMETHING_WENT_WRONG)
            else:
                return context
            # Two that met should not meet again; a channel waits 15 s at most for its answer.
            await asyncio.sleep(random.uniform(0, min(0.05 * 2**attempt, 0.5)))  # noqa: S311 - no secret
        logger.error("turn: conversation %s: gave up, %d attempts", address.key, MAX_ATTEMPTS)
        return await self._say_only(
            await self._adapter.prepare(deepcopy(activity), caller), notices.TOO_MANY_AT_ONCE
        )

    async def _load(self, address: Address) -> Conversation | None:
        try:
            return await self._store.load(address)
        except StateUnreadableError as error:
            if not error.etag:
                raise
            # As good as expired: the user starts over, in its place.
            logger.error("turn: %s", error)  # noqa: TRY400 - it names the row; no code is wrong
            long_ago = datetime.min.replace(tzinfo=UTC)
            return Conversation(address, "", long_ago, Status.EXPIRED, etag=error.etag)

    async def _say_only(self, context: TurnContext, text: str) -> TurnContext:
        self._adapter.discard(context)
        if context.activity.type == ActivityTypes.invoke:
            failure = InvokeResponse(status=HTTPStatus.INTERNAL_SERVER_ERROR)
            await context.send_activity(Activity(type=ActivityTypes.invoke_response, value=failure))
        else:
            await context.send_activity(text)
        return context

    async def _attempt(
        self,
        context: TurnContext,
        row: Conversation | None,
        address: Address,
        received_at: datetime,
        attempts: _Attempts,
    ) -> None:
        activity = context.activity
        counts = _is_from_user(activity)
        is_new = row is None or attempts.start_over or row.is_stale(received_at, self._expire_after)
        if row is None or is_new:
            session = self._new_session(row, address, activity, received_at)
        else:
            session = row
            if counts:
                session = replace(row, last_accessed=max(row.last_accessed, received_at))
                if row.needs_guard(self._now(), self._expire_after):
                    session = await self._store.save(session)
        state = TurnState(
            self._store,
            activity,
            session,
            my_writers=attempts.contexts,
            expire_after=self._expire_after,
            now=self._now,
        )
        context.turn_state[TurnState.TURN_STATE_KEY] = state
        if row is not None and is_new and counts:
            await context.send_activity(notices.WELCOME_BACK)
        await self._adapter.run_pipeline(context, self._bot.on_turn)
        if state.failure:
            raise state.failure
        writer = uuid4().hex[:16]
        if is_new and not counts:
            await self._save_without_session(state)
            return
        session = _with_reference(state.conversation, activity, is_from_user=counts)
        if counts or state.is_changed or session != state.conversation:
            attempts.contexts[writer] = context
            await self._commit(session, state, writer, is_new=is_new, is_from_user=counts)

    def _new_session(
        self,
        row: Conversation | None,
        address: Address,
        activity: Activity,
        received_at: datetime,
    ) -> Conversation:
        fresh = Conversation(
            address=address,
            session=new_session_id(),
            last_accessed=received_at,
            readable_key=f"{activity.channel_id}|{activity.conversation.id}"[:1000],
            state=b"",
        )
        return fresh.succeeding(row) if row else fresh

    async def _save_without_session(self, state: TurnState) -> None:
        """What is not a user's doing opens no session: only the user's own bag can be kept."""
        await state.save_user_alone()
        if state.conversation_change or state.private_changes(version=""):
            logger.warning(
                "turn: conversation state set on an activity that opens no session was dropped"
            )

    async def _commit(
        self,
        session: Conversation,
        state: TurnState,
        writer: str,
        *,
        is_new: bool,
        is_from_user: bool,
    ) -> None:
        participant = await state.save_user(writer, joining=is_from_user)
        if participant:
            session = replace(session, users={**session.users, state.user: participant})
        change = state.conversation_change
        if change is not None:
            session = replace(session, state=change, state_version=writer)
        private = state.private_changes(version=writer)
        session = replace(
            session,
            etag=state.conversation.etag,  # stopping a crashed turn has changed it
            writer=writer,
            recent=(*session.recent, writer)[-RECENT_TURNS:],
            has_private=session.has_private or bool(private),
        )
        due = due_seconds(session.last_accessed + self._expire_after) if is_new else None
        await self._store.save(session, due=due, private=private)


def _is_from_user(activity: Activity) -> bool:
    sender, bot = activity.from_property, activity.recipient
    is_bot = sender.role == RoleTypes.bot or (bot is not None and sender.id == bot.id)
    return activity.type in _USER_ACTIVITIES and not is_bot


def _with_reference(
    session: Conversation, activity: Activity, *, is_from_user: bool
) -> Conversation:
    """The session with what it takes to reach the user later: service URLs change."""
    where = activity.conversation
    user = _account(activity.from_property)
    if not is_from_user:
        user = session.reference.get("user") if session.reference else None
    reference = {
        "channelId": activity.channel_id,
        "serviceUrl": activity.service_url,
        # A group's notice goes to the group, not to who spoke last.
        "user": None if where.is_group else user,
        "bot": _account(activity.recipient),
        "conversation": _present(
            id=where.id,
            isGroup=where.is_group,
            conversationType=where.conversation_type,
            # The SDK knows it by another name ("tenantID") than Teams sends it by.
            tenantId=where.tenant_id or (where.additional_properties or {}).get("tenantId"),
        ),
    }
    return replace(
        session, reference=_present(**reference), locale=activity.locale or session.locale
    )


def _account(account: ChannelAccount | None) -> dict[str, Any] | None:
    """Ids only: names are personal data that no notice needs."""
    if account is None:
        return None
    return _present(id=account.id, aadObjectId=account.aad_object_id, role=account.role)


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
