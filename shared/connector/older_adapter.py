"""What bots call on the SDK's older adapter, BotFrameworkAdapter, and CloudAdapter has no more."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from botbuilder.core import TurnContext
from botbuilder.core.cloud_adapter_base import CloudAdapterBase
from botbuilder.schema import (
    ChannelAccount,
    ConversationParameters,
    ConversationReference,
    ConversationsResult,
    TokenResponse,
)
from botframework.connector.auth.user_token_client import UserTokenClient
from botframework.connector.token_api.models import (
    SignInUrlResponse,
    TokenExchangeRequest,
    TokenStatus,
)

from shared.connector.operations import ConnectorClient, Conversations

_Callback = Callable[[TurnContext], Awaitable[Any]]


class OlderAdapter(CloudAdapterBase):
    """CloudAdapterBase with the methods of BotFrameworkAdapter that bots call in their turns.

    They use the turn's own clients, so they do not block as some of the SDK's do. Credentials of
    the bot's own raise NotImplementedError: the bot has one identity.

    Args:
        authentication: makes the clients of a turn.
        app_id: the bot's app id; empty in development.
    """

    def __init__(self, authentication: Any, app_id: str) -> None:
        super().__init__(authentication)
        self._app_id = app_id

    async def create_connector_client(
        self, service_url: str, identity: Any = None, audience: str | None = None
    ) -> ConnectorClient:
        """The connector client for a service URL; identity and audience are always the bot's."""
        del identity, audience
        factory = self.bot_framework_authentication.create_connector_factory(
            self.create_claims_identity(self._app_id)
        )
        return cast("ConnectorClient", await factory.create(service_url, ""))

    async def create_conversation(self, *args: Any, **kwargs: Any) -> Any:
        """Begin a conversation with the arguments of either adapter.

        With CloudAdapter's, an app id comes first. With BotFrameworkAdapter's, a reference does; it
        stands for what is left out, and what the callback returns is returned.

        Raises:
            ConnectorError: the channel refused, or did not answer.
            TypeError: an argument is missing.
        """
        first = args[0] if args else kwargs.get("reference")
        if isinstance(first, ConversationReference):
            return await self._create_as_in(*args, **kwargs)
        return await super().create_conversation(*args, **kwargs)

    async def _create_as_in(  # noqa: PLR0917 - the SDK's arguments, in its order
        self,
        reference: ConversationReference,
        logic: _Callback | None = None,
        conversation_parameters: ConversationParameters | None = None,
        channel_id: str | None = None,
        service_url: str | None = None,
        credentials: Any = None,
    ) -> Any:
        _refuse(credentials)
        parameters = conversation_parameters or ConversationParameters(
            bot=reference.bot, members=[reference.user], is_group=False
        )
        tenant = reference.conversation and reference.conversation.tenant_id
        if tenant:  # Teams has read both
            others = parameters.channel_data or {}
            parameters.channel_data = {**others, "tenant": {"tenantId": tenant}}
            parameters.tenant_id = tenant
        returned = None

        async def run(turn_context: TurnContext) -> None:
            nonlocal returned
            if logic:
                returned = await logic(turn_context)

        await super().create_conversation(
            self._app_id,
            run,
            parameters,
            channel_id or reference.channel_id,
            service_url or reference.service_url,
        )
        return returned

    async def get_conversation_members(self, context: TurnContext) -> list[ChannelAccount]:
        """All members of the turn's conversation; raises ConnectorError."""
        conversation: str = context.activity.conversation.id
        return await _conversations(context).get_conversation_members(conversation)

    async def get_conversation_member(self, context: TurnContext, member_id: str) -> ChannelAccount:
        """One member of the turn's conversation; raises ConnectorError."""
        return await _conversations(context).get_conversation_member(
            context.activity.conversation.id, member_id
        )

    async def delete_conversation_member(self, context: TurnContext, member_id: str) -> None:
        """Take a member out of the turn's conversation; raises ConnectorError."""
        await _conversations(context).delete_conversation_member(
            context.activity.conversation.id, member_id
        )

    async def get_activity_members(
        self, context: TurnContext, activity_id: str | None = None
    ) -> list[ChannelAccount]:
        """Whom an activity went to; None is the turn's. Raises ConnectorError."""
        return await _conversations(context).get_activity_members(
            context.activity.conversation.id, activity_id or context.activity.id
        )

    async def get_conversations(
        self, service_url: str, credentials: Any = None, continuation_token: str | None = None
    ) -> ConversationsResult:
        """The conversations that the bot takes part in, a page of them; raises ConnectorError."""
        _refuse(credentials)
        client = await self.create_connector_client(service_url)
        return await client.conversations.get_conversations(continuation_token)

    async def get_user_token(
        self,
        context: TurnContext,
        connection_name: str,
        magic_code: str | None = None,
        oauth_app_credentials: Any = None,
    ) -> TokenResponse | None:
        """The token of the turn's user; None without one. The code is what a user typed in."""
        _refuse(oauth_app_credentials)
        user, channel = _user_and_channel(context)
        token = await _tokens(context).get_user_token(user, connection_name, channel, magic_code)
        return cast("TokenResponse | None", token)

    async def sign_out_user(
        self,
        context: TurnContext,
        connection_name: str,
        user_id: str | None = None,
        oauth_app_credentials: Any = None,
    ) -> None:
        """Sign a user out of a connection; None is the turn's user."""
        _refuse(oauth_app_credentials)
        user, channel = _user_and_channel(context)
        await _tokens(context).sign_out_user(user_id or user, connection_name, channel)

    async def get_oauth_sign_in_link(
        self,
        context: TurnContext,
        connection_name: str,
        final_redirect: str | None = None,
        oauth_app_credentials: Any = None,
    ) -> str:
        """The address where the turn's user signs in."""
        _refuse(oauth_app_credentials)
        resource = await self.get_sign_in_resource_from_user(
            context, connection_name, final_redirect=final_redirect
        )
        return str(resource.sign_in_link)

    async def get_token_status(
        self,
        context: TurnContext,
        connection_name: str | None = None,
        user_id: str | None = None,
        include_filter: str | None = None,
        oauth_app_credentials: Any = None,
    ) -> list[TokenStatus]:
        """To which connections a user has signed in; None is the turn's user."""
        del connection_name  # neither does the SDK use it
        _refuse(oauth_app_credentials)
        user, channel = _user_and_channel(context)
        found = await _tokens(context).get_token_status(user_id or user, channel, include_filter)
        return cast("list[TokenStatus]", found)

    async def get_aad_tokens(
        self,
        context: TurnContext,
        connection_name: str,
        resource_urls: list[str],
        user_id: str | None = None,
        oauth_app_credentials: Any = None,
    ) -> dict[str, TokenResponse]:
        """The tokens of the turn's user for resources of Entra ID, by their addresses."""
        del user_id  # neither does the SDK use it
        _refuse(oauth_app_credentials)
        user, channel = _user_and_channel(context)
        tokens = await _tokens(context).get_aad_tokens(
            user, connection_name, resource_urls, channel
        )
        return cast("dict[str, TokenResponse]", tokens)

    async def get_sign_in_resource_from_user(
        self,
        turn_context: TurnContext,
        connection_name: str,
        user_id: str | None = None,
        final_redirect: str | None = None,
    ) -> SignInUrlResponse:
        """What a card for signing in needs; the user is always the turn's."""
        del user_id  # the activity names the user
        resource = await _tokens(turn_context).get_sign_in_resource(
            connection_name, turn_context.activity, final_redirect
        )
        return cast("SignInUrlResponse", resource)

    async def exchange_token(
        self,
        turn_context: TurnContext,
        connection_name: str,
        user_id: str,
        exchange_request: TokenExchangeRequest,
    ) -> TokenResponse:
        """The user's token of a connection, for a token that the client has."""
        _, channel = _user_and_channel(turn_context)
        token = await _tokens(turn_context).exchange_token(
            user_id, connection_name, channel, exchange_request
        )
        return cast("TokenResponse", token)


def _refuse(credentials: Any) -> None:
    if credentials is not None:
        raise NotImplementedError("credentials of a call's own: the bot has one identity")


def _conversations(context: TurnContext) -> Conversations:
    client = context.turn_state[CloudAdapterBase.BOT_CONNECTOR_CLIENT_KEY]
    return cast("ConnectorClient", client).conversations


def _tokens(context: TurnContext) -> Any:
    return context.turn_state[UserTokenClient.__name__]


def _user_and_channel(context: TurnContext) -> tuple[str, str]:
    return context.activity.from_property.id, context.activity.channel_id
