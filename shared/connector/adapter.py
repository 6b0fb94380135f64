"""The SDK's adapter on our connector, with the replies of a turn held back until its commit."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

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

from shared.connector import model_copies
from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import CredentialError
from shared.connector.limits import SendingLimits
from shared.connector.older_adapter import OlderAdapter
from shared.connector.operations import ConnectorClient
from shared.connector.outbound import HeldReply
from shared.connector.retry import Retries
from shared.connector.turn_messages import TurnMessages
from shared.domain.placeholders import is_placeholder

logger = logging.getLogger(__name__)


class BufferingAdapter(OlderAdapter):
    """The SDK's adapter, whose turns hold back what they send until `deliver`.

    In a turn made with `prepare`, sends, updates and deletes keep their order (`TurnMessages`). A
    send returns a placeholder for the id that the channel will give. Typing, chunks of a stream
    included, goes out at once and returns its id.
    Elsewhere (`continue_conversation`, `create_conversation`) everything goes out at once.

    Args:
        connector: speaks to the channels.
        authentication: the SDK's, for the user token client (OAuthPrompt).
        app_id: the bot's app id; empty in development.
        retries: sends replies again that the channel did not take.
        limits: how fast the channels take messages; None: no limits.
    """

    _MESSAGES = "shared.connector.adapter.messages"

    def __init__(
        self,
        connector: Connector,
        authentication: BotFrameworkAuthentication,
        app_id: str,
        retries: Retries | None = None,
        limits: SendingLimits | None = None,
    ) -> None:
        super().__init__(_OwnConnector(connector, authentication), app_id)
        model_copies.install()
        self._retries = retries or Retries()
        self._limits = limits
        self._tokens = _UserTokenClientOnDemand(
            authentication, self.create_claims_identity(self._app_id)
        )

    async def prepare(
        self,
        activity: Activity,
        caller: AuthenticateRequestResult,
        turn: str,
        *,
        notices_within_seconds: float | None = None,
        shown: Sequence[str] = (),
    ) -> TurnContext:
        """The context of a turn of `activity`, whose replies are held back.

        Args:
            activity: what came in.
            caller: who sent it.
            turn: names the turn; each of its attempts and copies has the same name.
            notices_within_seconds: see `TurnMessages`.
            shown: what `shown` said of the attempt before.
        """
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
        context.turn_state[self._MESSAGES] = TurnMessages(
            context,
            turn,
            self._retries,
            self._limits,
            notices_within_seconds=notices_within_seconds,
            shown=shown,
        )
        return context

    def own_identity(self) -> AuthenticateRequestResult:
        """The caller of a turn that the bot itself begins."""
        caller = AuthenticateRequestResult()
        caller.claims_identity = self.create_claims_identity(self._app_id)
        return caller

    async def sign_out(self, channel_id: str, user_id: str, connection_name: str) -> None:
        """Sign a user out of a connection, outside of a turn.

        Raises:
            Exception: the token service has refused, or does not answer.
        """
        await self._tokens.sign_out_user(user_id, connection_name, channel_id)

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
        self._messages(context).forget()
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
        return self._messages(context).held

    def hold(self, context: TurnContext, items: Sequence[HeldReply]) -> None:
        """Hold back these instead: in another order, or what an earlier copy of this turn did."""
        self._messages(context).hold_all(items)

    def placeholders(self, context: TurnContext) -> frozenset[str]:
        """What stands for the ids of the turn's messages."""
        return self._messages(context).placeholders

    def ids(self, context: TurnContext) -> Mapping[str, str]:
        """The ids that the channel gave so far, by placeholder."""
        return self._messages(context).ids

    def shown(self, context: TurnContext) -> Sequence[str]:
        """The ids of what the turn has shown before it was saved, for its next attempt."""
        return self._messages(context).shown

    async def deliver(self, context: TurnContext) -> Exception | None:
        """Send what the turn held back, see `TurnMessages.deliver`; returns why that failed."""
        return await self._messages(context).deliver()

    def response(self, context: TurnContext) -> InvokeResponse | None:
        """The body of the HTTP response for an invoke or expectReplies; None for others."""
        return self._process_turn_results(context)

    async def send_activities(
        self, context: TurnContext, activities: list[Activity]
    ) -> list[ResourceResponse]:
        """Hold the activities back; outside of a turn, send them."""
        messages = self._holding(context)
        if messages is None:
            return list(await super().send_activities(context, activities))
        return [ResourceResponse(id=await self._hold(context, messages, a)) for a in activities]

    async def _hold(self, context: TurnContext, messages: TurnMessages, activity: Activity) -> str:
        """Hold one activity back, unless it is of a kind that is not; returns its id."""
        match activity.type:
            case ActivityTypes.typing:
                return await self._send_typing(context, activity)
            case ActivityTypes.invoke_response:  # belongs in the HTTP response
                context.turn_state[self._INVOKE_RESPONSE_KEY] = activity
            case ActivityTypes.trace if activity.channel_id != Channels.emulator:
                pass  # no other channel takes them
            case _:
                return messages.hold(activity)
        return ""

    async def update_activity(
        self, context: TurnContext, activity: Activity
    ) -> ResourceResponse | None:
        """Update, see `TurnMessages.update`; outside of a turn, at once.

        Raises:
            ValueError: the activity has no id or, outside of a turn, a placeholder.
        """
        messages = self._holding(context)
        if messages is None:
            activity.id = self._channels_id(context, activity.id)
            sent = await super().update_activity(context, activity)
            return cast("ResourceResponse | None", sent)
        await messages.update(activity)
        return ResourceResponse(id=activity.id)

    async def delete_activity(self, context: TurnContext, reference: ConversationReference) -> None:
        """Delete, see `TurnMessages.delete`; outside of a turn, at once.

        Raises:
            ValueError: the reference has no activity's id or, outside of a turn, a placeholder.
        """
        messages = self._holding(context)
        if messages is None:
            reference.activity_id = self._channels_id(context, reference.activity_id)
            await super().delete_activity(context, reference)
        else:
            messages.delete(reference)

    def _channels_id(self, context: TurnContext, id_: str | None) -> str:
        messages = cast("TurnMessages | None", context.turn_state.get(self._MESSAGES))
        known = messages.known_id(id_) if messages else id_
        if not known:
            raise ValueError("an activity is updated or deleted by its id, and this one has none")
        if is_placeholder(known):
            raise ValueError(
                f"{known!a} is the placeholder of a message of a turn: outside of its state it"
                " stands for nothing"
            )
        return known

    def _messages(self, context: TurnContext) -> TurnMessages:
        return cast("TurnMessages", context.turn_state[self._MESSAGES])

    def _holding(self, context: TurnContext) -> TurnMessages | None:
        """The messages of a turn that is not over; None: nothing is held back."""
        messages = cast("TurnMessages | None", context.turn_state.get(self._MESSAGES))
        return messages if messages and not messages.is_over else None

    async def _send_typing(self, context: TurnContext, activity: Activity) -> str:
        """Send typing, or a chunk of a stream.

        Raises:
            ConnectorError: a chunk was refused: perhaps the user has stopped the stream.
            CredentialError: there is no token to send a chunk with.
        """
        try:
            (sent,) = await super().send_activities(context, [activity])
        except (ConnectorError, CredentialError) as error:
            if _is_chunk(activity):
                raise  # what follows would go out without the stream's id
            logger.info("turn: typing could not be shown: %s", error)
            return ""
        return str(sent.id or "")


def _is_chunk(activity: Activity) -> bool:
    """Whether this is a part of a stream: Teams reads the entity, Web Chat the channel data."""
    data = activity.channel_data
    is_stream = any(entity.type == "streaminfo" for entity in activity.entities or ())
    return is_stream or (isinstance(data, Mapping) and "streamType" in data)


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
