"""Placeholders: what stands for the id of a message until the channel has given it."""

import re
from collections.abc import Mapping
from hashlib import sha256

_BEGINNING = "held-"
_PLACEHOLDER = re.compile(rf"{_BEGINNING}[0-9a-f]{{32}}", re.ASCII)


def placeholder_for(*parts: str | int | None) -> str:
    """The placeholder of the message that these parts name; of equal parts the same one."""
    return f"{_BEGINNING}{sha256(repr(parts).encode()).hexdigest()[:32]}"


def is_placeholder(id_: str | None) -> bool:
    """Whether this is a placeholder, and not an id of a channel."""
    return id_ is not None and _PLACEHOLDER.fullmatch(id_) is not None


def placeholders_in(text: str) -> frozenset[str]:
    """All placeholders in a text."""
    if _BEGINNING not in text:  # that is quick, and most texts have none
        return frozenset()
    return frozenset(_PLACEHOLDER.findall(text))


def with_ids(text: str, ids: Mapping[str, str]) -> str:
    """The text with each placeholder replaced that `ids` has an id for."""
    return _PLACEHOLDER.sub(lambda found: ids.get(found[0], found[0]), text)
