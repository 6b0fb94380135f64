"""The sample takes its own name out of what users write in groups and channels."""

import time
from typing import Any

import pytest
from botbuilder.schema import Activity

from shared.bot.sample.mentions import text_to_bot

TEAMS = {"id": "28:bot", "name": "Bot"}
SLACK = {"id": "B024BE7LH:T061EG9R6", "name": "travelbot"}


def mention(account: object, text: object = None) -> dict[str, Any]:
    entity = {"type": "mention", "mentioned": account}
    return entity if text is None else {**entity, "text": text}


def read(text: object, entities: object, recipient: object = TEAMS) -> str | None:
    fields = {"type": "message", "text": text, "entities": entities, "recipient": recipient}
    return text_to_bot(Activity.deserialize(fields))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<at>Bot</at>&nbsp;Ann\n", "Ann"),
        ("<at>Bot</at> Ann", "Ann"),
        ("\r\n<at>Bot</at> Ann\r\n", "Ann"),
        ("Ann <at>Bot</at>", "Ann"),
        ("<at>Bot</at>\xa0\xa0Ann Lee", "Ann Lee"),
        ("<AT>Bot</AT>, 31", "31"),
        ("I take <at>Bot</at>&nbsp;the bus", "I take the bus"),
        ("<at>Bot</at> <at>Bot</at> Ann", "Ann"),
        ("<at>Bot</at> ask <at>Ann</at>", "ask <at>Ann</at>"),
        ("<at>Bot</at>", ""),
        ("no mention here&nbsp;", "no mention here&nbsp;"),
        (" kept as it is ", " kept as it is "),
        ("", ""),
        (None, None),
    ],
)
def test_in_teams(text: str | None, answer: str | None) -> None:
    ann = mention({"id": "29:ann", "name": "Ann"}, "<at>Ann</at>")
    assert read(text, [ann, mention(TEAMS, "<at>Bot</at>")]) == answer


@pytest.mark.parametrize(
    ("text", "written", "answer"),
    [
        ("@travelbot Bus", "@travelbot", "Bus"),
        ("@travelbot: Bus", "@travelbot", "Bus"),
        ("<@B024BE7LH> Bus", "<@B024BE7LH>", "Bus"),
        ("<@B024BE7LH|travelbot> Bus", None, "Bus"),
        ("<@B024BE7LH>: Bus", "@travelbot", "Bus"),
        ("Bus, @TravelBot", None, "Bus,"),
        ("@travelbot2 Bus", None, "@travelbot2 Bus"),
        ("<@U0ANN> Bus", "@travelbot", "<@U0ANN> Bus"),
    ],
)
def test_in_slack(text: str, written: str | None, answer: str) -> None:
    assert read(text, [mention(SLACK, written)], SLACK) == answer


def test_the_bots_name_as_a_channel_writes_it_needs_no_entity() -> None:
    assert read("<at>Bot</at> Ann", None) == "Ann"
    assert read("<@B024BE7LH> Ann", [], SLACK) == "Ann"
    assert read("@Bot Ann", None) == "@Bot Ann"


@pytest.mark.parametrize("text", [" ", "<at ", "<at>", "&nbsp;", "<@B024BE7LH|", "@travelbo"])
def test_the_longest_texts_are_read_at_once(text: str) -> None:
    began = time.process_time()
    read(text * 30_000, [mention(SLACK, "@travelbot")], SLACK)
    assert time.process_time() - began < 1


def test_names_are_no_patterns() -> None:
    account = {"id": "28:bot", "name": "Bot (a|b) +"}
    assert (
        read("<at>Bot (a|b) +</at> x", [mention(account, "<at>Bot (a|b) +</at>")], account) == "x"
    )


@pytest.mark.parametrize(
    "entity",
    [
        {"type": "mention"},
        {"type": None, "mentioned": TEAMS},
        mention(None),
        mention("28:bot", "<at>Bot</at>"),
        mention({"id": 5}, 5),
        mention({"id": "28:bot", "name": 7}, " "),
        {"type": "clientInfo", "locale": "en"},
    ],
)
@pytest.mark.parametrize("recipient", [None, {}, {"id": "28:bot"}])
def test_odd_mentions_change_nothing(entity: dict[str, Any], recipient: object) -> None:
    assert read("<at>Bot</at> Ann", [entity], recipient) == "<at>Bot</at> Ann"
