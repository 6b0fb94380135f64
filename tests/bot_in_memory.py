"""The real turn, sweep and connector operations, on tables and a channel in memory."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

from botbuilder.core import Bot, TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity
from botframework.connector.auth import AuthenticateRequestResult, ClaimsIdentity

from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import TokenSource
from shared.connector.hooks import HOOK_SECONDS, AuthorsHooks, HookServices
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import Limits
from shared.connector.notices import NoticeSender
from shared.connector.retry import Retries
from shared.connector.service_urls import ServiceUrls
from shared.domain.conversation import Conversation
from shared.domain.identity import Address, ConversationKey
from shared.domain.policy import Override, Policy
from shared.domain.store import StateStore
from shared.domain.timing import Timing
from shared.domain.work import DeadLetter
from shared.expiry.notice import Pace, SendNotice
from shared.expiry.report import SweepReport
from shared.expiry.sweep import Sweep
from shared.expiry.timeout_change import sweep_with_timeout
from shared.loaded_bot import LoadedHooks
from shared.state.bags import state_bags
from shared.state.erasure import Erasure
from shared.state.state_data import StateData
from shared.storage.cosmos_documents import Container
from shared.storage.cosmos_memory import DocumentMemory
from shared.storage.cosmos_store import CosmosStore
from shared.storage.cosmos_time_to_live_store import TimeToLiveStore
from shared.storage.table_store import TableStore
from shared.storage.tables import Table
from shared.turn.effects import Effects
from shared.turn.turn import Turns
from tests.memory_container import MemoryContainer
from tests.memory_table import MemoryTable

SHARDS = 2
CHANNEL = "directline"
SERVICE_URL = "https://channel.example/"


class FakeConnector(Connector):
    """The real operations and bodies, but what would go out is kept; `refuse` scripts failures."""

    def __init__(self) -> None:
        super().__init__(TokenSource(app_id=""))
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.ids: list[str] = []  # that it gave to what was sent
        self.refuse: Callable[[dict[str, Any]], ConnectorError | None] = lambda _: None

    async def request(
        self,
        method: str,
        service_url: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        is_anonymous: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        refusal = self.refuse(body or {})
        if refusal:
            raise refusal
        self.sent.append((method, path, body or {}))
        self.ids.append(uuid4().hex)
        return {"id": self.ids[-1]}

    @property
    def texts(self) -> list[str]:
        return [body.get("text", "") for method, _, body in self.sent if method == "POST"]


def no_limits() -> SendingLimits:
    """Limits that nobody reaches."""
    many = (1_000_000, 1.0)
    return SendingLimits(Limits({"msteams": {"tenant": many}, "other": {"service_url": many}}))


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def retries(self) -> Retries:
        """Retries that wait on this clock."""

        async def sleep(seconds: float) -> None:
            self.sleep(seconds)

        return Retries(clock=lambda: self().timestamp(), sleep=sleep)


class FunctionBot(Bot):
    """A bot made of one function, with the three bags at hand."""

    def __init__(self, on_turn: Callable[["FunctionBot", TurnContext], Awaitable[None]]) -> None:
        self.conversation, self.user, self.private = state_bags()
        self.runs = 0
        self._on_turn = on_turn

    async def on_turn(self, turn_context: TurnContext) -> None:
        self.runs += 1
        await self._on_turn(self, turn_context)
        for bag in (self.conversation, self.user, self.private):
            await bag.save_changes(turn_context)


async def count_in_conversation(bot: FunctionBot, context: TurnContext) -> None:
    """Count the messages of this session, and say the number."""
    count = bot.conversation.create_property("count")
    number = await count.get(context, 0) + 1
    await count.set(context, number)
    await context.send_activity(str(number))


async def count_in_every_bag(bot: FunctionBot, context: TurnContext) -> None:
    """Count in all three bags, and say the numbers."""
    numbers = []
    for bag in (bot.conversation, bot.user, bot.private):
        count = bag.create_property("count")
        number = await count.get(context, 0) + 1
        await count.set(context, number)
        numbers.append(str(number))
    await context.send_activity(" ".join(numbers))


def activity(text: str | None = "hi", sender: str = "ann", **changes: Any) -> Activity:
    """A user's message; `changes` are fields as they stand in JSON."""
    fields = {
        "type": "message",
        "id": uuid4().hex,
        "text": text,
        "channelId": CHANNEL,
        "serviceUrl": SERVICE_URL,
        "conversation": {"id": "talk"},
        "from": {"id": sender},
        "recipient": {"id": "bot"},
        **changes,
    }
    read: Activity = Activity.deserialize(fields)
    return read


def anonymous() -> AuthenticateRequestResult:
    """What authentication answers in development."""
    caller = AuthenticateRequestResult()
    caller.claims_identity = ClaimsIdentity({}, is_authenticated=True)
    return caller


@dataclass
class InCosmos:
    """Where a bot keeps its state, if not in tables; `alone` is without rows and sweeps.

    `by_default` makes that of bots which are not told.
    """

    by_default: ClassVar[Callable[[], "InCosmos | None"]] = staticmethod(lambda: None)

    conversations: Container = field(default_factory=MemoryContainer)
    users: Container = field(default_factory=MemoryContainer)
    alone: bool = False
    lives: timedelta = timedelta(seconds=160)
    spare_time: timedelta = timedelta(0)


