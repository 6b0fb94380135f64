"""Where spans and metrics go."""

from pydantic import SecretStr

from shared.settings.group import SettingsGroup, setting


class TelemetrySettings(SettingsGroup):
    """The Application Insights resource; without one, nothing is sent."""

    connection_string: SecretStr = setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "the connection string of an Application Insights resource",
        default=SecretStr(""),
        no_parameter="the infrastructure makes the resource",
    )
