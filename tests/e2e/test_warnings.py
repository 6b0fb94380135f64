"""Users are warned before their conversation expires, over HTTP."""

from pathlib import Path

from tests.bots import notebook_bot
from tests.e2e.running_bot import EXPIRED, StoredRows, User, running_bot
from tests.fake_channel import FakeChannel

WARNED = {
    "en": "Are you still there? I will close this conversation in {}.",
    "de": "Sind Sie noch da? Noch {}, dann beende ich dieses Gespräch.",
}
# The timer comes each hour, so that it does not come in between; a warning must be earlier.
SETTINGS = {
    "ExpirySchedule": "0 0 * * * *",
    "ExpireAfterSeconds": "9000",
    "ExpiryPolicy": 'warn_before = "62m"',
}


async def test_the_button_of_a_warning_keeps_a_conversation_and_silence_ends_it(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    async with running_bot(settings | SETTINGS, tmp_path, bot=notebook_bot) as bot:
        german, silent = User(bot, channel, fields={"locale": "de-DE"}), User(bot, channel)
        for user in german, silent:
            await user.say_all("one")
        await rows.let_time_pass(seconds=9000 - 62 * 60 - 60)
        await bot.sweep()
        assert not any("?" in user.heard[-1] for user in (german, silent))
        await rows.let_time_pass(seconds=120)
        for _ in range(2):
            await bot.sweep()
        assert german.heard[-1] == WARNED["de"].format("1 Stunde")
        assert silent.heard[-1] == WARNED["en"].format("1 hour")
        assert len(german.heard) == len(silent.heard) == 2

        button = channel.sent_to(german.conversation)[-1]["suggestedActions"]["actions"][0]
        pressed = {"text": button["text"], "value": button["value"]}
        assert await german.say(**pressed) == ["In Ordnung, ich halte dieses Gespräch offen."]
        await rows.let_time_pass(minutes=62)
        await bot.sweep()
        assert EXPIRED in silent.heard[-1]
        assert await silent.say(**pressed) == [silent.heard[-2]]  # the truth, and nothing begins
        assert len(await rows.keys("c|")) == 1
        assert '"conversation": 2' in (await german.say("two"))[-1]
