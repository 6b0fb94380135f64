"""What is looked at before and after provisioning, on the user's machine."""

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence

import pytest

from scripts.check_parameters import PATTERNS, mistakes, parameters
from scripts.wait_for_roles import MARK, WAIT_SECONDS, wait
from shared.settings.group import names_of
from tests.settings_of_app import every_setting
from tests.unit.project.bicep import INFRA, MAIN, ROOT, decorator, tree

FIELDS = {name: field for _, _, field in every_setting() for name in names_of(field)}


def test_the_script_reads_every_parameter_as_the_bicep_has_it() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    found = parameters()
    assert len(found) == len(given)
    for name, parameter in tree(MAIN)["parameters"].items():
        read = found[given[name]["value"].strip("${}")]
        assert read.type == parameter["type"]
        assert read.allowed == tuple(map(str, decorator(parameter, "allowed") or ()))
        for limit, in_tree in {
            "minValue": "min_value",
            "maxValue": "max_value",
            "minLength": "min_length",
            "maxLength": "max_length",
        }.items():
            assert read.limits.get(limit) == decorator(parameter, in_tree), name


def test_defaults_and_what_is_left_out_are_fine() -> None:
    assert list(mistakes({})) == []
    defaults = {
        name: each.default.strip("'")
        for name, each in parameters().items()
        if each.default and "(" not in each.default
    }
    assert list(mistakes(defaults)) == []


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        # azd would take the default for each of these, without a word.
        ("EXPIRE_AFTER_SECONDS", "30m", "a number in digits"),
        ("EXPIRE_AFTER_SECONDS", "1800.0", "a number in digits"),
        ("TABLE_SHARDS", "sixteen", "a number in digits"),
        ("HTTP_CONCURRENCY", "-1", "a number in digits"),
        ("VNET_ENABLED", "true", "one of off, on"),
        ("MESSAGES", "yes", "one of on, off"),
        ("EXPIRY_NOTICE", "ON", "one of on, off"),
        ("BOT_REGISTRATION", "old", "one of new, none"),
        # azd would send these, and Azure refuse them late.
        ("BOT_SKU", "", "not empty (its default is 'F0')"),
        ("EXPIRY_SCHEDULE", "", "not empty"),
        ("EXPIRY_SCHEDULE", "0 * * * *  ?", "NCRONTAB"),
        ("EXPIRE_AFTER_SECONDS", "0", "1 to 315360000"),
        ("SWEEP_BUDGET_SECONDS", "211", "1 to 210"),
        ("INSTANCE_MEMORY_MB", "1024", "one of 512, 2048, 4096"),
        ("BOT_DISPLAY_NAME", "n" * 43, "1 to 42 characters long"),
        ("AZURE_ENV_NAME", "My Bot (prod)", "letters, digits and ().-_, with no . at its end"),
        ("AZURE_ENV_NAME", "prod.", "letters, digits and ().-_, with no . at its end"),
        # The app would refuse these at its start.
        ("CONVERSATIONS_TABLE", "2nd", "letters and digits, a letter first"),
        ("USERS_TABLE", "users-2", "letters and digits, a letter first"),
        ("ALLOWED_SERVICE_HOSTS", "https://a.example", "names of hosts in lower case"),
        ("ALLOWED_SERVICE_HOSTS", "a.example;b.example", "names of hosts in lower case"),
        ("SENDING_LIMITS", "no_such_file.toml", "a file of the project"),
        ("EXPIRY_POLICY", "no_such_file.toml", "a TOML file of the project, or base64: and TOML"),
        ("EXPIRY_POLICY", "base64:notify = true", "a TOML file of the project, or base64: and"),
        ("EXPIRY_POLICY", "base64:bm90aWZ5", "a TOML file of the project, or base64: and TOML"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(
    name: str, value: str, must_be: str
) -> None:
    [mistake] = mistakes({name: value})
    assert mistake.startswith(f"{name} is {value!r}; it must be {must_be}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZURE_ENV_NAME", "My.Bot_(prod)-1"),
        ("CONVERSATIONS_TABLE", "second2"),
        ("ALLOWED_SERVICE_HOSTS", "*.a.example, b.example,c"),
        ("SENDING_LIMITS", "tests/e2e/no_limits.toml"),
        ("EXPIRY_POLICY", "tests/e2e/no_limits.toml"),
        ("EXPIRY_POLICY", "base64:bm90aWZ5ID0gdHJ1ZQo="),
        ("EXPIRY_SCHEDULE", "*/5 * * * *"),
        ("EXPIRE_AFTER_SECONDS", "60"),
        ("VNET_ENABLED", "on"),
    ],
)
def test_a_value_that_is_meant_is_taken(name: str, value: str) -> None:
    assert list(mistakes({name: value})) == []


