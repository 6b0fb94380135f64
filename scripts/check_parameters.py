"""Refuses parameters that cannot be meant: `python3 -m scripts.check_parameters`. azd calls it.

azd takes the default, without a word, for a number or a switch that it cannot read, and takes a
variable that is set and empty for a value. And what cannot be changed later fails half-way, or
leaves the bot without what it stored. So this looks first. What depends on several parameters,
`mistakes` in infra/main.bicep refuses. Uses the standard library only.
"""

import base64
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scripts.processes import ROOT
from shared.ncrontab import Ncrontab, NcrontabError

# As shared/settings has them, which need packages. What the app would refuse at its start.
_TABLE = "[A-Za-z][A-Za-z0-9]{2,62}", "letters and digits, a letter first"
_HOST = r"(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?"
PATTERNS = {
    "ALLOWED_SERVICE_HOSTS": (rf"{_HOST}(, ?{_HOST})*", "names of hosts in lower case"),
    # The resource group has this name, too.
    "AZURE_ENV_NAME": (r"[\w().-]*[\w()-]", "letters, digits and ().-_, with no . at its end"),
    "CONVERSATIONS_TABLE": _TABLE,
    "USERS_TABLE": _TABLE,
}

# How EXPIRY_POLICY begins if it is no path: azd would not take the line breaks of TOML.
_BASE64 = "base64:"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MARGIN_SECONDS = 60  # as shared/settings/cosmos.py has it

_BOT_IS_FIXED = "an Azure Bot keeps its identity. Make another environment (azd env new)"
_TABLE_IS_FIXED = "it is fixed for the life of a table: docs/operate.md, 'Changing TableShards'"
# Each variable of what cannot be changed, the variable that a change of lifts this, and the reason.
_FIXED = (
    ("BOT_APP_ID", "BOT_REGISTRATION", _BOT_IS_FIXED),
    ("BOT_APP_TYPE", "BOT_REGISTRATION", _BOT_IS_FIXED),
    ("STATE_STORE", "CONVERSATIONS_TABLE", _TABLE_IS_FIXED),
    ("STORAGE_SKU_NAME", "", "the account must be converted: docs/deploy.md, 'What is fixed'"),
    ("TABLE_SHARDS", "CONVERSATIONS_TABLE", _TABLE_IS_FIXED),
)


@dataclass(frozen=True)
class Parameter:
    """A parameter of infra/main.bicep, and the variable that azd takes it from.

    Attributes:
        default: as it stands there; empty if it has none.
        limits: least and most value of a number, least and most length of a text.
    """

    variable: str
    type: str
    default: str
    allowed: tuple[str, ...]
    limits: Mapping[str, int]

    def mistake_in(self, value: str) -> str:
        """What is wrong with a value; empty: nothing."""
        if not value:
            return (
                "" if self.default in {"", "''"} else f"not empty (its default is {self.default})"
            )
        if self.allowed:
            return "" if value in self.allowed else f"one of {', '.join(self.allowed)}"
        if self.type == "int" and not re.fullmatch("[0-9]+", value):
            return "a number in digits, and nothing else"
        size = int(value) if self.type == "int" else len(value)
        least = self.limits.get("minValue", self.limits.get("minLength", 0))
        most = self.limits.get("maxValue", self.limits.get("maxLength", size))
        what = "" if self.type == "int" else " characters long"
        return "" if least <= size <= most else f"{least} to {most}{what}"


def main() -> None:
    """Looks at the environment.

    Raises:
        SystemExit: a parameter is wrong; every mistake has a line.
    """
    found = list(mistakes(os.environ))
    if found:
        sys.exit("\n".join(found))


