"""Settings: typed, checked at start, one line per mistake, no secret in it."""

import re
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from shared.settings import Settings, SettingsError, read_settings
from tests.certificates import a_certificate
from tests.settings_of_app import no_settings

Read = Callable[..., Settings]

DEVELOPMENT = {
    "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "ExpireAfterSeconds": "30",
    "ExpirySchedule": "*/10 * * * * *",
}
AZURE = {
    **DEVELOPMENT,
    "AZURE_FUNCTIONS_ENVIRONMENT": "Production",
    "MicrosoftAppId": "11111111-2222-3333-4444-555555555555",
    "MicrosoftAppPassword": "pa55word",
}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    no_settings(monkeypatch)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    def read_with(base: dict[str, str], **changes: str | None) -> Settings:
        for name, value in {**base, **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return read_settings()

    return read_with


def test_the_example_settings_are_enough_in_development(read: Read) -> None:
    settings = read(DEVELOPMENT)
    assert settings.policy.longest == timedelta(seconds=30)
    assert settings.storage.shards == 64
    assert settings.expiry.notice == "on"
    assert settings.identity.app_id == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("ExpireAfterSeconds", bad) for bad in ("", "0", "-5", "1.5", "30.0", "3_0", " 30", "x")],
        ("ExpireAfterSeconds", "999999999999"),
        ("ExpirySchedule", ""),
        ("ExpirySchedule", "*/10 * * *"),
        ("ExpirySchedule", "99 * * * * *"),
        ("ExpirySchedule", "every minute please now ok"),
        ("ExpiryNotice", "maybe"),
        ("StateApi", "on"),
        ("StatusPage", "KEY"),
        ("DirectLineEnhancedAuthentication", "yes"),
        ("SweepBudgetSeconds", "0"),
        ("ExpiryFanOut", "yes"),
        *[("ExpiryQueue", bad) for bad in ("", "ab", "Upper", "a--b", "-ab", "ab-", "q" * 57)],
        ("LongTurns", "yes"),
        *[("Inbox", bad) for bad in ("", "ab", "Upper", "a-b", "1ab", "q" * 57)],
        ("TableShards", "0"),
        ("TableShards", "257"),
        ("ConversationsTable", "no-hyphens"),
        ("UsersTable", "1st"),
        ("MicrosoftAppType", "Managed"),
        ("AzureWebJobsStorage__tableServiceUri", "http://not-encrypted"),
        ("AzureWebJobsStorage__queueServiceUri", "http://not-encrypted"),
        ("AzureWebJobsStorage__accountName", "Not A Name"),
        ("AzureWebJobsStorage__credential", "password"),
        ("ChannelService", "https://botframework.azure.cn"),
        ("ToChannelFromBotLoginUrl", "http://login.example/tenant"),
        ("ToChannelFromBotLoginUrl", "https://login.example"),
        ("ToChannelFromBotLoginUrl", "https://login.example/{0}"),
        ("ToChannelFromBotLoginUrl", "https://login.example/tenant/oauth2/v2.0/token"),
        ("ToChannelFromBotOAuthScope", "api.botframework.us"),
        ("ToBotFromChannelTokenIssuer", "http://issuer.example"),
        ("ToBotFromChannelOpenIdMetadataUrl", "http://keys.example"),
        ("ToBotFromEmulatorOpenIdMetadataUrl", "http://keys.example"),
        ("OAuthUrl", "token.botframework.com"),
        ("SSL_CERT_FILE", "/no/such/file"),
        ("REQUESTS_CA_BUNDLE", "/no/such/file"),
        ("MicrosoftAppCertificatePath", "/no/such/file"),
        ("StateStore", "blobs"),
        ("CosmosDbEndpoint", "http://not-encrypted"),
        ("CosmosDbDatabaseId", "a/b"),
        ("CosmosDbConversationStateContainerId", ""),
        ("CosmosDbUserStateContainerId", "a#b"),
        ("CosmosDbTimeToLive", "1.5"),
        ("CosmosDbCorrectTimeToLive", "yes"),
        ("AzureWebJobs.expiry_timer.Disabled", "maybe"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_with_name_value_and_rule(
    read: Read, name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(DEVELOPMENT, **{name: value})
    message = str(refusal.value)
    assert message.startswith(f"{name} is {value!r}; it must be ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("00:05:00", "a time span works on App Service plans only"),
        ("1.00:00:00", "a time span works on App Service plans only"),
        ("0 0 0 31 2 *", "it does not come within ten years"),
        ("0 0 0 30-31 feb 1-5", "it does not come within ten years"),
        ("0 0 0 ? * MON", "'?' is no day of month: '?' is no number"),
        ("0 0 0 * * sat#1", "'sat#1' is no day of week: 'sat#1' is no name or number"),
        ("0 5,61 * * * *", "'61' in '5,61' is no minute: 61 is not from 0 to 59"),
        ("0\t*\t*\t*\t*\t*", "it has neither six fields nor five, with spaces between them"),
    ],
)
def test_a_schedule_that_the_host_would_not_run_is_refused_with_the_reason(
    read: Read, schedule: str, reason: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(DEVELOPMENT, ExpirySchedule=schedule)
    assert str(refusal.value).startswith(f"ExpirySchedule is {schedule!r}; it must be an NCRONTAB")
    assert str(refusal.value).endswith(f" ({reason})")


@pytest.mark.parametrize(
    "schedule", ["*/10 * * * *", "0 30 9 * January Monday", " 0  0 5-1 * * *", "0 0 0 29 2 *"]
)
def test_a_schedule_that_the_host_runs_is_taken(read: Read, schedule: str) -> None:
    assert read(DEVELOPMENT, ExpirySchedule=schedule).expiry.schedule == schedule


@pytest.mark.parametrize("name", ["ExpireAfterSeconds", "ExpirySchedule"])
def test_a_missing_setting_is_named(read: Read, name: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is missing; it must be "):
        read(DEVELOPMENT, **{name: None})


def test_every_wrong_setting_is_named_at_once(read: Read) -> None:
    with pytest.raises(SettingsError, match=r"ExpireAfterSeconds.*; ExpirySchedule"):
        read(DEVELOPMENT, ExpireAfterSeconds="x", ExpirySchedule="y")


def test_mistakes_of_several_groups_and_between_groups_are_named_at_once(read: Read) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(
            AZURE,
            MicrosoftAppPassword=None,
            MicrosoftAppType="SingleTenant",
            ChannelService="elsewhere",
            AzureWebJobsStorage="",
            StateStore="cosmos",
            ExpiryFanOut="on",
        )
    named = re.findall(r"(?:^|; )(\w+) is (?:empty|missing|')", str(refusal.value))
    assert named == [
        "ChannelService",
        "MicrosoftAppPassword",
        "MicrosoftAppTenantId",
        "AzureWebJobsStorage",
        "AzureWebJobsStorage__queueServiceUri",
        "CosmosDbEndpoint",
        "CosmosDbTimeToLive",
    ]


@pytest.mark.parametrize("environment", [None, "", "Production", "development"])
def test_without_an_app_id_only_development_starts(read: Read, environment: str | None) -> None:
    with pytest.raises(SettingsError, match=r"^MicrosoftAppId is empty"):
        read(DEVELOPMENT, AZURE_FUNCTIONS_ENVIRONMENT=environment)


def test_an_app_id_without_a_secret_is_refused(read: Read) -> None:
    with pytest.raises(SettingsError, match=r"^MicrosoftAppPassword is empty"):
        read(AZURE, MicrosoftAppPassword="")


@pytest.mark.parametrize("form", ["PEM", "PKCS #12", "file"])
def test_a_certificate_stands_in_for_the_secret(read: Read, tmp_path: Path, form: str) -> None:
    content = a_certificate(as_pkcs12=form != "PEM")
    if form == "file":
        path = tmp_path / "bot.p12"
        path.write_bytes(content)
        given = {"MicrosoftAppCertificatePath": str(path)}
    else:
        text = content if form == "PEM" else b64encode(content)
        given = {"MicrosoftAppCertificate": text.decode()}
    settings = read(AZURE, MicrosoftAppPassword=None, **given)
    assert settings.identity.app_certificate() is not None
    assert "PRIVATE" not in repr(settings)


def test_a_bad_certificate_is_refused_by_name_without_a_word_of_it(
    read: Read, tmp_path: Path
) -> None:
    key_only, _, _ = a_certificate().decode().partition("-----BEGIN CERTIFICATE")
    with pytest.raises(SettingsError, match=r"^MicrosoftAppCertificate is a secret; ") as refusal:
        read(AZURE, MicrosoftAppPassword=None, MicrosoftAppCertificate=key_only)
    assert key_only.splitlines()[1] not in str(refusal.value)
    path = tmp_path / "bot.pem"
    path.write_text(key_only)
    with pytest.raises(SettingsError, match=r"^MicrosoftAppCertificatePath is '.*bot\.pem'; "):
        read(
            AZURE,
            MicrosoftAppPassword=None,
            MicrosoftAppCertificate=None,
            MicrosoftAppCertificatePath=str(path),
        )


def test_one_proof_of_identity_is_enough(read: Read) -> None:
    certificate = a_certificate().decode()
    with pytest.raises(SettingsError, match=r"^MicrosoftAppPassword and MicrosoftAppCertificate "):
        read(AZURE, MicrosoftAppCertificate=certificate)


def test_authorities_are_those_that_openssl_is_told_of_before_those_of_requests(
    read: Read, tmp_path: Path
) -> None:
    files = [tmp_path / "one.pem", tmp_path / "two.pem"]
    for file in files:
        file.touch()
    openssl, requests = map(str, files)
    assert read(DEVELOPMENT).network.ca_file == ""
    assert read(DEVELOPMENT, REQUESTS_CA_BUNDLE=requests).network.ca_file == requests
    both = read(DEVELOPMENT, SSL_CERT_FILE=openssl, REQUESTS_CA_BUNDLE=requests)
    assert both.network.ca_file == openssl


def test_a_managed_identity_needs_no_secret(read: Read) -> None:
    settings = read(AZURE, MicrosoftAppPassword="", MicrosoftAppType="userassignedmsi")
    assert settings.identity.app_type == "UserAssignedMSI"


def test_the_app_id_is_read_in_lower_case(read: Read) -> None:
    assert read(AZURE, MicrosoftAppId=" ABC-Def ").identity.app_id == "abc-def"


def test_a_single_tenant_bot_needs_its_tenant(read: Read) -> None:
    with pytest.raises(SettingsError, match=r"^MicrosoftAppTenantId is empty"):
        read(AZURE, MicrosoftAppType="SingleTenant")


def test_an_empty_app_type_is_multi_tenant(read: Read) -> None:
    assert read(AZURE, MicrosoftAppType="").identity.app_type == "MultiTenant"


def test_no_storage_at_all_is_refused(read: Read) -> None:
    with pytest.raises(SettingsError, match=r"^AzureWebJobsStorage is empty"):
        read(DEVELOPMENT, AzureWebJobsStorage="")


def test_identity_based_storage_needs_the_account_name_only(read: Read) -> None:
    settings = read(
        DEVELOPMENT,
        AzureWebJobsStorage=None,
        AzureWebJobsStorage__accountName="account",
        ExpiryFanOut="on",
    )
    assert settings.storage.table_endpoint == "https://account.table.core.windows.net"
    assert settings.storage.queue_endpoint == "https://account.queue.core.windows.net"


def test_a_service_uri_goes_before_an_account_name(read: Read) -> None:
    settings = read(
        DEVELOPMENT,
        AzureWebJobsStorage__accountName="account",
        AzureWebJobsStorage__tableServiceUri="https://account.table.core.usgovcloudapi.net",
        AzureWebJobsStorage__queueServiceUri="https://account.queue.core.usgovcloudapi.net",
    )
    assert settings.storage.table_endpoint == "https://account.table.core.usgovcloudapi.net"
    assert settings.storage.queue_endpoint == "https://account.queue.core.usgovcloudapi.net"


def test_fan_out_needs_the_queue_service_too(read: Read) -> None:
    tables_only = {
        "AzureWebJobsStorage": None,
        "AzureWebJobsStorage__tableServiceUri": "https://account.table.core.windows.net",
    }
    assert read(DEVELOPMENT, **tables_only).expiry.fan_out == "off"
    with pytest.raises(SettingsError, match=r"^AzureWebJobsStorage__queueServiceUri is missing"):
        read(DEVELOPMENT, **tables_only, ExpiryFanOut="on")
    with pytest.raises(SettingsError, match=r"^AzureWebJobsStorage__queueServiceUri is missing"):
        read(DEVELOPMENT, **tables_only, LongTurns="on")


@pytest.mark.parametrize("name", ["ConversationsTable", "UsersTable", "ExpiryQueue"])
def test_the_inbox_has_a_name_of_its_own(read: Read, name: str) -> None:
    taken = {name: "same", "Inbox": "same"}
    assert read(DEVELOPMENT, **taken).long_turns.inbox == "same"
    with pytest.raises(SettingsError, match=r"^Inbox is same; it must be another name"):
        read(DEVELOPMENT, **taken, LongTurns="on")


def test_secrets_are_in_no_error_and_no_repr(read: Read) -> None:
    settings = read(AZURE, AzureWebJobsStorage="AccountKey=s3cret")
    assert "pa55word" not in repr(settings)
    assert "s3cret" not in repr(settings)
    with pytest.raises(SettingsError) as refusal:
        read(AZURE, AzureWebJobsStorage="AccountKey=s3cret", ExpireAfterSeconds="x")
    assert "s3cret" not in f"{refusal.value}{refusal.value.__cause__}"
    assert "pa55word" not in f"{refusal.value}{refusal.value.__cause__}"


COSMOS = {
    **DEVELOPMENT,
    "StateStore": "cosmos",
    "CosmosDbEndpoint": "https://account.documents.azure.com/",
    "CosmosDbTimeToLive": "90",
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CosmosDbEndpoint", None, r"^CosmosDbEndpoint is empty; where StateStore is cosmos"),
        ("CosmosDbTimeToLive", None, r"^CosmosDbTimeToLive is missing; where StateStore is cosmos"),
        ("CosmosDbTimeToLive", "89", r"^CosmosDbTimeToLive is 89; it must be 90 or more"),
        ("CosmosDbUserStateContainerId", "conversation-state", r"^CosmosDbUserStateContainerId is"),
    ],
)
def test_cosmos_settings_that_do_not_fit_are_named(
    read: Read, name: str, value: str | None, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read(COSMOS, **{name: value})


def test_a_time_to_live_outlasts_the_timeout_by_a_margin(read: Read) -> None:
    settings = read(COSMOS)
    assert settings.policy.longest == timedelta(seconds=30)
    assert not settings.expires_by_time_to_live_alone


@pytest.mark.parametrize(
    "name", ["AzureWebJobs.expiry_timer.Disabled", "AzureWebJobs_expiry_timer_Disabled"]
)
def test_without_the_timer_the_time_to_live_is_the_timeout(read: Read, name: str) -> None:
    settings = read(COSMOS, CosmosDbTimeToLive="20", **{name: "true"})
    assert settings.expires_by_time_to_live_alone
    assert settings.policy.longest == timedelta(seconds=20)
    settings = read(DEVELOPMENT, StateStore="tables", **{name: "true"})
    assert not settings.expires_by_time_to_live_alone
    assert settings.policy.longest == timedelta(seconds=30)


def test_a_cosmos_key_shows_nowhere(read: Read) -> None:
    assert "s3cret" not in repr(read(COSMOS, CosmosDbAuthKey="s3cret"))


@pytest.mark.parametrize(
    ("group", "takes_turns"),
    [
        ("", True),
        ("http", True),
        ("inbox_queue", True),
        ("expiry_timer", False),
        ("Expiry_Queue", False),  # the host's comparison ignores case, too
    ],
)
def test_a_group_takes_turns_or_only_sweeps(read: Read, group: str, takes_turns: bool) -> None:
    settings = read(DEVELOPMENT, FUNCTIONS_TARGET_GROUP=group)
    assert settings.host.takes_turns is takes_turns
