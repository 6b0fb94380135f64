"""The authorities that connections trust."""

from shared.settings.group import FilePath, SettingsGroup, setting

_KNOWN = "Azure's authorities are known"


class NetworkSettings(SettingsGroup):
    """The authorities to trust instead of the system's, under the names that libraries use."""

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

    @property
    def ca_file(self) -> str:
        """The authorities to trust instead of the system's; empty: the system's."""
        return self.ssl_cert_file or self.requests_ca_bundle