@dataclass
class BotInMemory:
    """One bot on its tables; several can share them, as processes do."""

    bot: Bot
    timing: Timing = field(default_factory=lambda: Timing(timedelta(seconds=100)))
    clock: Clock = field(default_factory=Clock)
    conversations: Table = field(default_factory=MemoryTable)
    users: Table = field(default_factory=MemoryTable)
    connector: FakeConnector = field(default_factory=FakeConnector)
    service_urls: ServiceUrls = field(default_factory=ServiceUrls)
    cosmos: InCosmos | None = None
    effects: Effects | None = None
    bot_seconds: float | None = None
    overrides: Sequence[Override] = ()
    hooks: LoadedHooks | None = None
    hook_seconds: float = HOOK_SECONDS

    def __post_init__(self) -> None:
        self.cosmos = self.cosmos or InCosmos.by_default()
        self.store = self._row_store()
        self.state_store: StateStore = self.store
        if self.cosmos and self.cosmos.alone:
            self.state_store = TimeToLiveStore(self.cosmos.conversations, self.cosmos.users, SHARDS)
        self.erasure = Erasure(self.state_store, self.clock)
        self.notices = NoticeSender(
            self.connector, self.service_urls, no_limits(), policy=self.policy, now=self.clock
        )
        adapter = BufferingAdapter(
            self.connector, InboundAuthentication(app_id="").sdk, "", self.clock.retries()
        )
        state_data = StateData(self.state_store, policy=self.policy, now=self.clock)
        self.authors_hooks = AuthorsHooks(
            *(self.hooks or LoadedHooks()),
            notices=self.notices,
            services=HookServices(state_data, adapter),
            policy=self.policy,
            now=self.clock,
            seconds=self.hook_seconds,
        )
        self.turns = Turns(
            self.state_store,
            adapter,
            self.bot,
            policy=self.policy,
            effects=self.effects,
            bot_seconds=self.bot_seconds,
            on_resumed=getattr(self.bot, "on_resumed", None),
            on_expired=self.authors_hooks.hooks.on_expired,
            now=self.clock,
        )

    @property
    def policy(self) -> Policy:
        """Which timing holds for which conversation."""
        return Policy(self.timing, self.overrides)

    def _row_store(self) -> TableStore:
        if self.cosmos is None:
            return TableStore(self.conversations, self.users, SHARDS)
        spare_time = self.cosmos.spare_time
        return CosmosStore(
            self.conversations,
            self.users,
            SHARDS,
            documents=self.cosmos.conversations,
            user_documents=self.cosmos.users,
            memory=DocumentMemory(self.cosmos.lives, self.clock),
            spare_time=lambda: spare_time,
            now=self.clock,
        )

    def another_process(self) -> "BotInMemory":
        """The same bot in another process: same tables, clock and channel, nothing else shared."""
        return BotInMemory(
            self.bot,
            self.timing,
            self.clock,
            self.conversations,
            self.users,
            self.connector,
            cosmos=self.cosmos,
            overrides=self.overrides,
            hooks=self.hooks,
            hook_seconds=self.hook_seconds,
        )

    async def say(self, text: str | None = "hi", **changes: Any) -> list[str]:
        """Send a message; returns the texts that came back by then."""
        before = len(self.connector.texts)
        await self.take(activity(text, **changes))
        return self.connector.texts[before:]

    async def take(self, inbound: Activity) -> InvokeResponse | None:
        """Take a turn of any activity."""
        return await self.turns.take(inbound, anonymous())

    async def sweep(
        self,
        send_notice: SendNotice | None = None,
        budget_seconds: float = 60,
        max_notice_age_seconds: float | None = None,
        *,
        pace: Pace | None = None,
        with_timeout: bool = False,
    ) -> SweepReport:
        """Run one sweep; `with_timeout` also notes in the control row what the timeout is."""

        def run(ahead: tuple[datetime, datetime] | None) -> Awaitable[SweepReport]:
            return Sweep(
                self.store,
                send_notice or self.notices,
                self.erasure.finish,
                policy=self.policy,
                budget_seconds=budget_seconds,
                send_warning=self.notices.warn,
                hooks=self.authors_hooks.hooks,
                pace=pace,
                max_notice_age_seconds=max_notice_age_seconds,
                ahead=ahead,
                now=self.clock,
            ).run()

        if not with_timeout:
            return await run(None)
        return await sweep_with_timeout(self.store, self.policy, self.clock.now, run)

    def address(self, conversation: str = "talk", channel: str = CHANNEL) -> Address:
        """Where the conversation is."""
        return self.state_store.address(ConversationKey(channel, conversation).hash)

    async def expires_after(self, seconds: float) -> bool:
        """Whether one expires then, and not a second before; clocks may differ by 2 s."""
        self.clock.sleep(seconds + 1)
        is_early = (await self.sweep()).expired
        self.clock.sleep(1)
        return not is_early and (await self.sweep()).expired == 1

    async def row(self, conversation: str = "talk") -> Conversation | None:
        """The conversation's row."""
        return await self.state_store.load(self.address(conversation))

    async def dead_letters(self) -> list[DeadLetter]:
        """All dead letters."""
        return [
            letter
            for shard in self.store.shards
            async for page in self.store.dead_letters(shard)
            for letter in page
        ]

    def keys(self) -> list[str]:
        """The kinds of rows there are, by the first letter of their keys."""
        assert isinstance(self.conversations, MemoryTable)
        return sorted(key[0] for _, key in self.conversations.rows)
