"""The SDK's adapter on our connector, with the replies of a turn held back until its commit."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from typing import Any, cast
from uuid import uuid4

from botbuilder.core import TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import (
    Activity,
    ActivityTypes,
    ChannelAccount,
    ConversationParameters,
    ConversationReference,
    ResourceResponse,
    RoleTypes,
)
from botframework.connector import Channels
from botframework.connector.auth import (
    AuthenticateRequestResult,
    BotFrameworkAuthentication,
    ClaimsIdentity,
    ConnectorFactory,
)

from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import CredentialError
from shared.connector.limits import SendingLimits
from shared.connector.older_adapter import OlderAdapter
from shared.connector.operations import ConnectorClient
from shared.connector.outbound import HeldReply
from shared.connector.references import reference_of
from shared.connector.retry import Retries, TurnRetries

logger = logging.getLogger(__name__)

# The beginning of the id of an activity that is held back.
_PLACEHOLDER = "held-"


class BufferingAdapter(OlderAdapter):
    """The SDK's adapter, whose turns hold back what they send until `deliver`.

    In a turn made with `prepare`, sends, updates and deletes keep their order. A send returns a
    placeholder for the id that the channel will give; to update or delete what is held back changes
    what will be sent. Typing, streamed chunks included, goes out at once and returns its id.
    Elsewhere (`continue_conversation`, `create_conversation`) everything goes out at once.

    Args:
        connector: speaks to the channels.
        authentication: the SDK's, for the user token client (OAuthPrompt).
        app_id: the bot's app id; empty in development.
        retries: sends replies again that the channel did not take.
        limits: how fast the channels take messages; None: no limits.
    """

    _HELD = "shared.connector.adapter.held"

    def __init__(
        self,
        connector: Connector,
        authentication: BotFrameworkAuthentication,
        app_id: str,
        retries: Retries | None = None,
        limits: SendingLimits | None = None,
    ) -> None:
        super().__init__(_OwnConnector(connector, authentication), app_id)
        self._retries = retries or Retries()
        self._limits = limits

    async def prepare(self, activity: Activity, caller: AuthenticateRequestResult) -> TurnContext:
        """The context of a turn of `activity`, whose replies are held back."""
        activity.caller_id = caller.caller_id
        if activity.recipient is None or not activity.recipient.id:
            # Some clients leave it out; replies need a sender, and state keys need its id.
            activity.recipient = ChannelAccount(id=self._app_id or "bot", role=RoleTypes.bot)
        authentication = self.bot_framework_authentication
        factory = authentication.create_connector_factory(caller.claims_identity)
        context = self._create_turn_context(
            activity,
            caller.claims_identity,
            caller.audience,
            cast("Any", await factory.create(activity.service_url, caller.audience)),
            await authentication.create_user_token_client(caller.claims_identity),
            self._no_callback,
            factory,
        )
        context.turn_state[self._HELD] = []
        return context

    def own_identity(self) -> AuthenticateRequestResult:
        """The caller of a turn that the bot itself begins."""
        caller = AuthenticateRequestResult()
        caller.claims_identity = self.create_claims_identity(self._app_id)
        return caller

    async def create_conversation_in(
        self, service_url: str, parameters: ConversationParameters
    ) -> str:
        """Begin a conversation in a channel; returns its id.

        Raises:
            ConnectorError: the channel refused, or did not answer.
        """
        factory = self.bot_framework_authentication.create_connector_factory(
            self.create_claims_identity(self._app_id)
        )
        client = await factory.create(service_url, "")
        created = await client.conversations.create_conversation(parameters)
        return str(created.id)

    @staticmethod
    async def _no_callback(_: TurnContext) -> None:
        """The SDK keeps a turn's callback for streaming connections; there are none here."""

    def discard(self, context: TurnContext) -> None:
        """Forget everything held back so far, and the bot's handlers, which may have failed."""
        context.turn_state[self._HELD] = []
        handlers: Any
        for handlers in (
            context._on_send_activities,  # noqa: SLF001 - the SDK has no way to take one away
            context._on_update_activity,  # noqa: SLF001
            context._on_delete_activity,  # noqa: SLF001
        ):
            handlers.clear()
        context.buffered_reply_activities.clear()
        context.turn_state.pop(self._INVOKE_RESPONSE_KEY, None)

    def held(self, context: TurnContext) -> Sequence[HeldReply]:
        """What the turn has held back so far."""
        return tuple(self._held(context) or ())

    def hold(self, context: TurnContext, items: Sequence[HeldReply]) -> None:
        """Hold back what an earlier copy of this turn did, instead of running the bot."""
        context.turn_state[self._HELD] = list(items)

    async def deliver(
        self, context: TurnContext, *, notices_within_seconds: float | None = None
    ) -> Exception | None:
        """Send what the turn held back, in order; each again while that may help (`Retries`).

        After a failed send, the rest is not sent: answers out of context confuse more than silence.
        The failure is logged and returned; the turn is saved already, and stays so.

        Args:
            context: the turn's.
            notices_within_seconds: how long each may wait for its slot, if they answer nobody and
                so count as notices; None: they are replies.
        """
        held = self._held(context) or []
        context.turn_state.pop(self._HELD, None)
        retries = self._retries.begin()
        ids: dict[str, str] = {}  # that the channel gave, by placeholder
        for position, item in enumerate(held):
            try:
                await self._deliver(context, item, retries, ids, notices_within_seconds)
            except Exception as error:
                # After any error: the turn is saved, and the channel must not send it again.
                logger.warning(
                    "turn: saved, but %d of %d replies could not be delivered: %s",
                    len(held) - position,
                    len(held),
                    error,
                    exc_info=not isinstance(error, ConnectorError | CredentialError),
                )
                return error
        return None

    async def _deliver(
        self,
        context: TurnContext,
        item: HeldReply,
        retries: TurnRetries,
        ids: dict[str, str],
        notices_within_seconds: float | None,
    ) -> None:
        what: Any = item.what
        if item.kind == "send" and what.type == "delay":  # the SDK would wait whole seconds only
            await retries.pause((what.value or 1000) / 1000)
            return

        async def send_one() -> None:
            # Nothing is held back by now, so the same methods send.
            if item.kind == "update":
                await self.update_activity(context, what)
            elif item.kind == "delete":
                await self.delete_activity(context, what)
            else:
                what.reply_to_id = ids.get(what.reply_to_id, what.reply_to_id)
                (sent,) = await self.send_activities(context, [what])
                ids[placeholder] = sent.id

        # The id of a held activity is its placeholder; the SDK clears it before sending.
        placeholder = what.id if item.kind == "send" else ""
        limits = self._limits
        send: Callable[[], Awaitable[None]] = send_one
        if limits is not None:
            send = _limited(context.activity, limits, send_one, notices_within_seconds)
        await retries.call(send)

    def response(self, context: TurnContext) -> InvokeResponse | None:
        """The body of the HTTP response for an invoke or expectReplies; None for others."""
        return self._process_turn_results(context)

    async def send_activities(
        self, context: TurnContext, activities: list[Activity]
    ) -> list[ResourceResponse]:
        """Hold the activities back; outside of a turn, send them."""
        held = self._held(context)
        if held is None:
            return list(await super().send_activities(context, activities))
        return [ResourceResponse(id=await self._hold(context, held, each)) for each in activities]

    async def _hold(self, context: TurnContext, held: list[HeldReply], activity: Activity) -> str:
        """Hold one activity back, unless it is of a kind that is not; returns its id."""
        match activity.type:
            case ActivityTypes.typing:
                return await self._send_typing(context, activity)
            case ActivityTypes.invoke_response:  # belongs in the HTTP response
                context.turn_state[self._INVOKE_RESPONSE_KEY] = activity
            case ActivityTypes.trace if activity.channel_id != Channels.emulator:
                pass  # no other channel takes them
            case _:
                activity.id = f"{_PLACEHOLDER}{uuid4().hex}"
                held.append(HeldReply("send", activity))
                return activity.id
        return ""

    async def update_activity(
        self, context: TurnContext, activity: Activity
    ) -> ResourceResponse | None:
        """Hold the update back; outside of a turn, make it.

        Raises:
            ValueError: the activity has no id, or the placeholder of another turn.
        """
        held = self._held(context)
        position = _position(held, activity.id)
        if held is None:
            sent = await super().update_activity(context, activity)
            return cast("ResourceResponse | None", sent)
        if position is None:
            held.append(HeldReply("update", deepcopy(activity)))
        else:
            held[position] = HeldReply("send", deepcopy(activity))
        return ResourceResponse(id=activity.id)

    async def delete_activity(self, context: TurnContext, reference: ConversationReference) -> None:
        """Hold the deletion back; outside of a turn, make it.

        Raises:
            ValueError: the reference has no activity's id, or the placeholder of another turn.
        """
        held = self._held(context)
        position = _position(held, reference.activity_id)
        if held is None:
            await super().delete_activity(context, reference)
        elif position is None:
            held.append(HeldReply("delete", reference))
        else:
            del held[position]

    def _held(self, context: TurnContext) -> list[HeldReply] | None:
        return cast("list[HeldReply] | None", context.turn_state.get(self._HELD))

    async def _send_typing(self, context: TurnContext, activity: Activity) -> str:
        try:
            (sent,) = await super().send_activities(context, [activity])
        except (ConnectorError, CredentialError) as error:
            logger.info("turn: typing could not be shown: %s", error)
            return ""
        return str(sent.id or "")


