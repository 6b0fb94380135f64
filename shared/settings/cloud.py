"""The cloud that the bot lives in, address by address.

Names and meaning are as in the SDKs' ConfigurationBotFrameworkAuthentication.
"""

from typing import Annotated, Literal

from pydantic import Field

from shared.settings.group import ANOTHER_CLOUD, HttpsUrl, SettingsGroup, setting


class CloudSettings(SettingsGroup):
    """Addresses that differ from the cloud's; empty: the cloud's address."""

    channel_service: Literal["", "https://botframework.azure.us"] = setting(
        "ChannelService",
        "https://botframework.azure.us (Azure Government), or left out",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    login_url: Annotated[str, Field(pattern=r"^(https://[^/\s]+/[\w.-]+/?)?$")] = setting(
        "ToChannelFromBotLoginUrl",
        "the login service's https address with the tenant of multi-tenant bots, as"
        " https://login.microsoftonline.us/MicrosoftServices.onmicrosoft.us",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    oauth_scope: HttpsUrl = setting(
        "ToChannelFromBotOAuthScope",
        "the https audience of the bot's tokens",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    oauth_url: HttpsUrl = setting(
        "OAuthUrl",
        "the https address of the token service of users who sign in",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    token_issuer: HttpsUrl = setting(
        "ToBotFromChannelTokenIssuer",
        "the https issuer of the channels' tokens",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    channel_keys_url: HttpsUrl = setting(
        "ToBotFromChannelOpenIdMetadataUrl",
        "the https address of the OpenID metadata of the channels' tokens",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    emulator_keys_url: HttpsUrl = setting(
        "ToBotFromEmulatorOpenIdMetadataUrl",
        "the https address of the OpenID metadata of the emulator's tokens",
        default="",
        not_set=ANOTHER_CLOUD,
    )
