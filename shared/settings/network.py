"""The authorities that connections trust, and the hosts that may have the bot's token."""

from typing import Annotated

from pydantic import Field

from shared.settings.group import FilePath, SettingsGroup, setting

_HOST = r"(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?"
HostList = Annotated[str, Field(pattern=rf"^({_HOST}(, ?{_HOST})*)?$")]
_KNOWN = "Azure's authorities are known"


class NetworkSettings(SettingsGroup):
    """The authorities to trust, under the names that libraries use, and private channels."""

    ssl_cert_file: FilePath = setting(
        "SSL_CERT_FILE",
        "the path of a PEM file of trusted authorities",
        default="",
        not_set=_KNOWN,
    )
    requests_ca_bundle: FilePath = setting(
        "REQUESTS_CA_BUNDLE",
        "the path of a PEM file of trusted authorities",
        default="",
        not_set=_KNOWN,
    )

    allowed_service_hosts: HostList = setting(
        "AllowedServiceHosts",
        "names of hosts in lower case, with commas between them; *.example.com is every host below"
        " example.com",
        default="",
        parameter="allowedServiceHosts",
    )

    @property
    def service_hosts(self) -> tuple[str, ...]:
        """The hosts that may have the bot's token, besides the channels' own."""
        names = self.allowed_service_hosts.split(",")
        return tuple(name.strip() for name in names if name.strip())

    @property
    def ca_file(self) -> str:
        """The authorities to trust instead of the system's; empty: the system's."""
        return self.ssl_cert_file or self.requests_ca_bundle
