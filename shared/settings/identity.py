"""The bot's identity, and its proof."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import BeforeValidator, SecretStr, StringConstraints
from typing_extensions import override

from shared.settings.group import FilePath, SettingsGroup, setting

if TYPE_CHECKING:
    from shared.certificate import Certificate

AppType = Literal["MultiTenant", "SingleTenant", "UserAssignedMSI"]

_CERTIFICATE = "a certificate with its RSA key: PEM, or PKCS #12 without a password"


def _one_of_any_case(value: object) -> object:
    """Accept the documented names in any case, and an empty value as the first of them."""
    names: tuple[str, ...] = get_args(AppType)
    by_lower_case = {name.lower(): name for name in names}
    return by_lower_case.get(str(value).lower(), value) if value else names[0]


class IdentitySettings(SettingsGroup):
    """The bot's app registration, or its managed identity."""

    # In lower case, as in tokens: the SDK compares it letter by letter.
    app_id: Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)] = setting(
        "MicrosoftAppId",
        "the bot's app id",
        default="",
        parameter="botAppId",
    )
    app_password: SecretStr = setting(
        "MicrosoftAppPassword",
        "the bot's client secret",
        default=SecretStr(""),
        parameter="botPasswordSecretUri",
    )
    app_type: Annotated[AppType, BeforeValidator(_one_of_any_case)] = setting(
        "MicrosoftAppType",
        "MultiTenant, SingleTenant or UserAssignedMSI",
        default="MultiTenant",
        parameter="botAppType",
    )
    app_tenant_id: str = setting(
        "MicrosoftAppTenantId",
        "the tenant of a SingleTenant bot",
        default="",
        no_parameter="it is the tenant that is deployed to",
    )
    certificate: SecretStr = setting(
        "MicrosoftAppCertificate",
        f"{_CERTIFICATE}, in base64",
        default=SecretStr(""),
        parameter="botCertificateSecretUri",
    )
    certificate_path: FilePath = setting(
        "MicrosoftAppCertificatePath",
        f"the path of a file with {_CERTIFICATE}",
        default="",
        not_set="there is no file; Key Vault has the certificate",
    )
    enhanced_authentication: Literal["on", "off"] = setting(
        "DirectLineEnhancedAuthentication",
        "on or off",
        default="off",
        parameter="directLineEnhancedAuthentication",
    )
    emulator_tokens: Literal["off", "on"] = setting(
        "EmulatorTokens",
        "off or on",
        default="off",
        not_set="the Emulator is for development",
    )
    functions_environment: str = setting(
        "AZURE_FUNCTIONS_ENVIRONMENT",
        "set by the Functions host",
        default="",
        not_set="the host sets it",
    )

    @property
    def own_tenant(self) -> str:
        """The tenant of a SingleTenant bot; empty for every other bot."""
        return self.app_tenant_id if self.app_type == "SingleTenant" else ""

    @property
    def is_development(self) -> bool:
        """Whether the app runs on a developer's machine."""
        return self.functions_environment == "Development"

    @property
    def takes_emulators(self) -> bool:
        """Whether tokens of the Emulator and the Playground are good."""
        return self.is_development or self.emulator_tokens == "on"

    def app_certificate(self) -> "Certificate | None":
        """The bot's certificate, if it has one.

        Raises:
            ValueError: it cannot be read. The message names the setting and holds nothing secret.
        """
        path, content = self.certificate_path, self.certificate
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

    @override
    def misfits(self) -> Iterator[str]:
        if not self.app_id:
            # Without an app id no caller is checked: that is safe only on a developer's machine.
            if not self.is_development:
                yield (
                    "MicrosoftAppId is empty; it must be the bot's app id"
                    " (it may be left out only where AZURE_FUNCTIONS_ENVIRONMENT is Development)"
                )
            return
        if self.app_type != "UserAssignedMSI":
            yield from self._misfits_of_credentials()
        if self.app_type == "SingleTenant" and not self.app_tenant_id:
            yield "MicrosoftAppTenantId is empty; it must be the tenant of the SingleTenant bot"

    def _misfits_of_credentials(self) -> Iterator[str]:
        given = [
            name
            for name, value in (
                ("MicrosoftAppPassword", self.app_password.get_secret_value()),
                ("MicrosoftAppCertificate", self.certificate.get_secret_value()),
                ("MicrosoftAppCertificatePath", self.certificate_path),
            )
            if value
        ]
        if not given:
            yield (
                "MicrosoftAppPassword is empty; it must be the bot's client secret (only a bot with"
                " MicrosoftAppCertificate, or of MicrosoftAppType UserAssignedMSI, needs none)"
            )
        elif len(given) > 1:
            yield f"{' and '.join(given)} are set; it must be one of them"
        elif given[0] != "MicrosoftAppPassword":
            try:
                self.app_certificate()
            except ValueError as error:
                yield str(error)