def parameters() -> dict[str, Parameter]:
    """The parameters by their variables."""
    file = ROOT / "infra" / "main.parameters.json"
    given = json.loads(file.read_text(encoding="utf-8"))["parameters"]
    variables = {name: each["value"].strip("${}") for name, each in given.items()}
    found = {}
    for block in (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8").split("\n\n"):
        declared = re.search(r"^param (\w+) (\w+)(?: = (.*))?$", block, re.MULTILINE)
        if declared:
            variable = variables[declared[1]]
            allowed = re.search(r"^@allowed\(\[([^\]]*)\]\)$", block, re.MULTILINE)
            limits = re.findall(r"^@((?:min|max)(?:Value|Length))\((\d+)\)$", block, re.MULTILINE)
            found[variable] = Parameter(
                variable,
                declared[2],
                declared[3] or "",
                tuple(re.findall(r"[^'\s]+", allowed[1])) if allowed else (),
                {name: int(limit) for name, limit in limits},
            )
    return found


def mistakes(variables: Mapping[str, str]) -> Iterator[str]:
    """Each mistake in the variables of an environment of azd, in one line."""
    known = parameters()
    yield from _mistakes_in_values(variables, known)
    yield from _changes_of_what_is_fixed(variables, known)


def _mistakes_in_values(
    variables: Mapping[str, str], known: Mapping[str, Parameter]
) -> Iterator[str]:
    for name, parameter in known.items():
        value = variables.get(name)
        wrong = "" if value is None else parameter.mistake_in(value)
        if wrong:
            yield f"{name} is {value!r}; it must be {wrong}."
    for name, (pattern, must_be) in PATTERNS.items():
        value = variables.get(name)
        if value and not re.fullmatch(pattern, value, re.ASCII):
            yield f"{name} is {value!r}; it must be {must_be}."
    limits = variables.get("SENDING_LIMITS")
    if limits and not (ROOT / limits).is_file():
        yield f"SENDING_LIMITS is {limits!r}; it must be a file of the project."
    yield from _mistakes_in_policy(variables)
    if schedule := variables.get("EXPIRY_SCHEDULE"):
        try:
            Ncrontab.read(schedule).after(datetime.now(UTC))
        except NcrontabError as error:
            yield f"EXPIRY_SCHEDULE is {schedule!r}; it must be NCRONTAB: {error}."


def _mistakes_in_policy(variables: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with EXPIRY_POLICY. Its values are checked by the app itself."""
    value = variables.get("EXPIRY_POLICY", "")
    if not value:
        return
    try:
        if value.startswith(_BASE64):
            text = base64.b64decode(value.removeprefix(_BASE64), validate=True).decode()
        else:
            text = (ROOT / value).read_text(encoding="utf-8")
        policy = tomllib.loads(text)
    except (OSError, ValueError) as error:
        yield (
            f"EXPIRY_POLICY is {value!r}; it must be a TOML file of the project, or {_BASE64} and"
            f" TOML in base64: {error}."
        )
        return
    needed = _seconds_that_state_is_needed(policy)
    lives = variables.get("COSMOS_TIME_TO_LIVE", "")
    least = needed + _MARGIN_SECONDS
    # By default it lives for a day more than EXPIRE_AFTER_SECONDS.
    is_short = least > int(lives) if lives.isdecimal() else needed >= _UNITS["d"]
    if variables.get("STATE_STORE") == "cosmos" and is_short:
        yield (
            f"COSMOS_TIME_TO_LIVE is {lives!r}; it must be {least} or more, as EXPIRY_POLICY needs"
            f" the state of a conversation for {needed} s."
        )


def _seconds_that_state_is_needed(policy: Mapping[str, Any]) -> int:
    """The longest timeout and the time to resume after it; that of EXPIRE_AFTER_SECONDS not."""
    overrides = policy.get("override", [])
    rules = [policy, *(overrides if isinstance(overrides, list) else [])]
    return max(
        sum(
            _seconds(rule.get(name, policy.get(name))) for name in ("expire_after", "resume_within")
        )
        for rule in rules
        if isinstance(rule, dict)
    )


def _seconds(duration: object) -> int:
    found = re.fullmatch("([0-9]{1,9})([smhd])", duration) if isinstance(duration, str) else None
    return int(found[1]) * _UNITS[found[2]] if found else 0


def _changes_of_what_is_fixed(
    variables: Mapping[str, str], known: Mapping[str, Parameter]
) -> Iterator[str]:
    def is_changed(name: str) -> bool:
        before = variables.get(f"DEPLOYED_{name}")
        now = variables.get(name) or known[name].default.strip("'")
        return before is not None and before != now

    has_bot = variables.get("DEPLOYED_BOT_REGISTRATION") == "new"
    for name, unless, reason in _FIXED:
        if reason == _BOT_IS_FIXED and not has_bot:
            continue
        if is_changed(name) and not (unless and is_changed(unless)):
            yield f"{name} was {variables[f'DEPLOYED_{name}']!r} and cannot be changed: {reason}."
    if variables.get("DEPLOYED_VNET_ENABLED") == "on" and is_changed("VNET_ENABLED"):
        yield "VNET_ENABLED was 'on'; off would leave the network there. Make another environment."


if __name__ == "__main__":
    main()
