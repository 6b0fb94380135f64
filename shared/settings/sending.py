"""How fast messages may be sent."""

from pathlib import Path

from shared.settings.group import SettingsGroup, setting


class SendingSettings(SettingsGroup):
    """The file with the channels' limits."""

    limits: Path = setting(
        "SendingLimits",
        "a TOML file, from the app's folder on",
        default=Path("sending_limits.toml"),
        parameter="sendingLimits",
    )
