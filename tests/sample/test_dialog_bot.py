"""The bot around the dialog: which activities it answers, what it saves and when."""

import asyncio
from typing import Any

import pytest
from botbuilder.core import BotState
from botbuilder.dialogs import Dialog, DialogContext, DialogTurnResult

from shared.bot import create_bot
from shared.bot.sample.dialog_bot import DialogBot
from tests.bot_chat import Chat, PackedStorage, StaleETagError, states


class NotesDialog(Dialog):
    """Notes each message in the given states, then ends; stays open on "wait", fails on "fail"."""

    def __init__(self, *noted_in: BotState, dialog_id: str = "notes") -> None:
        super().__init__(dialog_id)
        self._notes = [state.create_property("notes") for state in noted_in]

    async def begin_dialog(
        self, dialog_context: DialogContext, options: object = None
    ) -> DialogTurnResult:
        return await self._answer(dialog_context, "begun")

    async def continue_dialog(self, dialog_context: DialogContext) -> DialogTurnResult:
        return await self._answer(dialog_context, "continued")

    async def _answer(self, dialog_context: DialogContext, how: str) -> DialogTurnResult:
        text = dialog_context.context.activity.text
        for note in self._notes:
            await note.set(dialog_context.context, text)
        await dialog_context.context.send_activity(how)
        if text == "fail":
            raise RuntimeError("the dialog failed")
        if text.startswith("wait"):
            return Dialog.end_of_turn
        ended: DialogTurnResult = await dialog_context.end_dialog()
        return ended


def notes_chat(storage: PackedStorage, dialog_id: str = "notes") -> Chat:
    conversation, user, private = states(storage)
    dialog = NotesDialog(conversation, user, private, dialog_id=dialog_id)
    return Chat(DialogBot(dialog, conversation, user, private))


async def test_a_message_begins_the_dialog_and_the_next_continues_it() -> None:
    chat = notes_chat(PackedStorage())
    assert await chat.say("wait") == ["begun"]
    assert await chat.say("wait") == ["continued"]


async def test_a_message_after_the_dialog_has_ended_begins_it_again() -> None:
    chat = notes_chat(PackedStorage())
    await chat.say("wait")
    await chat.say("end")
    assert await chat.say("hello") == ["begun"]


async def test_all_three_states_are_saved_where_the_dialog_used_them() -> None:
    storage = PackedStorage()
    await notes_chat(storage).say("remember me")
    assert {key: storage.bag(key)["notes"] for key in storage.rows} == {
        "emulator/conversations/with-ada": "remember me",
        "emulator/users/ada": "remember me",
        "emulator/conversations/with-ada/users/ada/": "remember me",
    }


async def test_states_that_the_dialog_does_not_use_are_neither_read_nor_written() -> None:
    storage = PackedStorage()
    conversation, user, private = states(storage)
    chat = Chat(DialogBot(NotesDialog(), conversation, user, private))
    await chat.say("hello")
    assert set(storage.keys_read + storage.keys_written) == {chat.conversation_key}


async def test_a_failed_turn_saves_nothing() -> None:
    storage = PackedStorage()
    with pytest.raises(RuntimeError, match="the dialog failed"):
        await notes_chat(storage).say("fail")
    assert storage.rows == {}


async def test_of_two_simultaneous_messages_one_saves_and_the_other_conflicts() -> None:
    storage = PackedStorage()
    chat = notes_chat(storage)
    await chat.say("wait")
    results = await asyncio.gather(
        chat.say("wait here"), chat.say("wait as well"), return_exceptions=True
    )
    assert [type(result) for result in results].count(StaleETagError) == 1
    assert storage.rows[chat.conversation_key][0] == 2


async def test_a_conversation_left_in_a_dialog_that_is_gone_begins_the_new_one() -> None:
    storage = PackedStorage()
    await notes_chat(storage, "last version's dialog").say("wait")
    chat = notes_chat(storage, "this version's dialog")
    assert await chat.say("wait") == ["begun"]
    assert await chat.say("wait") == ["continued"]


async def test_a_resumed_conversation_left_in_a_dialog_that_is_gone_begins_the_new_one() -> None:
    storage = PackedStorage()
    await notes_chat(storage, "last version's dialog").say("wait")
    chat = notes_chat(storage, "this version's dialog")
    assert await chat.resume() == ["begun"]


async def test_a_resumed_conversation_whose_dialog_has_ended_begins_it_again() -> None:
    chat = notes_chat(PackedStorage())
    await chat.say("end")
    assert await chat.resume() == ["begun"]


async def test_only_the_dialogs_own_replies_are_sent() -> None:
    sent = await notes_chat(PackedStorage()).deliver(type="message", text="hello")
    assert [activity.type for activity in sent] == ["message"]


@pytest.mark.parametrize(
    "activity",
    [
        {"type": "conversationUpdate", "members_added": []},
        {"type": "conversationUpdate", "members_removed": []},
        {"type": "event", "name": "anything"},
        {"type": "event", "name": "tokens/response"},
        {"type": "messageReaction", "reactions_added": []},
        {"type": "messageUpdate", "text": "hello"},
        {"type": "messageDelete"},
        {"type": "installationUpdate", "action": "add"},
        {"type": "installationUpdate", "action": "remove"},
        {"type": "typing"},
        {"type": "endOfConversation"},
        {"type": "deleteUserData"},
        {"type": "no such type"},
    ],
    ids=lambda activity: "-".join(str(value) for value in activity.values()),
)
async def test_activities_other_than_messages_are_not_answered_and_use_no_state(
    activity: dict[str, Any],
) -> None:
    storage = PackedStorage()
    chat = Chat(create_bot(*states(storage)))
    assert await chat.deliver(**activity) == []
    assert storage.keys_read + storage.keys_written == []


async def test_members_who_join_are_not_greeted() -> None:
    chat = Chat(create_bot(*states(PackedStorage())))
    greeted = await chat.deliver(
        type="conversationUpdate", members_added=[chat._envelope.from_property]
    )
    assert greeted == []


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("no such thing", {"any": 1}, 501),
        (None, None, 501),
        ("signin/verifyState", {"state": "1"}, 501),
        ("adaptiveCard/action", None, 400),
        ("adaptiveCard/action", {"action": {"type": "Action.Execute"}}, 501),
        ("adaptiveCard/action", {"action": {"type": "Action.Submit"}}, 400),
        ("adaptiveCard/action", "no object", 400),
    ],
)
async def test_an_invoke_that_the_bot_does_not_know_is_answered_with_its_status(
    name: str | None, value: Any, status: int
) -> None:
    chat = Chat(create_bot(*states(PackedStorage())))
    (response,) = await chat.deliver(type="invoke", name=name, value=value)
    assert (response.type, response.value.status) == ("invokeResponse", status)


async def test_other_activities_leave_a_dialog_under_way_where_it_is() -> None:
    chat = Chat(create_bot(*states(PackedStorage())))
    await chat.say("hello")
    await chat.deliver(type="event", name="anything")
    await chat.deliver(type="conversationUpdate", members_added=[])
    assert await chat.say("Bus") == ["What is your name?"]
