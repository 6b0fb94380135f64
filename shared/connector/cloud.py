"""The clouds that bots live in: where their tokens come from, and whose tokens they accept."""

from dataclasses import dataclass, replace

from botbuilder.schema import CallerIdConstants
from botframework.connector.auth import AuthenticationConstants, GovernmentConstants
from yarl import URL

from shared.connector.hosts import CHINA_HOSTS, PUBLIC_HOSTS, US_GOVERNMENT_HOSTS
from shared.settings.cloud import CloudSettings
from shared.settings.identity import IdentitySettings


@dataclass(frozen=True, slots=True)
class Cloud:
    """The addresses of one cloud.

    Attributes:
        login_url: the login service that gives the bot its tokens, without a tenant.
        login_tenant: the tenant of the tokens: a single-tenant bot has its own, all other bots the
            cloud's.
        scope: the audience of the tokens that the bot shows to channels.
        oauth_url: the token service of users who sign in (OAuthPrompt).
        token_issuer: of the tokens that channels show to the bot.
        channel_keys_url: the OpenID metadata of those tokens.
        emulator_keys_url: the OpenID metadata of the emulator's and the Playground's tokens.
        caller_id: the callerId for activities from this cloud's channels.
        hosts: of its channels, as `KnownHosts` has them.
    """

    login_url: str
    login_tenant: str
    scope: str
    oauth_url: str
    token_issuer: str
    channel_keys_url: str
    emulator_keys_url: str
    caller_id: str
    hosts: tuple[str, ...]

    @property
    def authority(self) -> str:
        """The login service of the bot's tenant."""
        return f"{self.login_url}/{self.login_tenant}"


PUBLIC = Cloud(
    login_url=AuthenticationConstants.TO_CHANNEL_FROM_BOT_LOGIN_URL_PREFIX.rstrip("/"),
    login_tenant=AuthenticationConstants.DEFAULT_CHANNEL_AUTH_TENANT,
    scope=AuthenticationConstants.TO_CHANNEL_FROM_BOT_OAUTH_SCOPE,
    oauth_url=AuthenticationConstants.OAUTH_URL,
    token_issuer=AuthenticationConstants.TO_BOT_FROM_CHANNEL_TOKEN_ISSUER,
    channel_keys_url=AuthenticationConstants.TO_BOT_FROM_CHANNEL_OPENID_METADATA_URL,
    emulator_keys_url=AuthenticationConstants.TO_BOT_FROM_EMULATOR_OPENID_METADATA_URL,
    caller_id=CallerIdConstants.public_azure_channel,
    # Single addresses make the public cloud 21Vianet's; Teams' GCC is in the public one.
    hosts=(*PUBLIC_HOSTS, *CHINA_HOSTS),
)
US_GOVERNMENT = Cloud(
    login_url=GovernmentConstants.TO_CHANNEL_FROM_BOT_LOGIN_URL_PREFIX.rstrip("/"),
    login_tenant=GovernmentConstants.DEFAULT_CHANNEL_AUTH_TENANT,
    scope=GovernmentConstants.TO_CHANNEL_FROM_BOT_OAUTH_SCOPE,
    oauth_url=GovernmentConstants.OAUTH_URL_GOV,
    token_issuer=GovernmentConstants.TO_BOT_FROM_CHANNEL_TOKEN_ISSUER,
    channel_keys_url=GovernmentConstants.TO_BOT_FROM_CHANNEL_OPENID_METADATA_URL,
    emulator_keys_url=GovernmentConstants.TO_BOT_FROM_EMULATOR_OPENID_METADATA_URL,
    caller_id=CallerIdConstants.us_gov_channel,
    hosts=US_GOVERNMENT_HOSTS,
)


def cloud_of(settings: CloudSettings, identity: IdentitySettings) -> Cloud:
    """The cloud that `ChannelService` names, changed by the settings for single addresses."""
    cloud = US_GOVERNMENT if settings.channel_service else PUBLIC
    login = URL(settings.login_url or cloud.authority)
    return replace(
        cloud,
        login_url=str(login.origin()),
        login_tenant=identity.own_tenant or login.path.strip("/"),
        scope=settings.oauth_scope or cloud.scope,
        oauth_url=settings.oauth_url or cloud.oauth_url,
        token_issuer=settings.token_issuer or cloud.token_issuer,
        channel_keys_url=settings.channel_keys_url or cloud.channel_keys_url,
        emulator_keys_url=settings.emulator_keys_url or cloud.emulator_keys_url,
    )
