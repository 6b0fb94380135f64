"""docs/agents-sdk.md lists the rooms that a move to another SDK changes: all, and no others."""

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


def importing() -> Iterator[Path]:
    """The deployed modules that import the SDK, relative to the root."""
    for pattern in ("function_app.py", "*_function/**/*.py", "shared/**/*.py"):
        for file in ROOT.glob(pattern):
            if SDK & set(imports(file)):
                yield file.relative_to(ROOT)


def test_the_docs_list_every_room_that_imports_the_sdk() -> None:
    page = (ROOT / "docs" / "agents-sdk.md").read_text()
    listed = set(re.findall(r"^\| `((?:shared/)?\w+(?:\.py)?)` \|", page, re.MULTILINE))
    # A bot need not be made of the SDK's parts: the room is its author's.
    listed.remove("shared/bot")
    rooms = {
        "/".join(file.parts[:2]) if file.parts[0] == "shared" else file.parts[0]
        for file in importing()
    }
    assert listed == rooms - {"shared/bot"}


def test_the_protocol_of_expiry_knows_no_sdk() -> None:
    rooms = {file.parts[1] for file in importing()}
    assert "turn" in rooms
    assert not {"domain", "expiry", "storage"} & rooms
