"""The files of texts: ours, and over it the author's. Each is read and checked at start."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from reprlib import repr as shown  # however long or deep a value is
from typing import Any, TypeGuard, get_args

from shared.settings import SettingsError
from shared.texts.languages import ENGLISH, Key, Tables, Texts

_APP = Path(__file__).parents[2]
_SHIPPED = Path(__file__).parent / "texts.toml"

MAX_BYTES = 256 * 1024
MAX_CHARACTERS = 1_000  # below every channel's limit (SMS: 1,600)
# Of one line in the log: mistakes, and languages.
_MAX_NAMED = 5
_MAX_LISTED = 20

_KEYS = get_args(Key)
_LANGUAGES = "languages"
_TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # but for the end of a line

_A_TEXT = f"1 to {MAX_CHARACTERS:,} characters, none of them for control"


def read_texts(file: str = "") -> Texts:
    """Read our texts, and over them the author's.

    Args:
        file: the author's file, from the app's folder on; empty: there is none.

    Raises:
        SettingsError: a file cannot be read, or a text in it is wrong; one line, which names the
            mistakes.
    """
    if not file:
        return _ours()
    shipped = _shipped()
    path = _APP / file
    own = _read(path)
    languages = own.pop(_LANGUAGES, None)
    _refuse(path, [*_mistakes(own, shipped), *_unknown(languages, {**shipped, **own})])
    tables = {tag: {**shipped.get(tag, {}), **own.get(tag, {})} for tag in {**shipped, **own}}
    return Texts(tables, languages or ())


@cache
def _ours() -> Texts:
    return Texts(_shipped())


@cache
def _shipped() -> Tables:
    tables = _read(_SHIPPED)
    english = tables.get(ENGLISH)
    if not isinstance(english, dict) or not set(_KEYS) <= english.keys():
        _refuse(_SHIPPED, [f"{ENGLISH} lacks a text; it must name {', '.join(_KEYS)}"])
    _refuse(_SHIPPED, _mistakes({ENGLISH: english}, tables))  # the others are compared with it
    _refuse(_SHIPPED, _mistakes(tables, tables))
    return tables


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_content(path).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(f"Texts is {str(path)!r}; it must be a TOML file: {error}") from error


def _content(path: Path) -> bytes:
    if not path.is_file():  # a device or a pipe would never end
        raise FileNotFoundError("there is no such file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return content


def _mistakes(tables: dict[str, Any], shipped: Tables) -> Iterator[str]:
    """The mistakes: the language, the key, its value and the rule."""
    for tag, table in tables.items():
        if not _TAG.fullmatch(tag):
            yield f"{shown(tag)} is no language; it must be a language tag: de, pt-BR"
        elif not isinstance(table, dict):
            yield f"{tag} is {shown(table)}; it must be a table of texts: [{tag}]"
        else:
            for key, text in table.items():
                yield from _mistakes_in(f"{tag}.{key}", key, text, shipped)


def _mistakes_in(name: str, key: str, text: object, shipped: Tables) -> Iterator[str]:
    if key not in _KEYS:
        tag = name.partition(".")[0]
        yield f"{tag} names {shown(key)}; it must name {', '.join(_KEYS)} only"
    elif not _is_text(text):
        yield f"{name} is {shown(text)}; it must be {_A_TEXT}"
    else:
        known = set(_PLACEHOLDER.findall(shipped[ENGLISH][key]))
        for unknown in sorted(set(_PLACEHOLDER.findall(text)) - known):
            rule = f"{', '.join(known)} only" if known else "no braces"
            yield f"{name} has {shown(unknown)}; it must have {rule}"


def _is_text(text: object) -> TypeGuard[str]:
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return False
    return bool(text.strip()) and not _CONTROL.search(text)


def _unknown(languages: object, tables: dict[str, Any]) -> Iterator[str]:
    if languages is None:
        return
    if (
        not isinstance(languages, list)
        or not languages
        or not all(isinstance(tag, str) and tag in tables for tag in languages)
    ):
        yield (
            f"{_LANGUAGES} is {shown(languages)};"
            f" it must be a list of languages with texts: {', '.join(sorted(tables)[:_MAX_LISTED])}"
        )


def _refuse(path: Path, mistakes: Iterable[str]) -> None:
    """Raise an error if there are mistakes.

    Raises:
        SettingsError: it names the first of them.
    """
    wrong = list(mistakes)
    if wrong:
        more = len(wrong) - _MAX_NAMED
        rest = [f"and {more} more"] if more > 0 else []
        raise _wrong(f"Texts: in {str(path)!r}, {'; '.join([*wrong[:_MAX_NAMED], *rest])}")


def _wrong(message: str) -> SettingsError:
    return SettingsError(
        message,
        without_values="Texts is wrong; it must be a TOML file of texts, and the log says what is"
        " wrong with it",
    )
