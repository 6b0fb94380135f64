"""The sample conversation, from the first message to the kept profile."""

import asyncio
from typing import Any

import pytest
from botbuilder.schema import Activity, Attachment

from shared.bot import STATE_TYPES, create_bot
from shared.bot.sample.user_profile import UserProfile
from tests.bot_chat import Chat, PackedStorage, states

TRANSPORT = "Which transport do you use: car, bus or bicycle?"
NAME = "What is your name?"
WHETHER_AGE = "Would you like to give your age (yes or no)?"
AGE = "What is your age?"
PICTURE = "Please attach a picture of yourself (JPEG or PNG), or type anything to skip this."

JPEG = Attachment(content_type="image/jpeg", content_url="https://x.example/1", name="ada.jpg")
PDF = Attachment(content_type="application/pdf", content_url="https://x.example/2", name="a.pdf")

# Each answer leads to the next question; the last one to "Is this ok?".
ANSWERS = ["hello", "Bus", "Ada", "yes", "31", "skip"]
UNTIL_TRANSPORT, UNTIL_NAME, UNTIL_WHETHER_AGE, UNTIL_AGE, UNTIL_PICTURE, UNTIL_OK = range(1, 7)


def new_chat(**options: Any) -> Chat:
    return Chat(create_bot(*states(PackedStorage())), **options)


async def chat_until(question: int, **options: Any) -> Chat:
    chat = new_chat(**options)
    for answer in ANSWERS[:question]:
        await chat.say(answer)
    return chat


@pytest.mark.parametrize("question", range(UNTIL_TRANSPORT, UNTIL_OK + 1))
async def test_a_resumed_conversation_hears_its_last_question_again(question: int) -> None:
    chat = await chat_until(question - 1)
    asked = await chat.say(ANSWERS[question - 1])
    assert await chat.resume() == asked[-1:]
    assert await chat.resume() == asked[-1:]


async def finish(chat: Chat, storage: PackedStorage) -> UserProfile:
    """Answers "Is this ok?" with yes; returns the profile that is kept."""
    await chat.say("yes")
    profile = storage.bag(chat.user_key)["UserProfile"]
    assert isinstance(profile, UserProfile)
    return profile


async def test_the_first_message_gets_exactly_one_text_that_asks_for_the_transport() -> None:
    assert await new_chat().say("hello") == [TRANSPORT]


async def test_the_questions_come_in_order_and_a_confirmed_profile_is_kept() -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    assert await chat.say("hello") == [TRANSPORT]
    assert await chat.say("Bus") == [NAME]
    assert await chat.say("Ada") == [WHETHER_AGE]
    assert await chat.say("yes") == [AGE]
    assert await chat.say("31") == ["I have your age as 31.", PICTURE]
    recap = "Ada travels by bus, is 31 years old, sent ada.jpg"
    assert await chat.say(None, attachments=[JPEG]) == [f"{recap}. Is this ok?"]
    assert await chat.say("yes") == [f"Your profile is kept: {recap}."]
    assert storage.bag(chat.user_key)["UserProfile"] == UserProfile("Bus", "Ada", 31, "ada.jpg")


async def test_a_profile_that_is_not_confirmed_is_not_kept() -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for answer in ANSWERS:
        await chat.say(answer)
    assert await chat.say("no") == ["All right, Ada: nothing is kept."]
    assert chat.user_key not in storage.keys_read + storage.keys_written


async def test_a_later_profile_that_is_not_confirmed_leaves_the_kept_one() -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for answer in [*ANSWERS, "yes", "hello", "Car", "Eve", "no", "skip", "no"]:
        await chat.say(answer)
    assert storage.bag(chat.user_key)["UserProfile"].name == "Ada"


async def test_a_profile_confirmed_again_replaces_the_kept_one() -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for answer in [*ANSWERS, "yes", "hello", "Car", "Eve", "no", "skip"]:
        await chat.say(answer)
    assert await finish(chat, storage) == UserProfile("Car", "Eve", None, None)


@pytest.mark.parametrize("last_answer", ["yes", "no"])
async def test_the_message_after_the_last_answer_starts_again(last_answer: str) -> None:
    chat = await chat_until(UNTIL_OK)
    await chat.say(last_answer)
    assert await chat.say("hello again") == [TRANSPORT]


async def test_user_state_is_touched_only_where_the_profile_is_kept() -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for answer in ANSWERS:
        await chat.say(answer)
    assert set(storage.keys_read + storage.keys_written) == {chat.conversation_key}
    await chat.say("yes")
    assert storage.keys_written.count(chat.user_key) == 1


@pytest.mark.parametrize(
    ("answer", "transport"),
    [
        ("Car", "Car"),
        ("car", "Car"),
        ("1", "Car"),
        ("bus please", "Bus"),
        ("the second one", "Bus"),
        ("  BICYCLE!", "Bicycle"),
        ("3", "Bicycle"),
    ],
)
async def test_a_transport_is_chosen_by_its_name_or_number(answer: str, transport: str) -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for message in ["hello", answer, "Ada", "no", "skip"]:
        await chat.say(message)
    assert (await finish(chat, storage)).transport == transport