def _position(held: Sequence[HeldReply] | None, id_: str | None) -> int | None:
    """Where the activity of that id is held back; None: the channel has it.

    Raises:
        ValueError: there is no id, or it is the placeholder of another turn.
    """
    for position, item in enumerate(held or ()):
        if item.kind == "send" and id_ and cast("Activity", item.what).id == id_:
            return position
    if not id_:
        raise ValueError("an activity is updated or deleted by its id, and this one has none")
    if id_.startswith(_PLACEHOLDER):
        raise ValueError(
            f"{id_!a} is the placeholder of an activity of another turn, or of one that is deleted:"
            " it stands for nothing any more"
        )
    return None


def _limited(
    activity: Activity,
    limits: SendingLimits,
    send: Callable[[], Awaitable[None]],
    notices_within_seconds: float | None,
) -> Callable[[], Awaitable[None]]:
    """`send`, counted by the limits; they also learn from its result."""
    reference = reference_of(activity)

    async def limited() -> None:
        if notices_within_seconds is None:
            await limits.before_reply(reference)
        else:
            await limits.before_notice(reference, notices_within_seconds)
        sent_at = limits.clock()
        try:
            await send()
        except ConnectorError as error:
            limits.answered(reference, sent_at, error)
            raise
        limits.answered(reference, sent_at)

    return limited


