"""Every setting has a row in the README with its default, and a parameter in infra or a reason.

A new field in shared/settings is found here by itself; these tests say what is still missing.
"""

import re
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.settings import read_settings
from shared.settings.group import names_of
from tests.settings_of_app import every_setting, no_settings
from tests.unit.project.bicep import (
    ROOT,
    app_settings,
    parameters_in,
    parameters_of,
    value_of,
)

FIELDS = {names_of(field)[0]: field for _, _, field in every_setting()}
# Read by the host, Microsoft's exporter and the libraries that send requests, not by Settings.
NOT_OURS = {
    "AzureWebJobs.messages.Disabled",  # the host reads it
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
}
# The infrastructure's value is another than the default: it has an identity and no secrets.
DECIDED = {
    "MicrosoftAppType": "UserAssignedMSI",
    "AzureWebJobsStorage__credential": "managedidentity",
}

every_field = pytest.mark.parametrize(("name", "field"), FIELDS.items(), ids=FIELDS)


def readme_rows() -> list[tuple[list[str], str]]:
    """The names in each row of the README's table, and what its Default column says."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", row[1]), row[2].strip()) for row in rows]


def default_of(field: FieldInfo) -> str:
    """The default as it would be written in a variable; empty if the setting is then not set."""
    default = field.default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    return "" if default in (None, False) else str(default)


@every_field
def test_a_setting_is_in_one_row_of_the_readme_with_its_default(
    name: str, field: FieldInfo
) -> None:
    [(names, says)] = [row for row in readme_rows() if name in row[0]]
    if field.is_required():
        assert says == "required"
    else:
        assert re.findall(r"`([^`]+)`", says) == [
            default for each in names if (default := default_of(FIELDS[each]))
        ]


def test_the_readme_names_nothing_else() -> None:
    named = [name for names, _ in readme_rows() for name in names]
    assert sorted(named) == sorted({*FIELDS, *NOT_OURS})


@every_field
def test_a_setting_has_a_parameter_in_the_infrastructure_or_a_reason_to_have_none(
    name: str, field: FieldInfo
) -> None:
    source: Any = field.json_schema_extra
    [says] = [key for key, text in source.items() if text]
    assert (says == "not_set") == (name not in app_settings())
    if says == "parameter":
        assert source["parameter"] in parameters_of(name)
    if says == "no_parameter":
        assert parameters_in(app_settings()[name]) == set()


def test_the_infrastructure_sets_nothing_else() -> None:
    assert set(app_settings()) <= {*FIELDS, *NOT_OURS}


@every_field
def test_the_infrastructure_has_the_same_default(name: str, field: FieldInfo) -> None:
    expression = app_settings("appSettings").get(name)
    value = "later" if expression is None else value_of(expression)
    if value != "later" and not field.is_required():
        assert value == DECIDED.get(name, default_of(field))


def test_the_app_starts_with_the_infrastructures_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_settings(monkeypatch)
    given = {name: value_of(it) for name, it in app_settings("appSettings").items()}
    assert read_settings(given).identity.app_type == "UserAssignedMSI"
