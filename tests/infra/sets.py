"""Sets of parameters: those that work, with what must come of them, and those that cannot work."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SECRET = "https://a.vault.azure.net/secrets/b"
_OWN = {"botAppType": "SingleTenant", "botAppId": "11111111-1111-1111-1111-111111111111"}
_OPERATOR = {"operatorPrincipalId": "22222222-2222-2222-2222-222222222222"}

_BOT = "Microsoft.BotService/botServices"
_COSMOS = "Microsoft.DocumentDB/databaseAccounts"
_NETWORK = "Microsoft.Network/virtualNetworks"
_EMAIL = "Microsoft.Insights/actionGroups"


@dataclass(frozen=True)
class ParameterSet:
    """One set.

    Attributes:
        parameters: of main.bicep, beside the defaults.
        refused_with: what the refusal says; empty: the set works.
        has: types of resources and other words that must be in what it makes.
        has_not: words that must not be there.
    """

    name: str
    parameters: Mapping[str, str | int]
    refused_with: str = ""
    has: tuple[str, ...] = ()
    has_not: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.name


def _refused(name: str, refused_with: str, **parameters: str | int) -> ParameterSet:
    return ParameterSet(name, parameters, refused_with)


TAKEN = (
    ParameterSet(
        "default",
        {},
        has=(
            _BOT,
            '"perInstanceConcurrency": 16',
            '"dailyQuotaGb": 1',
            "expiry.sweeps",
            "'ExpireAfterSeconds', '1800'|\"ExpireAfterSeconds\": \"1800\"",
        ),
        has_not=(_COSMOS, _NETWORK, _EMAIL, "RollingUpdate", ".Disabled"),
    ),
    ParameterSet("network", {"vnetEnabled": "on"}, has=(_NETWORK, '"defaultAction": "Deny"')),
    ParameterSet("cosmos", {"stateStore": "cosmos"}, has=(_COSMOS, '"defaultTtl": 88200')),
    ParameterSet(
        "cosmos, network, operator",
        {"stateStore": "cosmos", "vnetEnabled": "on", **_OPERATOR},
        has=(_COSMOS, _NETWORK, "22222222-2222-2222-2222-222222222222"),
    ),
    ParameterSet(
        "time to live alone",
        {"stateStore": "cosmos", "expiryTimer": "off", "cosmosTimeToLive": 61},
        has=('"defaultTtl": 61', "AzureWebJobs.expiry_timer.Disabled"),
    ),
    ParameterSet(
        "the shortest time to live",
        {"stateStore": "cosmos", "cosmosTimeToLive": 1860},
        has=('"defaultTtl": 1860',),
    ),
    ParameterSet("the longest timeout", {"expireAfterSeconds": 315360000}, has=("315360000",)),
    ParameterSet(
        "own registration, secret",
        {**_OWN, "botPasswordSecretUri": SECRET},
        has=("SingleTenant", f"SecretUri={SECRET}/)"),
    ),
    ParameterSet(
        "own registration, certificate, bot that exists",
        {**_OWN, "botCertificateSecretUri": f"{SECRET}/", "botRegistration": "none"},
        has=(f"SecretUri={SECRET}/)",),
        has_not=(_BOT, f"SecretUri={SECRET}//)"),
    ),
    ParameterSet(
        "bot for many tenants that exists",
        {
            **_OWN,
            "botAppType": "MultiTenant",
            "botPasswordSecretUri": SECRET,
            "botRegistration": "none",
        },
        has=("MultiTenant",),
        has_not=(_BOT,),
    ),
    ParameterSet(
        "sign-in",
        {"stateApi": "entra", "statusPage": "entra", "authClientId": _OWN["botAppId"]},
        has=("AllowAnonymous",),
    ),
    ParameterSet("e-mail", {"alertEmail": "a@example.com"}, has=(_EMAIL, "a@example.com")),
    ParameterSet(
        "size",
        {
            "alwaysReadyInstances": 2,
            "maximumInstanceCount": 2,
            "longTurns": "on",
            "httpConcurrency": 4,
            "rollingUpdates": "on",
            "logDailyCapGB": 0,
        },
        has=(
            "function:inbox_queue",
            '"perInstanceConcurrency": 4',
            "RollingUpdate",
            '"dailyQuotaGb": -1',
        ),
    ),
    ParameterSet(
        "running dry",
        {"messages": "off", "conversationsTable": "second", "tableShards": 128},
        has=("AzureWebJobs.messages.Disabled", "second"),
    ),
    ParameterSet(
        "web page",
        {
            "directLineEnhancedAuthentication": "on",
            "directLineTrustedOrigins": "https://a.example, https://b.example",
        },
        has=('"https://a.example"', '"https://b.example"', '"isSecureSiteEnabled": true'),
    ),
    ParameterSet(
        "long names", {"environmentName": "e" * 64, "botDisplayName": "The \"bot\" of 'Ann'"}
    ),
)

REFUSED = (
    _refused(
        "own registration without id",
        "BOT_APP_ID must be the client id",
        botAppType="SingleTenant",
        botPasswordSecretUri=SECRET,
    ),
    _refused("own registration without proof", "needs BOT_PASSWORD_SECRET_URI or", **_OWN),
    _refused(
        "two proofs",
        "only one of them",
        **_OWN,
        botPasswordSecretUri=SECRET,
        botCertificateSecretUri=SECRET,
    ),
    _refused("id of nothing", "do not go with BOT_APP_TYPE", botAppId="an id"),
    _refused("secret of nothing", "do not go with BOT_APP_TYPE", botPasswordSecretUri=SECRET),
    _refused(
        "new bot for many tenants",
        "BOT_REGISTRATION must be none",
        **{**_OWN, "botAppType": "MultiTenant"},
        botPasswordSecretUri=SECRET,
    ),
    _refused("version", "without a version", **_OWN, botPasswordSecretUri=f"{SECRET}/1f"),
    _refused(
        "version with a slash", "without a version", **_OWN, botCertificateSecretUri=f"{SECRET}/1/"
    ),
    _refused("no address", "without a version", **_OWN, botCertificateSecretUri="a secret"),
    _refused(
        "short time to live",
        "EXPIRE_AFTER_SECONDS and 60 more",
        stateStore="cosmos",
        cosmosTimeToLive=1859,
    ),
    _refused(
        "the longest timeout in cosmos",
        "EXPIRE_AFTER_SECONDS and 60 more",
        stateStore="cosmos",
        expireAfterSeconds=315360000,
    ),
    _refused("state by sign-in", "AUTH_CLIENT_ID must be", stateApi="entra"),
    _refused("status by sign-in", "AUTH_CLIENT_ID must be", statusPage="entra"),
    _refused(
        "origins alone",
        "needs DIRECT_LINE_ENHANCED_AUTHENTICATION",
        directLineTrustedOrigins="https://a",
    ),
    _refused("one table", "must be two tables", usersTable="Conversations"),
    _refused("table of the inbox", "must not be inbox", conversationsTable="Inbox"),
    _refused("table of Azure", "must not be inbox", usersTable="tables"),
    _refused(
        "more ready than at most",
        "must not be more than",
        alwaysReadyInstances=5,
        maximumInstanceCount=4,
    ),
)