class _OwnConnector(BotFrameworkAuthentication):
    """The SDK's clients for sign-in, and our connector."""

    def __init__(self, connector: Connector, sdk: BotFrameworkAuthentication) -> None:
        self._factory = _Factory(connector)
        self._sdk = sdk

    async def authenticate_request(
        self, activity: Activity, auth_header: str
    ) -> AuthenticateRequestResult:
        raise NotImplementedError("shared.connector.authentication checks callers")

    async def authenticate_streaming_request(
        self, auth_header: str, channel_id_header: str
    ) -> AuthenticateRequestResult:
        raise NotImplementedError("there are no streaming connections")

    def create_connector_factory(self, claims_identity: ClaimsIdentity) -> ConnectorFactory:
        del claims_identity  # the connector has the bot's own credentials
        return self._factory

    async def create_user_token_client(self, claims_identity: ClaimsIdentity) -> Any:
        return _UserTokenClientOnDemand(self._sdk, claims_identity)


class _Factory(ConnectorFactory):
    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def create(self, service_url: str, audience: str) -> ConnectorClient:  # type: ignore[override] # ours has the operations of theirs that the SDK and bots call
        del audience
        return ConnectorClient(self._connector, service_url)


class _UserTokenClientOnDemand:
    """The SDK's user token client, made on first use: that takes 10 ms, and few turns sign in."""

    def __init__(self, sdk: BotFrameworkAuthentication, claims_identity: ClaimsIdentity) -> None:
        self._sdk = sdk
        self._claims_identity = claims_identity
        self._client: Any = None

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._client is None:
                self._client = await self._sdk.create_user_token_client(self._claims_identity)
            return await getattr(self._client, name)(*args, **kwargs)

        return call
