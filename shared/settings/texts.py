"""What the project says of its own accord."""

from shared.settings.group import SettingsGroup, setting


class TextsSettings(SettingsGroup):
    """The file with the author's words."""

    file: str = setting(
        "Texts",
        "a TOML file, from the app's folder on",
        default="",
        parameter="texts",
    )
