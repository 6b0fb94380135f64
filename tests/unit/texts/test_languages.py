"""Which language a user hears: their own if there is one, and whole sentences in it."""

import re
import tomllib

import pytest

from scripts.processes import ROOT
from shared.texts.durations import in_words
from shared.texts.languages import Said, Texts
from shared.texts.texts_file import read_texts

TABLES = tomllib.loads((ROOT / "shared" / "texts" / "texts.toml").read_text("utf-8"))
PLACEHOLDER = re.compile(r"\{\w+\}")

# Azure Bot Service's channels with the shortest titles of buttons: Messenger and WhatsApp.
LONGEST_TITLE = 20

of_each_language = pytest.mark.parametrize("language", TABLES)


def heard(locale: str | None, texts: Texts | None = None) -> Said:
    return (texts or read_texts()).say("expired", locale)


def test_these_are_the_languages() -> None:
    assert list(TABLES) == ["en", "de", "es", "fr", "it", "ja", "pt-BR", "zh-CN"]


@of_each_language
def test_a_language_has_every_text_with_its_placeholders(language: str) -> None:
    texts, english = TABLES[language], TABLES["en"]
    assert list(texts) == list(english)
    for key, text in texts.items():
        assert PLACEHOLDER.findall(text) == PLACEHOLDER.findall(english[key]), key


@of_each_language
def test_no_text_is_that_of_another_language(language: str) -> None:
    others = [text for tag in TABLES for text in TABLES[tag].values() if tag != language]
    assert not {*TABLES[language].values()} & {*others}


@of_each_language
def test_the_title_of_the_button_fits_every_channel(language: str) -> None:
    assert len(TABLES[language]["stay"]) <= LONGEST_TITLE


@of_each_language
def test_a_duration_stands_in_its_sentence(language: str) -> None:
    text, tag = read_texts().say("warning", language, remaining=300)
    assert text == TABLES[language]["warning"].replace("{remaining}", in_words(300, language))
    assert tag == language


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at", "de"),
        ("de_CH", "de"),
        ("de-CH-1996", "de"),
        ("en-GB", "en"),
        ("es-419", "es"),
        ("pt-BR", "pt-BR"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("zh-CN", "zh-CN"),
        ("zh-cn", "zh-CN"),
        ("zh", "zh-CN"),
        ("zh-SG", "zh-CN"),
        ("zh-Hans-CN", "zh-CN"),
        ("zh-TW", "en"),
        ("zh-Hant", "en"),
        ("zh-Hant-TW", "en"),
        ("zh-HK", "en"),
        ("nl-NL", "en"),
        ("den", "en"),
        ("d", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_a_locale_is_served_by_its_own_tag_then_its_language_then_english(
    locale: str | None, language: str
) -> None:
    assert heard(locale) == (TABLES[language]["expired"], language)


@pytest.mark.parametrize(
    "locale",
    ["x", "-", "../../etc/passwd", "de/../en", "\0", "de\n", "C", "{remaining}", "-" * 10_000],
)
def test_any_other_string_is_only_looked_up(locale: str) -> None:
    assert heard(locale).language == "en"


def test_a_locale_of_any_length_is_looked_up_by_its_beginning() -> None:
    assert heard("de-" + "x-" * 1_000_000).language == "de"


def of_the_author(*languages: str, **tables: str) -> Texts:
    """Our texts, and one of the author's for each language."""
    own = {tag.replace("_", "-"): {"expired": text} for tag, text in tables.items()}
    whole = {tag: {**TABLES.get(tag, {}), **own.get(tag, {})} for tag in {**TABLES, **own}}
    return Texts(whole, languages)


def test_a_region_of_the_authors_has_its_words_and_the_rest_of_the_language() -> None:
    texts = of_the_author(de_AT="Servus")
    assert heard("de-AT", texts) == ("Servus", "de-AT")
    assert texts.say("stay", "de-AT") == (TABLES["de"]["stay"], "de")
    assert heard("de-DE", texts) == (TABLES["de"]["expired"], "de")


def test_a_language_of_the_authors_has_its_words_and_else_english_times_included() -> None:
    texts = of_the_author(nl="Voorbij")
    assert heard("nl-BE", texts) == ("Voorbij", "nl")
    assert texts.say("warning", "nl", remaining=300) == (
        TABLES["en"]["warning"].replace("{remaining}", "5 minutes"),
        "en",
    )


def test_traditional_characters_are_served_if_the_author_has_them() -> None:
    texts = of_the_author("en", "zh-TW", zh_TW="再見")
    assert heard("zh-TW", texts) == ("再見", "zh-TW")
    assert heard("zh-CN", texts).language == "en"


@pytest.mark.parametrize(
    ("locale", "language"),
    [("it-IT", "it"), ("de-AT", "de"), ("fr", "it"), ("en-US", "it"), (None, "it")],
)
def test_only_the_languages_that_the_author_names_are_used(
    locale: str | None, language: str
) -> None:
    assert heard(locale, of_the_author("it", "de")).language == language


def test_a_text_that_a_language_lacks_is_that_of_its_own_broader_one() -> None:
    texts = of_the_author("de-AT", de_AT="Servus")
    assert texts.say("stay", "fr") == (TABLES["de"]["stay"], "de")
