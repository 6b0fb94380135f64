"""docs/agents-sdk.md lists the rooms that a move to another SDK changes: all, and no others."""

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.processes import ROOT
from tests.unit.project.imports import packages_imported

SDK = {"botbuilder", "botframework", "msrest"}


def importing() -> Iterator[Path]:
    """The deployed modules that import the SDK, relative to the root."""
    for pattern in ("function_app.py", "*_function/**/*.py", "shared/**/*.py"):
        for file in ROOT.glob(pattern):
            if SDK & packages_imported(file):
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
