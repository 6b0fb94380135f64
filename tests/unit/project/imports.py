"""What a module imports, and which code is the bot's author's."""

import ast
import tomllib
from pathlib import Path

from scripts.processes import ROOT


def not_linted() -> set[str]:
    """What the author of a bot keeps beside shared as it came: ruff leaves it out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return set(project["tool"]["ruff"].get("extend-exclude", []))


def packages_imported(file: Path) -> set[str]:
    """The top packages that a module imports, anywhere in it."""
    packages = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            packages.add((node.module or "").partition(".")[0])
    return packages
