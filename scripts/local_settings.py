"""local.settings.json, as Core Tools read it. Standard library only: it is read first of all."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

NAME = "local.settings.json"

_STRING = r'("(?:\\.|[^"\\])*")'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])")


def read_values(folder: Path) -> dict[str, str]:
    """The Values of a folder's local.settings.json; a file that is missing has none.

    Comments and trailing commas are fine; a value that is null is left out.

    Raises:
        SystemExit: the file is not JSON, has no Values, or is encrypted; in one line.
    """
    file = folder / NAME
    if not file.exists():
        return {}
    content = read_json(file)
    values = content.get("Values")
    if not isinstance(values, dict):
        sys.exit(f'{NAME} must have an object "Values".')
    if content.get("IsEncrypted", True):  # func takes a file that does not say so for encrypted
        sys.exit(
            f'{NAME} is encrypted, or does not have "IsEncrypted": false. Run'
            " `func settings decrypt`, or start again from local.settings.example.json."
        )
    return {name: str(value) for name, value in values.items() if value is not None}


def environment_with(values: dict[str, str]) -> dict[str, str]:
    """The environment, and of these values what is not set in it or empty there."""
    return {**os.environ, **{n: v for n, v in values.items() if not os.environ.get(n)}}


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object with comments and trailing commas.

    Raises:
        SystemExit: the file holds something else; in one line.
    """
    try:
        return parse_json(file.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        sys.exit(f"{file.name} is not JSON: {error}")


def parse_json(text: str) -> dict[str, Any]:
    """A JSON object with comments and trailing commas.

    Raises:
        ValueError: the text is something else.
    """
    content = json.loads(_TRAILING_COMMA.sub(r"\1", _COMMENT.sub(r"\1", text)))
    if not isinstance(content, dict):
        raise ValueError("it must hold an object")  # noqa: TRY004 - as of all other content
    return content
