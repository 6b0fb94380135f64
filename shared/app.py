"""The composition root: builds everything once per process, on first use, on the running loop."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import cached_property
from http import HTTPStatus

from botbuilder.core import TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ConversationParameters, ConversationReference
from botframework.connector.auth import AuthenticateRequestResult

from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import Connector
from shared.connector.cloud import cloud_of
from shared.connector.credentials import sdk_credentials, token_source
from shared.connector.hooks import AuthorsHooks, HookServices
from shared.connector.hosts import KnownHosts
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import read_limits
from shared.connector.notices import NoticeSender, say_nothing
from shared.connector.service_urls import ServiceUrls
from shared.domain.errors import StorageUnavailableError
from shared.domain.inbox import Inbox
from shared.domain.store import BudgetStore, Stores
from shared.domain.times import utc_now
from shared.expiry.budget import Budget
from shared.expiry.fan_out import FanOut, Queue, poison_name
from shared.expiry.garbage import keep_what_is_there
from shared.expiry.health import Health
from shared.expiry.inbox_watch import InboxWatch
from shared.expiry.run import SweepRunner
from shared.loaded_bot import load_bot, load_hooks
from shared.log_lines import make_log_lines_safe
from shared.settings import Settings, SettingsError, read_settings
from shared.state.erasure import Erasure, asks_for_erasure
from shared.state.export import Exports
from shared.state.state_data import StateData
from shared.storage.stores import open_stores
from shared.texts.texts_file import read_texts
from shared.turn.long_turns import LongTurns, can_wait
from shared.turn.replies import unpacked_json
from shared.turn.turn import Turns

logger = logging.getLogger(__name__)

# The look at the inbox goes on beside a sweep, and must not outlast one.
WAKE_WITHIN_SECONDS = 30


class App:
    """The app, as the function folders use it.

    Args:
        settings: the checked settings.
        stores: where the state is.
        authentication: checks callers.
        connector: speaks to channels.
        fan_out: takes the shards that sweeps do not finish; None: the next sweep does.
        inbox: where activities wait whose channel is answered before their turn.
        budget: where processes share what they may send; None: this process is the only one.
        inbox_queues: the queue that makes the platform run the turns, and that of its messages that
            failed too often; None: the turn comes first, and nothing more is put into the inbox.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        authentication: InboundAuthentication,
        connector: Connector,
        fan_out: FanOut | None = None,
        *,
        budget: BudgetStore | None = None,
        inbox: Inbox | None = None,
        inbox_queues: tuple[Queue, Queue] | None = None,
    ) -> None:
        self.authentication = authentication
        self._stores = stores
        self._are_ids_bound = settings.identity.enhanced_authentication == "on"
        self._request_seconds = settings.host.request_seconds
        self._service_urls = ServiceUrls(stores.for_sweeps() if stores.has_rows else None)
        policy = settings.policy
        self.budget = Budget(budget) if budget else None
        limits = SendingLimits(read_limits(settings.sending), budget=self.budget)
        self._texts = read_texts(settings.texts.file)
        notices = (
            NoticeSender(connector, self._service_urls, limits, self._texts, policy)
            if settings.expiry.notice == "on"
            else None
        )
        self._policy = policy
        self._adapter = BufferingAdapter(
            connector, authentication.sdk, settings.identity.app_id, limits=limits
        )
        self._bot_seconds = settings.host.bot_seconds
        self._settings = settings
        self.erasure = Erasure(stores.for_turns(), now=utc_now)
        self._state_data = StateData(stores.for_turns(), policy=policy, now=utc_now)
        self._hooks = AuthorsHooks(
            *load_hooks(),
            notices=notices,
            services=HookServices(self._state_data, self._adapter),
            policy=policy,
            now=utc_now,
        ).hooks
        self.sweeps = SweepRunner(
            stores,
            settings.expiry,
            notices or say_nothing,
            self.erasure.finish,
            policy=policy,
            send_warning=notices.warn if notices else None,
            hooks=self._hooks,
            pace=notices,
            fan_out=fan_out,
        )
        self._long_turns: LongTurns | None = None
        self._inbox_watch: InboxWatch | None = None
        if inbox:
            queue, poison = inbox_queues or (None, None)
            self._long_turns = LongTurns(inbox, queue, _TurnsOf(self)) if queue else None
            self._inbox_watch = InboxWatch(inbox, poison)
        self.health = Health(stores, settings.expiry, policy, inbox=self._inbox_watch)

    # These need the bot's code; a process that only sweeps does not load it.

    @cached_property
    def _turns(self) -> Turns:
        loaded = load_bot()
        return Turns(
            self._stores.for_turns(),
            self._adapter,
            loaded.at(self._adapter),
            policy=self._policy,
            effects=loaded.effects,
            texts=self._texts,
            bot_seconds=self._bot_seconds,
            bounds=self._settings.bounds_for_code,
            on_resumed=loaded.on_resumed,
            on_expired=self._hooks.on_expired if self._stores.has_rows else None,
        )

    @property
    def state_data(self) -> StateData:
        """What the REST interface does with state, which may hold instances of listed classes."""
        load_bot()
        return self._state_data

    @cached_property
    def exports(self) -> Exports:
        """What is stored about one user; the same holds for its state."""
        load_bot()
        return Exports(self._stores.for_turns(), now=utc_now, replies=unpacked_json)

    async def receive(
        self, activity: Activity, caller: AuthenticateRequestResult, body: bytes
    ) -> InvokeResponse | None:
        """Take the turn of an activity, or let it wait for its turn; then the response is 202.

        Args:
            activity: what came in.
            caller: who sent it, as authenticated.
            body: what the activity was read from.

        Raises:
            StorageUnavailableError: nothing was sent.
            SettingsError: tables or containers do not fit the settings; see `Stores.ready`.
        """
        if self._long_turns is None or not can_wait(activity):
            return await self.take_turn(activity, caller)
        async with self.with_storage():
            await self._long_turns.accept(activity, caller, body)
        return InvokeResponse(status=HTTPStatus.ACCEPTED)

    async def take_waiting(self, conversation: str) -> None:
        """Take the turns that wait in a conversation; see `LongTurns.run`.

        Raises:
            Exception: see there.
        """
        if self._long_turns is None:
            raise StorageUnavailableError("LongTurns is off")
        async with self._stores.ready():
            await self._long_turns.run(conversation)

    async def wake_waiting(self) -> None:
        """Make sure that no activity waits without anybody knowing; see `LongTurns.wake`."""
        try:
            async with asyncio.timeout(WAKE_WITHIN_SECONDS), self._stores.ready():
                if self._long_turns:
                    await self._long_turns.wake()
                if self._inbox_watch:
                    await self._inbox_watch.warn(utc_now())
        except (
            StorageUnavailableError,
            SettingsError,
            TimeoutError,
        ) as error:  # the next run of the timer does
            logger.warning("inbox: not looked at: %s", error)

    async def take_turn(
        self,
        activity: Activity,
        caller: AuthenticateRequestResult,
        received_at: datetime | None = None,
    ) -> InvokeResponse | None:
        """Take the turn of an activity whose caller was authenticated; see `Turns.take`.

        Raises:
            StorageUnavailableError: nothing was sent.
            SettingsError: tables or containers do not fit the settings; see `Stores.ready`.
        """
        self._service_urls.received(activity)
        async with self.with_storage():
            response = await self._turns.take(activity, caller, received_at)
            await self._service_urls.keep(activity)
            if asks_for_erasure(activity, are_ids_bound=self._are_ids_bound):
                await self.erasure.erase(activity.channel_id, activity.from_property.id)
            return response

    async def continue_conversation(
        self, reference: ConversationReference, logic: Callable[[TurnContext], Awaitable[None]]
    ) -> None:
        """Take a turn that a function of the author's begins; see `Turns.continue_conversation`.

        Raises:
            Exception: see there.
        """
        async with self.with_storage():
            await self._turns.continue_conversation(reference, logic)

    async def create_conversation(
        self,
        channel_id: str,
        service_url: str,
        parameters: ConversationParameters,
        logic: Callable[[TurnContext], Awaitable[None]],
    ) -> ConversationReference:
        """Begin a conversation and take a turn in it; see `Turns.create_conversation`.

        Raises:
            Exception: see there.
        """
        async with self.with_storage():
            return await self._turns.create_conversation(channel_id, service_url, parameters, logic)

    @asynccontextmanager
    async def with_storage(self) -> AsyncIterator[None]:
        """Make sure of the storage, and end what is done with it before the host's timeout.

        Raises:
            StorageUnavailableError: also if that takes too long: it was cancelled, as by a crash.
            SettingsError: tables or containers do not fit the settings; see `Stores.ready`.
        """
        async with self.in_time(), self._stores.ready():
            yield

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """End what is done for a request before the host's timeout.

        Raises:
            StorageUnavailableError: it was cancelled, as by a crash.
        """
        try:
            async with asyncio.timeout(self._request_seconds) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StorageUnavailableError(
                f"the request was cancelled after {self._request_seconds:g} s, before"
                " functionTimeout"
            ) from error


