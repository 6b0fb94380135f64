"""Reads the Bicep files for tests: pycep's trees, and what the app gets for its settings."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from pycep import BicepParser

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
MAIN = INFRA / "main.bicep"


@cache
def tree(file: Path) -> dict[str, Any]:
    """What a file declares, by kind and name."""
    # Through JSON, as the parser mixes its own classes in.
    parsed = BicepParser().parse(text=file.read_text(encoding="utf-8"))
    return {"modules": {}, "resources": {}, "outputs": {}, **json.loads(json.dumps(parsed))}


def decorator(parameter: dict[str, Any], name: str) -> Any:
    """What stands in a decorator of a parameter; None if it has no such decorator."""
    return next((d["argument"] for d in parameter["decorators"] if d["type"] == name), None)


def config(declared: dict[str, Any]) -> dict[str, Any]:
    """The body of a resource or module, whether or not it has a condition or is a loop."""
    found: dict[str, Any] = declared["config"]
    while "params" not in found and "properties" not in found and "name" not in found:
        found = found["config"]
    return found


def branches(value: dict[str, Any]) -> dict[str, Any]:
    """The members of an object, or of both objects that a condition chooses from."""
    if "function" in value:
        return {}
    if "operator" not in value:
        return value
    # All operands: the parser lets == bind less tightly than ?:, so the condition may be one.
    operands = value["operator"]["operands"].values()
    return {
        name: it
        for each in operands
        if isinstance(each, dict)
        for name, it in branches(each).items()
    }


def variables_of_settings() -> list[str]:
    """The variables that the app settings are merged from."""
    settings = config(tree(MAIN)["modules"]["app"])["params"]["configs"][0]["properties"]
    parts = list(settings["function"]["parameters"].values())
    return [part for each in parts for part in (each if isinstance(each, list) else [each])]


def app_settings(*variables: str) -> dict[str, Any]:
    """The expression of each app setting, of all variables or of those that are named."""
    return {
        name.strip("'"): expression  # with quotes where it is no identifier
        for variable in variables or variables_of_settings()
        for name, expression in branches(tree(MAIN)["variables"][variable]["value"]).items()
    }


def value_of(expression: Any) -> str:
    """What an app setting is with the parameters' defaults; what is known only later is 'later'."""
    if isinstance(expression, dict):
        function = expression.get("function", {})
        inner = list(function.get("parameters", {}).values())
        return value_of(inner[0]) if function.get("type") == "string" else "later"
    parameter = tree(MAIN)["parameters"].get(expression)
    return str(parameter["default"] if parameter else expression)


def parameters_in(expression: Any) -> set[str]:
    """The parameters of main.bicep that an expression depends on, through variables too."""
    parts = tree(MAIN)
    words = set(re.findall(r"\w+", json.dumps(expression)))
    through = (
        parameters_in(parts["variables"][name]["value"]) for name in words & set(parts["variables"])
    )
    return (words & set(parts["parameters"])).union(*through)


def parameters_of(setting: str) -> set[str]:
    """The parameters that give an app setting its value, or else that decide if it is set."""
    [variable] = [each for each in variables_of_settings() if setting in app_settings(each)]
    return parameters_in(app_settings()[setting]) or parameters_in(variable)