def test_the_patterns_are_those_that_the_app_has() -> None:
    for name, setting in {
        "ALLOWED_SERVICE_HOSTS": "AllowedServiceHosts",
        "CONVERSATIONS_TABLE": "ConversationsTable",
        "USERS_TABLE": "UsersTable",
    }.items():
        [of_app] = [each.pattern for each in FIELDS[setting].metadata if hasattr(each, "pattern")]
        pattern = PATTERNS[name][0]
        assert of_app in {f"^{pattern}$", f"^({pattern})?$"}


@pytest.mark.parametrize(("lives", "is_taken"), [("", False), ("172859", False), ("172860", True)])
def test_state_in_cosmos_lives_longer_than_the_longest_timeout_of_the_policy(
    lives: str, *, is_taken: bool
) -> None:
    text = b'notify = true\n[[override]]\nexpire_after = "2d"\n[[override]]\nexpire_after = "1h"'
    given = {"EXPIRY_POLICY": f"base64:{b64encode(text).decode()}"}
    given |= {"COSMOS_TIME_TO_LIVE": lives} if lives else {}
    assert list(mistakes(given)) == []  # the state is in tables
    found = list(mistakes(given | {"STATE_STORE": "cosmos"}))
    said = f"COSMOS_TIME_TO_LIVE is {lives!r}; it must be 172860 or more"
    assert found == [] if is_taken else found[0].startswith(said)


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        ('resume_within = "1d"', 86_400),
        ('expire_after = "8h"\nresume_within = "20h"', 100_800),
        ('resume_within = "20h"\n[[override]]\nexpire_after = "8h"', 100_800),
        ('resume_within = "20h"\n[[override]]\nexpire_after = "8h"\nresume_within = false', 0),
    ],
)
def test_state_in_cosmos_lives_as_long_as_it_can_be_resumed(policy: str, needed: int) -> None:
    given = {"EXPIRY_POLICY": f"base64:{b64encode(policy.encode()).decode()}"}
    said = [f"it must be {needed + 60} or more"] if needed else []
    found = list(mistakes(given | {"STATE_STORE": "cosmos"}))
    assert [each.partition("; ")[2].partition(", as")[0] for each in found] == said


def test_what_may_be_empty_may_be_set_so() -> None:
    assert list(mistakes({"ALERT_EMAIL": "", "BOT_APP_ID": ""})) == []


