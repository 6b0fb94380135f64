"""Runs the author's hooks: with their conversation, within their time, and never to our harm."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from botbuilder.schema import Activity

from shared.authors.ending import EndingConversation, Services
from shared.connector.adapter import BufferingAdapter
from shared.connector.notices import NoticeSender, OwnWords, say_nothing
from shared.connector.outbound import wire_form
from shared.connector.references import conversation_reference
from shared.domain.conversation import Conversation
from shared.domain.policy import Policy
from shared.domain.reference import Reference
from shared.expiry.budget import LEAVES_AFTER_SECONDS
from shared.expiry.notice import Hooks, NoticeResult, SendNotice, SendWarning, Verdict
from shared.state import codec
from shared.state.state_data import StateData

logger = logging.getLogger(__name__)

# A function of the author's. What it returns is checked.
Hook = Callable[[EndingConversation], Awaitable[object]]

HOOK_SECONDS = 10.0

# In UTF-16: so much Teams takes for certain. Source: Teams documentation, "Format your bot
# messages". A notice that a channel refuses for its size would be a dead letter.
MOST_BYTES = 80_000


class AuthorsHooks:
    """The hooks of this app.

    Args:
        on_expired: see `shared.hooks`; None: there is none.
        on_warned: the same.
        notices: sends messages; None: nobody is told anything.
        services: what hooks can do.
        policy: which timing holds for which conversation.
        now: the clock, in aware UTC.
        seconds: how long a hook may take.
    """

    def __init__(
        self,
        on_expired: Hook | None,
        on_warned: Hook | None,
        *,
        notices: NoticeSender | None,
        services: Services,
        policy: Policy,
        now: Callable[[], datetime],
        seconds: float = HOOK_SECONDS,
    ) -> None:
        self._on_expired = on_expired
        self._on_warned = on_warned
        self._notices = notices
        self._services = services
        self._policy = policy
        self._now = now
        self._seconds = seconds

    @property
    def hooks(self) -> Hooks:
        """Those that there are, as a sweep runs them."""
        return Hooks(
            on_expired=self._expired if self._on_expired else None,
            on_warned=self._warned if self._on_warned else None,
        )

    async def _expired(self, conversation: Conversation) -> SendNotice | None:
        words = await self._run("on_expired", self._on_expired, conversation)
        if words is None or self._notices is None:
            return None
        return partial(self._notices, own=words) if words else say_nothing

    async def _warned(self, conversation: Conversation) -> SendWarning | None:
        words = await self._run("on_warned", self._on_warned, conversation)
        if words is None or self._notices is None:
            return None
        return partial(self._notices.warn, own=words) if words else _warn_of_nothing

    async def _run(
        self, name: str, hook: Hook | None, conversation: Conversation
    ) -> OwnWords | None:
        """The hook's words, once they are good; None: ours."""
        if hook is None or conversation.reference is None:
            return None
        where = f"{conversation.address.shard}/{conversation.address.key}"
        try:
            ending = await self._ending(conversation, conversation.reference)
        except codec.StateDecodeError as error:
            logger.error("hooks: conversation %s: %s; %s does not run", where, error, name)  # noqa: TRY400 - it says all
            return None
        try:
            async with self._staying(conversation), asyncio.timeout(self._seconds) as limit:
                return _checked(await hook(ending))
        except Exception:  # the author's code may raise anything
            why = f"took more than {self._seconds:g} s" if limit.expired() else "failed"
            logger.exception("hooks: conversation %s: %s %s; our words go", where, name, why)
            return None

    @asynccontextmanager
    async def _staying(self, conversation: Conversation) -> AsyncIterator[None]:
        """Hold what this process may send, for a hook that takes seconds."""

        async def stay() -> None:
            while self._notices:
                await asyncio.sleep(LEAVES_AFTER_SECONDS / 2)
                self._notices.stay(conversation)

        staying = asyncio.create_task(stay())
        try:
            yield
        finally:
            staying.cancel()

    async def _ending(self, conversation: Conversation, to: Reference) -> EndingConversation:
        packed = conversation.state or b""
        if len(packed) > codec.LARGE_BYTES:
            state = await asyncio.to_thread(codec.unpack_data, packed)
        else:
            state = codec.unpack_data(packed)
        until = conversation.resume_until
        return EndingConversation(
            reference=conversation_reference(to),
            locale=conversation.locale,
            deadline=conversation.deadline(self._policy.of(conversation)),
            last_accessed=conversation.last_accessed,
            state=state,
            can_resume=until is not None and until > self._now(),
            services=self._services,
        )


class HookServices(Services):
    """What hooks can do, on the stores and the token service of this app.

    Args:
        state_data: reads and changes users' bags.
        adapter: has the bot's identity at the token service.
    """

    def __init__(self, state_data: StateData, adapter: BufferingAdapter) -> None:
        self._state_data = state_data
        self._adapter = adapter

    async def read_user(self, channel_id: str, user_id: str) -> dict[str, Any]:
        """See `StateData.read_user`."""
        return await self._state_data.read_user(channel_id, user_id)

    async def change_user(
        self, channel_id: str, user_id: str, change: Callable[[dict[str, Any]], None]
    ) -> None:
        """See `StateData.change_user`."""
        await self._state_data.change_user(channel_id, user_id, change)

    async def sign_out(self, channel_id: str, user_id: str, connection_name: str) -> None:
        """See `BufferingAdapter.sign_out`."""
        await self._adapter.sign_out(channel_id, user_id, connection_name)


def _checked(returned: object) -> OwnWords | None:
    """What a hook has returned.

    Raises:
        TypeError: it is nothing that can be said.
        ValueError: it is too large, or cannot be sent.
    """
    match returned:
        case None:
            return None
        case str():
            said = returned
        case Activity():
            said = json.dumps(wire_form(returned), ensure_ascii=False)
        case _:
            raise TypeError(
                f"it has returned a {type(returned).__name__}; it must be an Activity, a text or"
                " None"
            )
    size = len(said.encode("utf-16-le"))
    if size > MOST_BYTES:
        raise ValueError(f"it has returned {size} bytes; the most is {MOST_BYTES}")
    return returned


async def _warn_of_nothing(_: Conversation, left: timedelta) -> NoticeResult:
    del left
    return NoticeResult(Verdict.NOT_WANTED)
