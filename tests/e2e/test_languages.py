"""Users are told in their own language, and in the author's words if there are any."""

import pytest

from shared.texts.texts_file import read_texts
from tests.e2e.running_bot import RunningBot, StoredRows, User, settings_on
from tests.fake_channel import FakeChannel

OURS = read_texts()
IDLE = 610  # seconds: the timeout of `settings_on` is 600


@pytest.fixture(scope="module")
def settings(
    storage_connection_string: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Of `bot`: the author has other words for one text."""
    words = tmp_path_factory.mktemp("words") / "words.toml"
    words.write_text('[de]\nwelcome_back = "Da bist du ja wieder."\n')
    return settings_on(storage_connection_string, Texts=str(words))


async def test_everybody_is_told_in_their_own_language_or_else_in_english(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    locales = {"de-AT": "de", "pt": "pt-BR", "zh-TW": "en", "nl-NL": "en", "../../etc": "en"}
    users = {locale: User(bot, channel, fields={"locale": locale}) for locale in locales}
    for user in users.values():
        await user.say("hello")
    await rows.let_time_pass(seconds=IDLE)
    assert f"notified {len(users)}" in await bot.sweep()
    for locale, user in users.items():
        notice = channel.sent_to(user.conversation)[-1]
        told = notice["text"], notice["locale"]
        assert told == OURS.say("expired", locales[locale])


async def test_the_authors_word_wins_and_only_that_one(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    german, other = User(bot, channel, fields={"locale": "de-DE"}), User(bot, channel)
    for user in (german, other):
        await user.say("hello")
    await rows.let_time_pass(seconds=IDLE)
    assert (await german.say("hello"))[0] == "Da bist du ja wieder."
    assert (await other.say("hello"))[0] == OURS.say("welcome_back", None).text
    await rows.let_time_pass(seconds=IDLE)
    await bot.sweep()
    assert german.heard[-1] == OURS.say("expired", "de").text


async def test_a_group_is_told_in_the_language_of_whoever_wrote_last(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    group = User(bot, channel)
    group.fields["conversation"] = {"id": group.conversation, "isGroup": True}
    await group.say("hello", locale="de-DE", **{"from": {"id": "ann"}})
    await group.say("ciao", locale="it-IT", **{"from": {"id": "bob"}})
    await rows.let_time_pass(seconds=IDLE)
    await bot.sweep()
    assert group.heard[-1] == OURS.say("expired", "it").text
