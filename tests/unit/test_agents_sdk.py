"""docs/agents-sdk.md lists the modules that a move to another SDK changes: all, and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from scripts.processes import ROOT

SDK = {"botbuilder", "botframework", "msrest"}


def imports(file: Path) -> Iterator[str]:
    """The packages that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_the_docs_list_every_module_that_imports_the_sdk() -> None:
    deployed = [
        ROOT / "function_app.py",
        *ROOT.glob("*_function/*.py"),
        *ROOT.glob("shared/**/*.py"),
    ]
    importing = {file.relative_to(ROOT).as_posix() for file in deployed if SDK & set(imports(file))}
    page = (ROOT / "docs" / "agents-sdk.md").read_text()
    assert set(re.findall(r"^\| `(\S+\.py)` \|", page, re.MULTILINE)) == importing


def test_the_domain_of_expiry_knows_no_sdk() -> None:
    page = (ROOT / "docs" / "agents-sdk.md").read_text()
    (sentence,) = re.findall(r"it knows no SDK: (.*?), the tables", page, re.DOTALL)
    for name in re.findall(r"`(\w+\.py)`", sentence):
        assert not SDK & set(imports(ROOT / "shared" / name)), name