@pytest.mark.parametrize("answer", ["a horse", "4", "0", "\N{AUTOMOBILE}"])
async def test_a_transport_that_is_not_on_the_list_is_asked_for_again(answer: str) -> None:
    chat = await chat_until(UNTIL_TRANSPORT)
    assert await chat.say(answer) == ["Please choose a transport: car, bus or bicycle."]
    assert await chat.say("Bus") == [NAME]


async def asked_on(channel_id: str) -> Activity:
    (question,) = await new_chat(channel_id=channel_id).deliver(type="message", text="hello")
    return question


@pytest.mark.parametrize("channel", ["emulator", "msteams", "email"])
async def test_the_question_is_text_on_every_channel_with_the_transports_as_buttons(
    channel: str,
) -> None:
    question = await asked_on(channel)
    titles = [action.title for action in question.suggested_actions.actions]
    assert (question.text, titles) == (TRANSPORT, ["Car", "Bus", "Bicycle"])


async def test_a_name_is_kept_as_one_line() -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for message in ["hello", "Car", "  Ada \n Lovelace ", "no", "skip"]:
        await chat.say(message)
    assert (await finish(chat, storage)).name == "Ada Lovelace"


async def test_a_name_of_100_characters_is_taken() -> None:
    chat = await chat_until(UNTIL_NAME)
    assert await chat.say("n" * 100) == [WHETHER_AGE]


@pytest.mark.parametrize("answer", ["n" * 101, "   ", "", None])
async def test_a_name_too_long_or_empty_is_asked_for_again(answer: str | None) -> None:
    chat = await chat_until(UNTIL_NAME)
    assert await chat.say(answer) == ["Please give a name of 1 to 100 characters."]
    assert await chat.say("Ada") == [WHETHER_AGE]


@pytest.mark.parametrize("answer", ["yes", "Yes!", "y", "1", "sure", "ok"])
async def test_yes_is_understood(answer: str) -> None:
    chat = await chat_until(UNTIL_WHETHER_AGE)
    assert await chat.say(answer) == [AGE]


@pytest.mark.parametrize("answer", ["no", "No, thanks", "n", "2", "nope", "not ok", "not sure"])
async def test_no_is_understood_and_the_age_is_then_not_asked_for(answer: str) -> None:
    chat = await chat_until(UNTIL_WHETHER_AGE)
    assert await chat.say(answer) == [PICTURE]
    assert await chat.say("skip") == ["Ada travels by bus. Is this ok?"]


async def test_neither_yes_nor_no_is_asked_again() -> None:
    chat = await chat_until(UNTIL_WHETHER_AGE)
    assert await chat.say("perhaps") == [
        "Please answer yes or no: would you like to give your age?"
    ]
    assert await chat.say("yes") == [AGE]


async def test_an_answer_that_is_not_yes_or_no_decides_nothing_about_the_profile() -> None:
    chat = await chat_until(UNTIL_OK)
    assert await chat.say("perhaps") == ["Please answer yes or no. Is this ok?"]
    assert await chat.say("no") == ["All right, Ada: nothing is kept."]


@pytest.mark.parametrize(
    ("answer", "age"),
    [("1", 1), ("149", 149), (" 31 ", 31), ("I am 31", 31), ("thirty-one", 31), ("31.0", 31)],
)
async def test_an_age_is_read_back_and_kept_as_a_whole_number(answer: str, age: int) -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for message in ["hello", "Car", "Ada", "yes"]:
        await chat.say(message)
    assert await chat.say(answer) == [f"I have your age as {age}.", PICTURE]
    await chat.say("skip")
    kept = (await finish(chat, storage)).age
    assert (kept, type(kept)) == (age, int)


@pytest.mark.parametrize(
    "answer",
    [
        *["0", "150", "-5", "minus 5", "3.7", "1/2", "old", "20 or 30", "nan", "inf", "31,5", "²"],
        *["1e400", "1e100", "1e20", "9" * 20, "1" * 200, "1" * 20_000, "31 " + "x" * 20_000],
        *["", "  ", None],
    ],
    ids=lambda answer: repr(answer)[:12],
)
async def test_what_is_no_age_from_1_to_149_is_asked_for_again(answer: str | None) -> None:
    chat = await chat_until(UNTIL_AGE)
    assert await chat.say(answer) == ["Please give your age as a whole number from 1 to 149."]
    assert await chat.say("31") == ["I have your age as 31.", PICTURE]


def picture(**fields: Any) -> Attachment:
    return Attachment(**{"content_type": "image/png", **fields})


