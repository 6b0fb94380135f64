"""The cloud that the bot lives in, address by address.

Names and meaning are as in the SDKs' ConfigurationBotFrameworkAuthentication.
"""

from typing import Annotated, Literal

from pydantic import Field

from shared.settings.group import HttpsUrl, SettingsGroup, setting


class CloudSettings(SettingsGroup):
    """Addresses that differ from the cloud's; empty: the cloud's address."""

    channel_service: Literal["", "https://botframework.azure.us"] = setting(
        "ChannelService",
        "https://botframework.azure.us (Azure Government), or left out",
        default="",
    )
    login_url: Annotated[str, Field(pattern=r"^(https://[^/\s]+/[\w.-]+/?)?$")] = setting(
        "ToChannelFromBotLoginUrl",
        "the login service's https address with the tenant of multi-tenant bots, as"
        " https://login.microsoftonline.us/MicrosoftServices.onmicrosoft.us",
        default="",
    )
    oauth_scope: HttpsUrl = setting(
        "ToChannelFromBotOAuthScope", "the https audience of the bot's tokens", default=""
    )
    oauth_url: HttpsUrl = setting(
        "OAuthUrl", "the https address of the token service of users who sign in", default=""
    )
    token_issuer: HttpsUrl = setting(
        "ToBotFromChannelTokenIssuer", "the https issuer of the channels' tokens", default=""
    )
    channel_keys_url: HttpsUrl = setting(
        "ToBotFromChannelOpenIdMetadataUrl",
        "the https address of the OpenID metadata of the channels' tokens",
        default="",
    )
    emulator_keys_url: HttpsUrl = setting(
        "ToBotFromEmulatorOpenIdMetadataUrl",
        "the https address of the OpenID metadata of the emulator's tokens",
        default="",
    )
