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
    parsed = BicepParser().parse(text=older_bicep(file.read_text(encoding="utf-8")))
    return {"modules": {}, "resources": {}, "outputs": {}, **json.loads(json.dumps(parsed))}


def older_bicep(text: str) -> str:
    """The same in the Bicep that pycep knows: ternaries in one line, no directives or map types."""
    text = re.sub(r"^\s*#disable-.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\n\s*([?:] )", r" \1", text)
    return text.replace("{ *: string }", "object")


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
        operands = expression.get("operator", {}).get("operands", {})
        condition = operands.get("condition")
        asked = condition.get("function", {}) if isinstance(condition, dict) else {}
        if asked.get("type") == "starts_with":
            text, beginning = asked["parameters"].values()
            is_so = value_of(text).startswith(beginning)
            return value_of(operands["true_value" if is_so else "false_value"])
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


def mistakes_in(**changed: object) -> list[str]:
    """What `mistakes` of main.bicep says of the defaults but for what is changed.

    Evaluates the few operators and functions that stand there.
    """
    parts = tree(MAIN)
    text = MAIN.read_text(encoding="utf-8")
    names: dict[str, object] = {
        name: parameter["default"] for name, parameter in parts["parameters"].items()
    }
    names |= changed
    if "cosmosTimeToLive" not in changed:
        names["cosmosTimeToLive"] = min(int(str(names["expireAfterSeconds"])) + 86400, 315360000)
    for name in ("hasEasyAuth", "usesIdentity", "hasSecret", "hasCertificate", "isSwept"):
        names[name] = _value(_right_side(text, name), names)
    for name in ("passwordUri", "certificateUri"):
        names[name] = _value(_right_side(text, name), names)
    items = re.split(r",\n  (?=\w)", text.split("var mistakes = concat(\n")[1].split("\n)\n")[0])
    found: list[str] = []
    for item in items:
        value = _value(item, names)
        assert isinstance(value, list)
        found += value
    return found


def _right_side(text: str, variable: str) -> str:
    found = re.search(rf"^var {variable} = (.*)$", text, re.MULTILINE)
    assert found, variable
    return found[1]


_FUNCTIONS = {
    "contains": lambda values, value: value in values,
    "empty": lambda value: not value,
    "endsWith": lambda value, end: value.endswith(end),
    "length": len,
    "split": lambda value, separator: value.split(separator),
    "toLower": lambda value: value.lower(),
}


def _value(expression: str, names: dict[str, object]) -> object:
    condition, is_ternary, rest = re.sub(r"\s+", " ", expression.strip()).partition(" ? ")
    if is_ternary:
        yes, _, no = rest.partition(" : ")
        return _value(yes if _value(condition, names) else no, names)
    python = condition.replace("&&", " and ").replace("||", " or ")
    python = re.sub(r"!(?!=)", " not ", python)
    python = re.sub(r"'\$\{(\w+)\}/'", r"(\1 + '/')", python)
    return eval(python, {"__builtins__": {}}, {**_FUNCTIONS, **names})