@pytest.mark.parametrize(
    ("message", "label"),
    [
        ({"attachments": [JPEG]}, "ada.jpg"),
        ({"attachments": [picture(name="ada.png")]}, "ada.png"),
        ({"attachments": [picture(content_type="IMAGE/PNG", name="ada.png")]}, "ada.png"),
        ({"attachments": [picture(content_url="https://x.example/1")]}, "https://x.example/1"),
        ({"attachments": [picture(content_url="data:image/png;base64,AAAA")]}, "a picture"),
        ({"attachments": [picture()]}, "a picture"),
        ({"attachments": [PDF, None, Attachment(), JPEG]}, "ada.jpg"),
        ({"attachments": [JPEG], "text": "this is me"}, "ada.jpg"),
        ({"text": "no, thanks"}, None),
        ({"text": "x" * 20_000}, None),
        ({"attachments": [PDF], "text": "no, thanks"}, None),
    ],
)
async def test_a_picture_is_taken_and_any_text_without_one_skips_it(
    message: dict[str, Any], label: str | None
) -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for answer in ANSWERS[:UNTIL_PICTURE]:
        await chat.say(answer)
    await chat.say(message.get("text"), attachments=message.get("attachments"))
    assert (await finish(chat, storage)).picture == label


@pytest.mark.parametrize(
    "message",
    [{"attachments": [PDF]}, {"attachments": [None]}, {"attachments": []}, {"text": " "}],
)
async def test_without_a_picture_or_text_the_picture_is_asked_for_again(
    message: dict[str, Any],
) -> None:
    chat = await chat_until(UNTIL_PICTURE)
    assert await chat.say(message.get("text"), attachments=message.get("attachments")) == [
        "That is not a JPEG or PNG picture. Attach one, or type anything to skip this."
    ]
    assert await chat.say("skip") == ["Ada travels by bus, is 31 years old. Is this ok?"]


async def test_on_teams_the_picture_is_not_asked_for() -> None:
    chat = await chat_until(UNTIL_AGE, channel_id="msteams")
    assert await chat.say("31") == [
        "I have your age as 31.",
        "Ada travels by bus, is 31 years old. Is this ok?",
    ]


@pytest.mark.parametrize(
    ("question", "asked_again"),
    [
        (UNTIL_TRANSPORT, "transport"),
        (UNTIL_NAME, "name"),
        (UNTIL_WHETHER_AGE, "age"),
        (UNTIL_AGE, "age"),
        (UNTIL_OK, "Is this ok?"),
    ],
)
@pytest.mark.parametrize(
    "message",
    [
        {"text": None},
        {"text": ""},
        {"text": None, "attachments": [JPEG]},
        {"text": None, "value": {"clicked": True}},
        {"text": "car 1 yes " * 2_000},
        {"text": "\0\ud83d\N{ZERO WIDTH SPACE}" * 100},
    ],
    ids=["None", "empty", "attachment", "value", "20,000 characters", "no characters to speak of"],
)
async def test_a_question_is_asked_again_after_a_message_that_cannot_answer_it(
    question: int, asked_again: str, message: dict[str, Any]
) -> None:
    chat = await chat_until(question)
    (reply,) = await chat.say(**message)
    assert asked_again in reply


@pytest.mark.parametrize("message", [{"attachments": [JPEG]}, {"text": "x" * 20_000}, {}])
async def test_any_first_message_begins_the_conversation(message: dict[str, Any]) -> None:
    chat = new_chat()
    assert await chat.say(message.get("text"), attachments=message.get("attachments")) == [
        TRANSPORT
    ]


@pytest.mark.parametrize(
    "locale", [None, "", "xx-YY", "de-DE", "zh-cn", "EN", "eN-gB", "-", "123", "e" * 500, "../\0"]
)
async def test_the_conversation_is_the_same_in_any_locale(locale: str | None) -> None:
    chat = new_chat(locale=locale, channel_id="email")
    replies = [await chat.say(answer) for answer in [*ANSWERS, "2"]]
    assert replies == [
        [TRANSPORT],
        [NAME],
        [WHETHER_AGE],
        [AGE],
        ["I have your age as 31.", PICTURE],
        ["Ada travels by bus, is 31 years old. Is this ok?"],
        ["All right, Ada: nothing is kept."],
    ]


async def test_running_a_message_again_from_the_same_state_gives_the_same_replies() -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    for message in ["hello", "horse", "Bus", "Ada", "yes", "150", "31", "skip", "yes"]:
        rows_before = dict(storage.rows)
        replies = await chat.say(message)
        storage.rows = rows_before
        assert await chat.say(message) == replies
    assert storage.bag(chat.user_key)["UserProfile"] == UserProfile("Bus", "Ada", 31, None)


async def test_conversations_at_the_same_time_do_not_mix_their_answers() -> None:
    storage = PackedStorage()
    bot = create_bot(*states(storage))
    transports = ["Car", "Bus", "Bicycle"]

    async def whole_dialog(number: int) -> UserProfile:
        chat = Chat(bot, user=f"user-{number}")
        transport = transports[number % 3]
        for answer in ["hello", transport, f"Name {number}", "yes", str(number), "skip"]:
            await chat.say(answer)
        return await finish(chat, storage)

    profiles = await asyncio.gather(*(whole_dialog(number) for number in range(1, 21)))
    assert profiles == [
        UserProfile(transports[number % 3], f"Name {number}", number, None)
        for number in range(1, 21)
    ]


async def test_the_profile_is_declared_as_a_type_that_state_may_hold() -> None:
    assert UserProfile in STATE_TYPES
