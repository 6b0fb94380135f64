"""Which addresses the settings of a cloud come to."""

from collections.abc import Callable

import pytest

from shared.connector.cloud import PUBLIC, US_GOVERNMENT, Cloud, cloud_of
from shared.settings import read_settings
from tests.settings_of_app import no_settings

ReadCloud = Callable[..., Cloud]

# learn.microsoft.com, "Configure a bot in Microsoft Azure operated by 21Vianet".
CHINA = {
    "OAuthUrl": "https://token.botframework.azure.cn/",
    "ToChannelFromBotLoginUrl": (
        "https://login.partner.microsoftonline.cn/microsoftservices.partner.onmschina.cn"
    ),
    "ToChannelFromBotOAuthScope": "https://api.botframework.azure.cn",
    "ToBotFromChannelTokenIssuer": "https://api.botframework.azure.cn",
    "ToBotFromChannelOpenIdMetadataUrl": (
        "https://login.botframework.azure.cn/v1/.well-known/openidconfiguration"
    ),
    "ToBotFromEmulatorOpenIdMetadataUrl": (
        "https://login.partner.microsoftonline.cn/a55a4d5b-9241-49b1-b4ff-befa8db00269/v2.0/"
        ".well-known/openid-configuration"
    ),
    "ValidateAuthority": "true",
}


@pytest.fixture
def read_cloud(monkeypatch: pytest.MonkeyPatch) -> ReadCloud:
    no_settings(monkeypatch)

    def read(**changes: str) -> Cloud:
        given = {
            "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "ExpireAfterSeconds": "30",
            "ExpirySchedule": "*/10 * * * * *",
        }
        settings = read_settings(given | changes)
        return cloud_of(settings.cloud, settings.identity)

    return read


def test_a_bot_lives_in_the_public_cloud(read_cloud: ReadCloud) -> None:
    assert read_cloud() == PUBLIC
    assert PUBLIC.authority == "https://login.microsoftonline.com/botframework.com"


def test_the_channel_service_of_azure_government_is_enough(read_cloud: ReadCloud) -> None:
    cloud = read_cloud(ChannelService="https://botframework.azure.us")
    assert cloud == US_GOVERNMENT
    assert cloud.authority == "https://login.microsoftonline.us/MicrosoftServices.onmicrosoft.us"
    assert cloud.scope == cloud.token_issuer == "https://api.botframework.us"


def test_a_cloud_can_be_given_address_by_address(read_cloud: ReadCloud) -> None:
    cloud = read_cloud(**CHINA)
    assert cloud == Cloud(
        login_url="https://login.partner.microsoftonline.cn",
        login_tenant="microsoftservices.partner.onmschina.cn",
        scope=CHINA["ToChannelFromBotOAuthScope"],
        oauth_url=CHINA["OAuthUrl"],
        token_issuer=CHINA["ToBotFromChannelTokenIssuer"],
        channel_keys_url=CHINA["ToBotFromChannelOpenIdMetadataUrl"],
        emulator_keys_url=CHINA["ToBotFromEmulatorOpenIdMetadataUrl"],
        caller_id=PUBLIC.caller_id,
        hosts=PUBLIC.hosts,
    )


def test_a_single_tenant_bot_gets_its_tokens_from_its_own_tenant(read_cloud: ReadCloud) -> None:
    own = {"MicrosoftAppType": "SingleTenant", "MicrosoftAppTenantId": "my-tenant"}
    assert read_cloud(**own).authority == "https://login.microsoftonline.com/my-tenant"
    china = read_cloud(**CHINA, **own)
    assert china.authority == "https://login.partner.microsoftonline.cn/my-tenant"


def test_one_address_can_be_changed_alone(read_cloud: ReadCloud) -> None:
    europe = "https://europe.token.botframework.com/"
    assert read_cloud(OAuthUrl=europe).oauth_url == europe
    assert read_cloud(OAuthUrl=europe).scope == PUBLIC.scope
