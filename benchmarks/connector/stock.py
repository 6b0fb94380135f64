"""The alternatives: the SDK's own adapters, as its samples set them up.

Their CloudAdapter (botbuilder-integration-aiohttp) is CloudAdapterBase with an aiohttp front, so
CloudAdapterBase is what is measured. BotFrameworkAdapter is the one before it: it keeps its clients
and tokens, and is what samples of before 2021 have. All that differs from a sample is where the
login service and its keys are.
"""

from typing import Any

from botbuilder.core import BotFrameworkAdapter, BotFrameworkAdapterSettings
from botbuilder.core.cloud_adapter_base import CloudAdapterBase
from botbuilder.schema import CallerIdConstants
from botframework.connector.auth import (
    AppCredentials,
    AuthenticationConfiguration,
    AuthenticationConstants,
    BotFrameworkAuthenticationFactory,
    MicrosoftAppCredentials,
    PasswordServiceClientCredentialFactory,
)
from msal.application import ConfidentialClientApplication

from benchmarks.connector.channel import APP_ID, APP_PASSWORD, Channel


def stock_adapter(channel: Channel) -> CloudAdapterBase:
    """An adapter of a bot with an app id and a secret."""
    # The SDK caches keys by address. The query keeps ours, put there by the app, out of its way.
    return CloudAdapterBase(
        BotFrameworkAuthenticationFactory.create(
            validate_authority=True,
            to_channel_from_bot_login_url=channel.cloud.authority,
            to_channel_from_bot_oauth_scope=AuthenticationConstants.TO_CHANNEL_FROM_BOT_OAUTH_SCOPE,
            to_bot_from_channel_token_issuer=AuthenticationConstants.TO_BOT_FROM_CHANNEL_TOKEN_ISSUER,
            oauth_url=AuthenticationConstants.OAUTH_URL,
            to_bot_from_channel_open_id_metadata_url=f"{channel.cloud.channel_keys_url}?stock",
            to_bot_from_emulator_open_id_metadata_url=f"{channel.cloud.emulator_keys_url}?stock",
            caller_id=CallerIdConstants.public_azure_channel,
            credential_factory=_CredentialFactory(APP_ID, APP_PASSWORD),
            auth_configuration=AuthenticationConfiguration(),
        )
    )


def old_stock_adapter(channel: Channel) -> BotFrameworkAdapter:
    """The adapter before CloudAdapter, of a bot with an app id and a secret."""
    credentials = _Credentials(
        APP_ID, APP_PASSWORD, oauth_scope=AuthenticationConstants.TO_CHANNEL_FROM_BOT_OAUTH_SCOPE
    )
    credentials.oauth_endpoint = channel.cloud.authority
    return BotFrameworkAdapter(BotFrameworkAdapterSettings(APP_ID, app_credentials=credentials))


def anonymous_stock_adapter() -> CloudAdapterBase:
    """An adapter of a bot without an app id, as on one's own machine."""
    return CloudAdapterBase(
        BotFrameworkAuthenticationFactory.create(
            credential_factory=PasswordServiceClientCredentialFactory(),
            auth_configuration=AuthenticationConfiguration(),
        )
    )


class _CredentialFactory(PasswordServiceClientCredentialFactory):
    """New credentials for every turn and send, as the SDK's: that is what it costs."""

    async def create_credentials(
        self, app_id: str, oauth_scope: str, login_endpoint: str, validate_authority: bool
    ) -> AppCredentials:
        del validate_authority
        credentials = _Credentials(app_id, self.password, oauth_scope=oauth_scope)
        credentials.oauth_endpoint = login_endpoint
        return credentials


class _Credentials(MicrosoftAppCredentials):
    """The SDK's, told that the login service is real.

    msal knows the real one by name; of a stranger it would ask login.microsoftonline.com.
    """

    def get_access_token(self, force_refresh: bool = False) -> str:
        if not self.app:
            self.app: Any = ConfidentialClientApplication(
                client_id=self.microsoft_app_id,
                client_credential=self.microsoft_app_password,
                authority=self.oauth_endpoint,
                instance_discovery=False,
            )
        token: str = super().get_access_token(force_refresh)
        return token
