"""Which language a user hears, and the words in it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from shared.texts.durations import in_words

Key = Literal[
    "expired",
    "expired_max_age",
    "expired_resumable",
    "resume",
    "resume_gone",
    "resumed",
    "stay",
    "stayed",
    "something_went_wrong",
    "too_many_at_once",
    "warning",
    "welcome_back",
    "welcome_back_resumable",
]
Tables = Mapping[str, Mapping[str, str]]

# For everybody whose language has no table.
ENGLISH = "en"

# The longest language tag that need be read. Source: RFC 5646, 4.4.1.
_LONGEST_TAG = 35

# Who reads traditional characters is not served by simplified ones, nor the other way round.
_TRADITIONAL = {"zh-hant", "zh-tw", "zh-hk", "zh-mo"}


class Said(NamedTuple):
    """A text, and the tag of the language that it is in."""

    text: str
    language: str


class Texts:
    """The texts in all languages.

    Args:
        tables: by language tag, the texts by their keys; English has all of them.
        languages: tags of tables, the only languages to use, and the first is for everybody whose
            own is not among them. Empty: all tables, and English.
    """

    def __init__(self, tables: Tables, languages: Sequence[str] = ()) -> None:
        self._default = languages[0] if languages else ENGLISH
        self._used = _by_locale(languages or tables)
        every = _by_locale(tables)
        self._said: dict[str, dict[str, Said]] = {}
        for tag in self._used.values():
            # A table may lack texts: those are from the next one.
            those = [*_found(every, tag), *_found(every, self._default), ENGLISH]
            self._said[tag] = {
                key: Said(text, each)
                for each in reversed(those)
                for key, text in tables[each].items()
            }

    def say(self, key: Key, locale: str | None, **seconds: int) -> Said:
        """A text in the language of a locale.

        Args:
            key: which text.
            locale: the user's, from outside: any string, or None. It is only looked up.
            seconds: a duration for each placeholder of the text.
        """
        language = next(_found(self._used, locale or ""), self._default)
        text, language = self._said[language][key]
        for name, duration in seconds.items():
            text = text.replace(f"{{{name}}}", in_words(duration, language))
        return Said(text, language)


def _by_locale(tags: Iterable[str]) -> dict[str, str]:
    """The tags by what they are looked up as. The first of a language is for all of it: pt-BR."""
    found: dict[str, str] = {}
    for tag in tags:
        found[tag.lower()] = tag
    for tag in tags:
        if tag.lower() not in _TRADITIONAL:
            found.setdefault(tag.partition("-")[0], tag)
    return found


def _found(tags: Mapping[str, str], locale: str) -> Iterator[str]:
    """The tags for a locale, the narrowest first. Source: RFC 4647, 3.4, Lookup."""
    tag = locale[:_LONGEST_TAG].replace("_", "-").lower()
    while tag:
        if tag in tags:
            yield tags[tag]
        if tag in _TRADITIONAL:
            return
        tag = tag.rpartition("-")[0]
