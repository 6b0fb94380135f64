"""JSON from rows and requests, read within bounds: nobody can make it deep or full without end."""

import json
import re
from collections.abc import Mapping
from typing import Any

# Bags of dialogs that hold dialogs are about 30 deep. Python gives up at some hundreds, and how
# many depends on who calls.
MOST_DEPTH = 200

# An empty object is 3 bytes in JSON, and 64 in memory.
MOST_ITEMS = 100_000

# A string that nothing ends goes on to the end of the text, or this would look at the rest for each
# of its quotes.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)


def read_json(text: str | bytes, **options: Any) -> Any:
    """The value of a JSON text.

    Args:
        text: the JSON; bytes are UTF-8.
        options: as of `json.loads`.

    Raises:
        ValueError: the text is no JSON, is nested more than `MOST_DEPTH` deep, or holds more than
            `MOST_ITEMS` items and properties.
    """
    may_be_deep = False
    if len(text) > MOST_DEPTH:  # each level and each item takes a character
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        check_items(content)
        may_be_deep = content.count(b"[") + content.count(b"{") > MOST_DEPTH
    try:
        value = json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if may_be_deep:
        check_depth(value)
    return value


def check_depth(value: object) -> None:
    """Refuse a value of JSON data that is nested too deeply.

    Raises:
        ValueError: it is nested more than `MOST_DEPTH` deep.
    """
    level: list[object] = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            item
            for each in level
            if isinstance(each, Mapping | list | tuple)
            for item in (each.values() if isinstance(each, Mapping) else each)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {MOST_DEPTH} deep")


def check_items(content: bytes) -> None:
    """Refuse a JSON text with more than `MOST_ITEMS` items and properties.

    Raises:
        ValueError: it holds more.
    """
    if len(content) <= MOST_ITEMS:  # each item takes a character
        return
    if _items(content) > MOST_ITEMS and _items(_STRING.sub(b"", content)) > MOST_ITEMS:
        raise ValueError(f"it holds more than {MOST_ITEMS} items")


def _items(content: bytes) -> int:
    """At least the number of items and properties; each string adds its own signs."""
    return content.count(b",") + content.count(b"[") + content.count(b"{")
