"""The one reader of the environment: typed, checked at start, one line per mistake."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.ncrontab import Ncrontab, NcrontabError

if TYPE_CHECKING:
    from shared.certificate import Certificate

AppType = Literal["MultiTenant", "SingleTenant", "UserAssignedMSI"]

# Ten years: far beyond any sensible timeout, and due times still fit their ten digits.
MAX_SECONDS = 315_360_000

# How much longer Cosmos DB keeps a conversation's state than it may be idle, at least. A message in
# the last moment has 30 s (the guard) until its turn writes, clocks differ by 2 s, and Cosmos DB
# counts whole seconds.
TIME_TO_LIVE_MARGIN_SECONDS = 60

_CERTIFICATE = "a certificate with its RSA key: PEM, or PKCS #12 without a password"


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it, what it was and what it must be."""


def _whole_number(value: object) -> object:
    """Refuse what int() would wave through: '30.0', '3_0', ' 30', True."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]+", value):
        raise ValueError("not a whole number")
    return value


def _ncrontab(value: str) -> str:
    """What the Functions host takes for its timers, and what comes within ten years.

    Source: learn.microsoft.com, "Timer trigger for Azure Functions", NCRONTAB expressions.
    """
    now = datetime.now(UTC)
    first = Ncrontab.read(value).after(now)
    if first is None or first - now > timedelta(seconds=MAX_SECONDS):
        raise NcrontabError("it does not come within ten years")
    return value


def _file(value: str) -> str:
    if value and not Path(value).is_file():
        raise ValueError("not a file")
    return value


def _one_of_any_case(value: object) -> object:
    """Accept the documented names in any case, and an empty value as the first of them."""
    names: tuple[str, ...] = get_args(AppType)
    by_lower_case = {name.lower(): name for name in names}
    return by_lower_case.get(str(value).lower(), value) if value else names[0]


HttpsUrl = Annotated[str, Field(pattern=r"^(https://\S+)?$")]
FilePath = Annotated[str, AfterValidator(_file)]
WholeSeconds = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=MAX_SECONDS)]
TableName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$")]
# A queue's name may have 63 characters; 7 are left for "-poison".
CosmosName = Annotated[str, Field(pattern=r"^[^/\\#?]{1,255}$")]
_COSMOS_NAME = "a Cosmos DB {}'s name: 1 to 255 characters, none of / \\ # ?"
QueueName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", min_length=3, max_length=56)]


def _setting(name: str, must_be: str, **options: Any) -> Any:
    """A field read from the variable `name`; `must_be` ends the message about a bad value.

    App Service on Linux makes a period in a variable's name an underscore. Source:
    learn.microsoft.com, "Configure an App Service app".
    """
    alias = AliasChoices(name, name.replace(".", "_")) if "." in name else name
    return Field(validation_alias=alias, description=must_be, **options)


class Settings(BaseSettings):
    """What the app needs to know, read once at start from the environment.

    Every field's alias is the name of its environment variable (an app setting in Azure, a
    value in local.settings.json on one's own machine).
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=False)

    # In lower case, as tokens carry it: the SDK compares it letter by letter.
    microsoft_app_id: Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)] = (
        _setting("MicrosoftAppId", "the bot's app id", default="")
    )
    microsoft_app_password: SecretStr = _setting(
        "MicrosoftAppPassword", "the bot's client secret", default=SecretStr("")
    )
    microsoft_app_type: Annotated[AppType, BeforeValidator(_one_of_any_case)] = _setting(
        "MicrosoftAppType", "MultiTenant, SingleTenant or UserAssignedMSI", default="MultiTenant"
    )
    microsoft_app_tenant_id: str = _setting(
        "MicrosoftAppTenantId", "the tenant of a SingleTenant bot", default=""
    )
    microsoft_app_certificate: SecretStr = _setting(
        "MicrosoftAppCertificate", f"{_CERTIFICATE}, in base64", default=SecretStr("")
    )
    microsoft_app_certificate_path: FilePath = _setting(
        "MicrosoftAppCertificatePath", f"the path of a file with {_CERTIFICATE}", default=""
    )
    # The cloud: names and meaning as in the SDKs' ConfigurationBotFrameworkAuthentication.
    channel_service: Literal["", "https://botframework.azure.us"] = _setting(
        "ChannelService",
        "https://botframework.azure.us (Azure Government), or left out",
        default="",
    )
    login_url: Annotated[str, Field(pattern=r"^(https://[^/\s]+/[\w.-]+/?)?$")] = _setting(
        "ToChannelFromBotLoginUrl",
        "the login service's https address with the tenant of multi-tenant bots, as"
        " https://login.microsoftonline.us/MicrosoftServices.onmicrosoft.us",
        default="",
    )
    oauth_scope: HttpsUrl = _setting(
        "ToChannelFromBotOAuthScope", "the https audience of the bot's tokens", default=""
    )
    oauth_url: HttpsUrl = _setting(
        "OAuthUrl", "the https address of the token service of users who sign in", default=""
    )
    channel_token_issuer: HttpsUrl = _setting(
        "ToBotFromChannelTokenIssuer", "the https issuer of the channels' tokens", default=""
    )
    channel_keys_url: HttpsUrl = _setting(
        "ToBotFromChannelOpenIdMetadataUrl",
        "the https address of the OpenID metadata of the channels' tokens",
        default="",
    )
    emulator_keys_url: HttpsUrl = _setting(
        "ToBotFromEmulatorOpenIdMetadataUrl",
        "the https address of the OpenID metadata of the emulator's tokens",
        default="",
    )
    ssl_cert_file: FilePath = _setting(
        "SSL_CERT_FILE", "the path of a PEM file of trusted authorities", default=""
    )
    requests_ca_bundle: FilePath = _setting(
        "REQUESTS_CA_BUNDLE", "the path of a PEM file of trusted authorities", default=""
    )
    expire_after_seconds: WholeSeconds = _setting(
        "ExpireAfterSeconds",
        f"whole seconds, 1 or more and at most {MAX_SECONDS} (1800 is half an hour)",
    )
    expiry_schedule: Annotated[str, BeforeValidator(_ncrontab)] = _setting(
        "ExpirySchedule",
        "an NCRONTAB expression, six fields with seconds first ('0 * * * * *' is every minute)"
        " or five without seconds",
    )
    expiry_notice: Literal["on", "off"] = _setting("ExpiryNotice", "on or off", default="on")
    max_notice_age_seconds: WholeSeconds | None = _setting(
        "MaxNoticeAgeSeconds", "whole seconds, 1 or more, or left out", default=None
    )
    sweep_budget_seconds: WholeSeconds = _setting(
        "SweepBudgetSeconds", "whole seconds, less than functionTimeout in host.json", default=45
    )
    sending_limits: Path = _setting(
        "SendingLimits",
        "a TOML file, from the app's folder on",
        default=Path("sending_limits.toml"),
    )
    expiry_fan_out: Literal["off", "on"] = _setting("ExpiryFanOut", "off or on", default="off")
    expiry_queue: QueueName = _setting(
        "ExpiryQueue",
        "a queue name: 3 to 56 lower-case letters, digits and single hyphens between them",
        default="expiry-shards",
    )
    conversations_table: TableName = _setting(
        "ConversationsTable",
        "a table name: 3 to 63 letters and digits, a letter first",
        default="conversations",
    )
    users_table: TableName = _setting(
        "UsersTable", "a table name: 3 to 63 letters and digits, a letter first", default="users"
    )
    table_shards: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=256)] = _setting(
        "TableShards", "a whole number from 1 to 256, fixed for the life of the table", default=64
    )
    state_limit_kib: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=700)] = _setting(
        "StateLimitKiB", "a whole number from 1 to 700", default=700
    )
    state_store: Literal["tables", "cosmos"] = _setting(
        "StateStore", "tables or cosmos", default="tables"
    )
    # The names are those of Microsoft's article "Expire a conversation".
    cosmos_endpoint: HttpsUrl = _setting(
        "CosmosDbEndpoint", "the https address of a Cosmos DB account", default=""
    )
    cosmos_auth_key: SecretStr = _setting(
        "CosmosDbAuthKey", "a key of the Cosmos DB account", default=SecretStr("")
    )
    cosmos_database: CosmosName = _setting(
        "CosmosDbDatabaseId", _COSMOS_NAME.format("database"), default="bot"
    )
    cosmos_conversation_container: CosmosName = _setting(
        "CosmosDbConversationStateContainerId",
        _COSMOS_NAME.format("container"),
        default="conversation-state",
    )
    cosmos_user_container: CosmosName = _setting(
        "CosmosDbUserStateContainerId", _COSMOS_NAME.format("container"), default="user-state"
    )
    cosmos_time_to_live_seconds: WholeSeconds | None = _setting(
        "CosmosDbTimeToLive",
        f"whole seconds, at least ExpireAfterSeconds and {TIME_TO_LIVE_MARGIN_SECONDS} more",
        default=None,
    )
    cosmos_correct_time_to_live: Literal["off", "on"] = _setting(
        "CosmosDbCorrectTimeToLive", "off or on", default="off"
    )
    expiry_timer_disabled: bool = _setting(
        "AzureWebJobs.expiry_timer.Disabled", "true or false", default=False
    )
    state_api: Literal["key", "entra", "off"] = _setting(
        "StateApi", "key, entra or off", default="key"
    )
    easy_auth_enabled: str = _setting(
        "WEBSITE_AUTH_ENABLED", "set by App Service where Easy Auth is on", default=""
    )
    storage_connection: SecretStr = _setting(
        "AzureWebJobsStorage", "a storage connection string", default=SecretStr("")
    )
    storage_table_uri: HttpsUrl = _setting(
        "AzureWebJobsStorage__tableServiceUri", "the table service's https address", default=""
    )
    storage_queue_uri: HttpsUrl = _setting(
        "AzureWebJobsStorage__queueServiceUri", "the queue service's https address", default=""
    )
    storage_account_name: str = _setting(
        "AzureWebJobsStorage__accountName",
        "a storage account's name",
        default="",
        pattern=r"^([a-z0-9]{3,24})?$",
    )
    storage_credential: Literal["", "managedidentity"] = _setting(
        "AzureWebJobsStorage__credential", "managedidentity, or left out", default=""
    )
    storage_client_id: str = _setting(
        "AzureWebJobsStorage__clientId",
        "the client id of a user-assigned managed identity",
        default="",
    )
    application_insights: SecretStr = _setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "the connection string of an Application Insights resource",
        default=SecretStr(""),
    )
    functions_environment: str = _setting(
        "AZURE_FUNCTIONS_ENVIRONMENT", "set by the Functions host", default=""
    )

    @property
    def expire_after(self) -> timedelta:
        """How long a conversation may be idle."""
        if self.expires_by_time_to_live_alone and self.cosmos_time_to_live_seconds:
            return timedelta(seconds=self.cosmos_time_to_live_seconds)
        return timedelta(seconds=self.expire_after_seconds)

    @property
    def expires_by_time_to_live_alone(self) -> bool:
        """Nobody is told and nothing is tracked: Cosmos DB deletes what is idle."""
        return self.state_store == "cosmos" and self.expiry_timer_disabled

    @property
    def least_time_to_live_seconds(self) -> int:
        """The shortest time to live that state is safe with."""
        margin = 0 if self.expires_by_time_to_live_alone else TIME_TO_LIVE_MARGIN_SECONDS
        return int(self.expire_after.total_seconds()) + margin

    @property
    def ca_file(self) -> str:
        """The authorities to trust in place of the system's; empty if these are good."""
        return self.ssl_cert_file or self.requests_ca_bundle

    def app_certificate(self) -> "Certificate | None":
        """The bot's certificate, if it has one.

        Raises:
            ValueError: it cannot be read. The message names the setting and holds nothing secret.
        """
        path, content = self.microsoft_app_certificate_path, self.microsoft_app_certificate
        if not path and not content.get_secret_value():
            return None
        from shared.certificate import read_certificate  # noqa: PLC0415 - rarely needed

        name = "MicrosoftAppCertificatePath" if path else "MicrosoftAppCertificate"
        try:
            return read_certificate(
                Path(path).read_bytes() if path else content.get_secret_value().encode()
            )
        except (OSError, ValueError) as error:
            was = repr(path) if path else "a secret"
            raise ValueError(f"{name} is {was}; it must hold {_CERTIFICATE} ({error})") from None

    @property
    def storage_table_endpoint(self) -> str:
        """The table service's address for identity-based access; empty with a connection string."""
        if self.storage_table_uri:
            return self.storage_table_uri
        name = self.storage_account_name
        return f"https://{name}.table.core.windows.net" if name else ""

    @property
    def storage_queue_endpoint(self) -> str:
        """The queue service's address for identity-based access; empty with a connection string."""
        if self.storage_queue_uri:
            return self.storage_queue_uri
        name = self.storage_account_name
        return f"https://{name}.queue.core.windows.net" if name else ""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if not self.microsoft_app_id and self.functions_environment != "Development":
            # Without an app id every caller would be believed: fine on one's own machine only.
            raise ValueError(
                "MicrosoftAppId is empty; it must be the bot's app id"
                " (it may be left out only where AZURE_FUNCTIONS_ENVIRONMENT is Development)"
            )
        if self.microsoft_app_id and self.microsoft_app_type != "UserAssignedMSI":
            self._credentials_fit()
        if (
            self.microsoft_app_id
            and self.microsoft_app_type == "SingleTenant"
            and not self.microsoft_app_tenant_id
        ):
            raise ValueError(
                "MicrosoftAppTenantId is empty; it must be the tenant of the SingleTenant bot"
            )
        if self.state_api == "entra" and self.easy_auth_enabled.lower() != "true":
            # Only Easy Auth keeps strangers from sending its headers themselves.
            raise ValueError(
                "StateApi is 'entra'; it must be key or off where the app has no authentication"
                " of App Service (Easy Auth)"
            )
        if not self.storage_connection.get_secret_value() and not self.storage_table_endpoint:
            raise ValueError(
                "AzureWebJobsStorage is empty; it must be a storage connection string, or"
                " AzureWebJobsStorage__tableServiceUri or __accountName must name the account"
            )
        if (
            self.expiry_fan_out == "on"
            and not self.storage_connection.get_secret_value()
            and not self.storage_queue_endpoint
        ):
            raise ValueError(
                "AzureWebJobsStorage__queueServiceUri is missing; where ExpiryFanOut is on it must"
                " be the queue service's https address, or __accountName must name the account"
            )
        if self.state_store == "cosmos":
            self._cosmos_fits()
        return self

    def _cosmos_fits(self) -> None:
        if not self.cosmos_endpoint:
            raise ValueError(
                "CosmosDbEndpoint is empty; where StateStore is cosmos it must be the https address"
                " of a Cosmos DB account"
            )
        time_to_live = self.cosmos_time_to_live_seconds
        if time_to_live is None:
            raise ValueError(
                "CosmosDbTimeToLive is missing; where StateStore is cosmos it must be whole seconds"
            )
        least = self.least_time_to_live_seconds
        if time_to_live < least:
            raise ValueError(
                f"CosmosDbTimeToLive is {time_to_live}; it must be {least} or more, as"
                f" ExpireAfterSeconds is {self.expire_after_seconds}: else state might be gone"
                " before its conversation expires"
            )
        if self.cosmos_conversation_container == self.cosmos_user_container:
            raise ValueError(
                f"CosmosDbUserStateContainerId is {self.cosmos_user_container!r}; it must be"
                " another than CosmosDbConversationStateContainerId, as user state outlives a"
                " conversation's"
            )

    def _credentials_fit(self) -> None:
        given = [
            name
            for name, value in (
                ("MicrosoftAppPassword", self.microsoft_app_password.get_secret_value()),
                ("MicrosoftAppCertificate", self.microsoft_app_certificate.get_secret_value()),
                ("MicrosoftAppCertificatePath", self.microsoft_app_certificate_path),
            )
            if value
        ]
        if not given:
            raise ValueError(
                "MicrosoftAppPassword is empty; it must be the bot's client secret (only a bot with"
                " MicrosoftAppCertificate, or of MicrosoftAppType UserAssignedMSI, needs none)"
            )
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are set; it must be one of them")
        if given[0] != "MicrosoftAppPassword":
            self.app_certificate()


def read_settings() -> Settings:
    """Read and check the environment.

    Raises:
        SettingsError: one line that names each wrong setting, what it was and what it must be;
            a secret's value is never part of it.
    """
    try:
        # Built from the environment: the fields are filled by pydantic-settings, not by the caller.
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(mistake) for mistake in error.errors())) from None


def names_of(field: FieldInfo) -> Sequence[str]:
    """The variables that a field of `Settings` is read from; the first is the documented one."""
    alias = field.validation_alias
    return (
        [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
    )


def _describe(mistake: Any) -> str:
    if not mistake["loc"]:  # from _settings_fit_together, whose messages are whole already
        return str(mistake["ctx"]["error"])
    name = str(mistake["loc"][0])
    field = next(f for f in Settings.model_fields.values() if name in names_of(f))
    if mistake["type"] == "missing":
        return f"{name} is missing; it must be {field.description}"
    was = "a secret" if field.annotation is SecretStr else repr(mistake["input"])
    text = f"{name} is {was}; it must be {field.description}"
    cause = mistake.get("ctx", {}).get("error")
    return f"{text} ({cause})" if isinstance(cause, NcrontabError) else text