class _TurnsOf:
    """The turns of an app, as the inbox takes them."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def take(
        self, activity: Activity, caller: AuthenticateRequestResult, received_at: datetime
    ) -> None:
        await self._app.take_turn(activity, caller, received_at)

    async def give_up(self, activity: Activity, caller: AuthenticateRequestResult) -> None:
        async with self._app.in_time():
            await self._app._turns.give_up(activity, caller)  # noqa: SLF001 - it is a part of the app

    async def keep_alive(self, activity: Activity, received_at: datetime) -> None:
        await self._app._turns.keep_alive(activity, received_at)  # noqa: SLF001 - it is a part of the app


@asynccontextmanager
async def build_app(settings: Settings) -> AsyncIterator[App]:
    """Build the app; closes its clients after."""
    # At INFO the client logs every request with its headers.
    logging.getLogger("azure.core.pipeline.policies").setLevel(logging.WARNING)
    make_log_lines_safe()
    async with AsyncExitStack() as clients:
        stores = await clients.enter_async_context(open_stores(settings))
        cloud = cloud_of(settings.cloud, settings.identity)
        ca_file = settings.network.ca_file
        tokens = token_source(settings.identity, cloud, ca_file)
        trust = ssl.create_default_context(cafile=ca_file) if ca_file else None
        hosts = KnownHosts(
            (*cloud.hosts, *settings.network.service_hosts),
            loopback=settings.identity.is_development,
        )
        connector = Connector(tokens, ssl_context=trust, hosts=hosts)
        clients.push_async_callback(connector.close)
        authentication = InboundAuthentication(
            app_id=settings.identity.app_id,
            credentials=sdk_credentials(settings.identity),
            cloud=cloud,
            ssl_context=trust,
            takes_emulators=settings.identity.takes_emulators,
            tenant=settings.identity.app_tenant_id,
        )
        fan_out = None
        inbox_queues: tuple[Queue, Queue] | None = None
        if settings.expiry.fan_out == "on" or settings.long_turns.is_on:
            from shared.storage.queues import Queues  # noqa: PLC0415 - apps without it start faster

            queues = await clients.enter_async_context(Queues.of(settings.storage))
            if settings.expiry.fan_out == "on":
                fan_out = FanOut(
                    queues.queue(settings.expiry.queue),
                    queues.queue(poison_name(settings.expiry.queue)),
                    most=settings.storage.shards,
                )
            if settings.long_turns.is_on:
                name = settings.long_turns.inbox
                inbox_queues = queues.queue(name), queues.queue(poison_name(name))
        app = App(
            settings,
            stores,
            authentication,
            connector,
            fan_out,
            budget=stores.budget(),
            inbox=stores.inbox(),
            inbox_queues=inbox_queues,
        )
        if app.budget:
            clients.push_async_callback(app.budget.close)
        yield app


class _Process:
    """The one app of this process, and what closes it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._clients = AsyncExitStack()
        self._app: App | None = None

    async def app(self) -> App:
        async with self._lock:
            if self._app is None:
                self._app = await self._clients.enter_async_context(build_app(read_settings()))
                keep_what_is_there()
            return self._app

    async def close(self) -> None:
        async with self._lock:
            self._app = None
            await self._clients.aclose()


_process = _Process()


async def get_app() -> App:
    """The app of this process, built on first use.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    return await _process.app()


async def close_app() -> None:
    """Close the clients of this process's app: for tests. The host kills the process."""
    await _process.close()
