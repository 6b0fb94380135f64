"""What an author's file of texts may say, and what is said about a wrong one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.processes import ROOT
from shared.settings import SettingsError
from shared.texts import texts_file
from shared.texts.languages import Texts
from shared.texts.texts_file import MAX_BYTES, MAX_CHARACTERS, read_texts
from tests import texts as english

Read = Callable[[str], Texts]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a file with this text, as the setting Texts names it."""

    def read_text(text: str) -> Texts:
        file = tmp_path / "words.toml"
        file.write_text(text, "utf-8")
        return read_texts(str(file))

    return read_text


def test_the_authors_text_wins_and_all_others_stay(read: Read) -> None:
    texts = read('[en]\nexpired = "Gone."')
    assert texts.say("expired", "en-US") == ("Gone.", "en")
    assert texts.say("welcome_back", "en-US").text == english.WELCOME_BACK
    assert texts.say("expired", "de") == read_texts().say("expired", "de")


def test_an_empty_file_changes_nothing(read: Read) -> None:
    assert read("").say("expired", None) == (english.EXPIRED, "en")


def test_a_file_that_an_editor_of_windows_wrote_is_read(read: Read) -> None:
    assert read('\ufeff[en]\r\nexpired = "Gone."\r\n').say("expired", None).text == "Gone."


def test_a_text_may_have_several_lines_and_need_not_say_the_time(read: Read) -> None:
    texts = read('[en]\nwarning = "One.\\nTwo."')
    assert texts.say("warning", "en", remaining=60).text == "One.\nTwo."


def test_the_file_names_the_languages_that_the_bot_speaks(read: Read) -> None:
    texts = read('languages = ["it", "nl"]\n[nl]\nexpired = "Voorbij."')
    assert texts.say("expired", "nl-NL") == ("Voorbij.", "nl")
    assert texts.say("expired", "de-DE").language == "it"


def test_the_examples_of_the_docs_are_read_and_say_what_the_page_says(read: Read) -> None:
    page = (ROOT / "docs" / "languages.md").read_text("utf-8")
    key_by_key, one_for_all = map(read, re.findall(r"```toml\n(.*?)```", page, re.DOTALL))
    assert key_by_key.say("expired", "de").text.startswith("Ich habe unseren Chat")
    assert key_by_key.say("expired", "fr") == read_texts().say("expired", "fr")
    assert one_for_all.say("expired", "fr").text == "Ciao for now!"


NAMES = (
    "it must name expired, expired_max_age, expired_resumable, resume, resume_gone, resumed, stay,"
    " stayed, something_went_wrong, too_many_at_once, warning, welcome_back, welcome_back_resumable"
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[en", "it must be a TOML file"),
        ('[en]\nexpired = "a"\nexpired = "b"', "it must be a TOML file"),
        ("a = " + "[" * 5_000, "it must be a TOML file"),
        ("# " + "x" * MAX_BYTES, f"it must be a TOML file: it has more than {MAX_BYTES:,} bytes"),
        ('expired = "Gone."', r"'expired' is no language; it must be a language tag: de, pt-BR"),
        ('[DE]\nexpired = "Weg."', "'DE' is no language"),
        ('[pt_BR]\nexpired = "Foi."', "'pt_BR' is no language"),
        ('["../../etc"]\nexpired = "x"', "'../../etc' is no language"),
        ('["a\\u001bb"]\nexpired = "x"', r"'a\\x1bb' is no language"),
        ("de = 7", r"de is 7; it must be a table of texts: \[de\]"),
        ('[[de]]\nexpired = "Weg."', "de is .*; it must be a table"),
        ('[de]\nexpird = "Weg."', f"de names 'expird'; {NAMES} only"),
        ("[de]\nexpired = 7", "de.expired is 7; it must be 1 to 1,000 characters"),
        ('[de]\nexpired = ""', "de.expired is ''; it must be 1 to 1,000 characters"),
        ('[de]\nexpired = " \\n"', "de.expired is .*; it must be 1 to 1,000 characters"),
        ('[de]\nexpired = "a\\u0000b"', r"de.expired is 'a\\x00b'; it must be 1 to 1,000"),
        (
            f'[de]\nexpired = "{"x" * (MAX_CHARACTERS + 1)}"',
            r"de.expired is 'x+\.\.\.x+'; it must be 1 to 1,000 characters",
        ),
        (
            "[de]\nexpired" + ".a" * 2_000 + " = 1",
            "de.expired is .*; it must be 1 to 1,000 characters",
        ),
        ('[de]\nwarning = "{remainig}?"', "de.warning has '{remainig}'; it must have {remaining}"),
        ('[de]\nexpired = "{remaining}"', "de.expired has '{remaining}'; it must have no braces"),
        ('[de]\nexpired = "{0.__class__}"', "de.expired has .*; it must have no braces"),
        ('languages = "de"', "languages is 'de'; it must be a list of languages with texts: de, "),
        ("languages = []", r"languages is \[\]; it must be a list"),
        ('languages = ["nl"]', r"languages is \['nl'\]; it must be a list"),
        ('languages = [["de"]]', r"languages is \[\['de'\]\]; it must be a list"),
    ],
)
def test_a_mistake_names_the_file_the_key_what_it_is_and_what_it_must_be(
    read: Read, text: str, complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint) as error:
        read(text)
    said = str(error.value)
    assert said.startswith("Texts")
    assert "words.toml" in said
    assert "\n" not in said
    assert said.count("it must") == 1
    assert len(said) < 1_000
    assert error.value.without_values.startswith("Texts is wrong; it must be a TOML file")


def test_mistakes_are_named_together_but_not_without_end(read: Read) -> None:
    with pytest.raises(SettingsError, match=r"; and 3 more$") as error:
        read("[de]\nexpired = 1\n[fr]\n" + "\n".join(f"{key} = 1" for key in "abcdefg"))
    assert "de.expired is 1" in str(error.value)
    assert str(error.value).count("fr names") == 4


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "words.toml"
    file.write_bytes('[de]\nexpired = "Gespräch"'.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"Texts is '.*words\.toml'; it must be a TOML file"):
        read_texts(str(file))


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, "/dev/zero", "nowhere.toml"):
        with pytest.raises(SettingsError, match="it must be a TOML file: there is no such file"):
            read_texts(str(path))


@pytest.mark.parametrize("text", ["", 'en = "no table"', '[en]\nexpired = "Gone."'])
def test_our_own_file_must_have_every_text_in_english(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "texts.toml"
    file.write_text(text)
    monkeypatch.setattr(texts_file, "_SHIPPED", file)
    with pytest.raises(SettingsError, match=rf"texts\.toml', en lacks a text; {NAMES}"):
        texts_file._shipped.__wrapped__()


def test_a_wrong_text_in_our_own_file_is_named_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = (ROOT / "shared" / "texts" / "texts.toml").read_text("utf-8")
    file = tmp_path / "texts.toml"
    file.write_text(ours.replace(f'"{english.EXPIRED}"', "7"), "utf-8")
    monkeypatch.setattr(texts_file, "_SHIPPED", file)
    with pytest.raises(SettingsError, match=r"texts\.toml', en\.expired is 7; it must be"):
        texts_file._shipped.__wrapped__()