def settings_of_the_docs() -> set[tuple[str, str]]:
    """Each `azd env set NAME value` of the docs."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = " ".join(page.read_text(encoding="utf-8") for page in pages)
    return set(re.findall(r"azd env set (?!NAME)([A-Z_]+) ([^\s`]+)", text)) | {
        (name, value)
        for name, value in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)=([^`\s]+)`", text)
        if not name.startswith(("AZURE_", "DEPLOYED_"))
    }


def test_every_variable_that_the_docs_set_is_a_parameter_and_takes_that_value() -> None:
    settings = settings_of_the_docs()
    assert len(settings) > 20
    known = parameters()
    for name, value in settings:
        assert name in known, name
        is_open = value.startswith(("<", "$", '"'))  # the reader's own, or empty
        assert is_open or not known[name].mistake_in(value), (name, value)


def test_every_app_setting_that_the_docs_change_has_a_variable() -> None:
    # "X=value" of the app, and "Set X": azd provision undoes what has no variable.
    pages = (ROOT / "docs").glob("*.md")
    text = " ".join(page.read_text(encoding="utf-8") for page in pages)
    names = {name for field in FIELDS.values() for name in names_of(field)}
    told = set(re.findall(r"`(\w+)=[^`\s]+`", text)) | set(re.findall(r"[Ss]et `(\w+)`", text))
    assert len(told & names) > 4
    without = {
        name
        for name in told & names
        if not FIELDS[name].json_schema_extra["parameter"]  # type: ignore[index]
    }
    # In another cloud, or on an author's own machine: this template is for neither.
    assert without <= {"CosmosDbCorrectTimeToLive", "EmulatorTokens", "ChannelService"}


DEPLOYED = {
    "DEPLOYED_BOT_APP_ID": "",
    "DEPLOYED_BOT_APP_TYPE": "UserAssignedMSI",
    "DEPLOYED_BOT_REGISTRATION": "new",
    "DEPLOYED_CONVERSATIONS_TABLE": "conversations",
    "DEPLOYED_STATE_STORE": "tables",
    "DEPLOYED_STORAGE_SKU_NAME": "Standard_LRS",
    "DEPLOYED_TABLE_SHARDS": "64",
    "DEPLOYED_VNET_ENABLED": "on",
}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"VNET_ENABLED": "on"}, []),
        ({"VNET_ENABLED": "on", "TABLE_SHARDS": "128"}, ["TABLE_SHARDS"]),
        ({"VNET_ENABLED": "on", "TABLE_SHARDS": "128", "CONVERSATIONS_TABLE": "second"}, []),
        ({"VNET_ENABLED": "on", "STATE_STORE": "cosmos"}, ["STATE_STORE"]),
        ({"VNET_ENABLED": "on", "STORAGE_SKU_NAME": "Standard_ZRS"}, ["STORAGE_SKU_NAME"]),
        (
            {"VNET_ENABLED": "on", "BOT_APP_TYPE": "SingleTenant", "BOT_APP_ID": "x"},
            ["BOT_APP_ID", "BOT_APP_TYPE"],
        ),
        (
            {
                "VNET_ENABLED": "on",
                "BOT_APP_TYPE": "SingleTenant",
                "BOT_APP_ID": "x",
                "BOT_REGISTRATION": "none",
            },
            [],
        ),
        (
            {
                "VNET_ENABLED": "on",
                "BOT_APP_TYPE": "SingleTenant",
                "BOT_APP_ID": "another",
                "BOT_REGISTRATION": "none",
                "DEPLOYED_BOT_REGISTRATION": "none",  # no Azure Bot of ours, so nothing is fixed
            },
            [],
        ),
        ({"VNET_ENABLED": "off"}, ["VNET_ENABLED"]),
        ({}, ["VNET_ENABLED"]),  # back to its default
    ],
)
def test_what_cannot_be_changed_later_is_refused_with_the_reason(
    changed: dict[str, str], refused: list[str]
) -> None:
    found = list(mistakes({**DEPLOYED, **changed}))
    assert [each.split()[0] for each in found] == refused


def test_what_is_fixed_is_an_output_that_the_next_provisioning_finds() -> None:
    outputs = {name for name in tree(MAIN)["outputs"] if name.startswith("DEPLOYED_")}
    assert outputs == set(DEPLOYED)
    described = {"BOT_APP_ID", "BOT_APP_TYPE", "STATE_STORE", "STORAGE_SKU_NAME", "TABLE_SHARDS"}
    given = json.loads((INFRA / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    for name, parameter in tree(MAIN)["parameters"].items():
        is_marked = "Fixed for the life of" in decorator(parameter, "description")
        assert is_marked == (given[name]["value"].strip("${}") in described), name


@pytest.mark.parametrize("script", ["check_parameters", "wait_for_roles"])
def test_a_hook_needs_no_package_and_ends_with_its_verdict(script: str) -> None:
    # -S: without the packages of this environment, as on the machine of who runs azd.
    done = subprocess.run(
        [sys.executable, "-S", "-m", f"scripts.{script}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "CI": "true", "VNET_ENABLED": "yes"},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "VNET_ENABLED is 'yes'; it must be one of off, on.\n"
    assert done.stderr == (expected if script == "check_parameters" else "")
    assert done.returncode == (1 if script == "check_parameters" else 0)


@pytest.mark.parametrize(
    ("variables", "waits"),
    [
        ({"AZURE_FUNCTION_NAME": "func-1"}, True),
        ({"AZURE_FUNCTION_NAME": "func-1", MARK: "func-1"}, False),
        ({"AZURE_FUNCTION_NAME": "func-2", MARK: "func-1"}, True),
        ({"AZURE_FUNCTION_NAME": "func-1", "CI": "true"}, False),  # deploy.yml tries again instead
    ],
)
def test_the_first_deployment_of_an_app_waits_for_its_roles(
    variables: dict[str, str], waits: bool
) -> None:
    done: list[object] = []
    commands: list[Sequence[str]] = []
    wait(variables, done.append, commands.append)
    assert done == ([WAIT_SECONDS] if waits else [])
    assert commands == (
        [["azd", "env", "set", MARK, variables["AZURE_FUNCTION_NAME"]]] if waits else []
    )
