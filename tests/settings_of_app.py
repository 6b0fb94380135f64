"""The fields of all groups of settings, for tests that go through every one of them."""

from collections.abc import Iterator

import pytest
from pydantic.fields import FieldInfo

from shared.settings import GROUPS
from shared.settings.group import names_of


def every_setting() -> Iterator[tuple[str, str, FieldInfo]]:
    """The group, the name in it, and the field of each setting."""
    for group, settings in GROUPS.items():
        for name, field in settings.model_fields.items():
            yield group, name, field


def variables_of_settings() -> set[str]:
    """The names of all variables that the app reads."""
    return {variable for _, _, field in every_setting() for variable in names_of(field)}


def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every setting out of the environment."""
    for variable in variables_of_settings():
        monkeypatch.delenv(variable, raising=False)
