"""The adapter outside of turns, and the parts of the SDK that stay as they are."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botbuilder.core import BotAdapter, TurnContext
from botbuilder.schema import Activity, ConversationParameters, ConversationReference
from botframework.connector.auth import ClaimsIdentity

from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import ConnectorError
from shared.connector.operations import ConnectorClient
from shared.domain.placeholders import placeholder_for
from tests import texts
from tests.bot_in_memory import BotInMemory, FakeConnector, FunctionBot, activity, anonymous

ANYONE = ClaimsIdentity({}, is_authenticated=True)


@pytest.fixture
def connector() -> FakeConnector:
    return FakeConnector()


@pytest.fixture
def adapter(connector: FakeConnector) -> BufferingAdapter:
    return BufferingAdapter(connector, InboundAuthentication(app_id="").sdk, "")


def reference() -> ConversationReference:
    return TurnContext.get_conversation_reference(activity())


async def test_a_proactive_message_of_the_bot_author_goes_out_at_once(
    adapter: BufferingAdapter, connector: FakeConnector
) -> None:
    async def tell(context: TurnContext) -> None:
        response = await context.send_activity("news")
        assert response is not None
        assert response.id

    await adapter.continue_conversation(reference(), tell, claims_identity=ANYONE)
    assert connector.texts == ["news"]


async def test_a_failing_proactive_message_raises(
    adapter: BufferingAdapter, connector: FakeConnector
) -> None:
    connector.refuse = lambda _: ConnectorError("blocked", status=403)

    async def tell(context: TurnContext) -> None:
        await context.send_activity("news")

    with pytest.raises(ConnectorError):
        await adapter.continue_conversation(reference(), tell, claims_identity=ANYONE)


async def test_a_conversation_can_be_created(
    adapter: BufferingAdapter, connector: FakeConnector
) -> None:
    seen: list[Any] = []

    async def begun(context: TurnContext) -> None:
        seen.append(context.activity.conversation.id)

    await adapter.create_conversation(
        "", begun, ConversationParameters(), "directline", "https://channel.example/"
    )
    assert connector.sent[0][:2] == ("POST", "v3/conversations")
    assert len(seen) == 1


async def test_a_turn_has_a_working_connector_client(connector: FakeConnector) -> None:
    async def list_members(_: FunctionBot, context: TurnContext) -> None:
        client: Any = context.turn_state[BotAdapter.BOT_CONNECTOR_CLIENT_KEY]
        assert isinstance(client, ConnectorClient)
        await client.conversations.update_activity("talk", "7", activity("changed"))

    await BotInMemory(FunctionBot(list_members), connector=connector).say()
    assert connector.sent[0][:2] == ("PUT", "v3/conversations/talk/activities/7")


async def test_a_turn_can_sign_users_in_and_pays_for_it_only_then() -> None:
    made = []

    class Authentication:
        async def create_user_token_client(self, identity: ClaimsIdentity) -> "Client":
            made.append(identity)
            return Client()

    class Client:
        async def get_user_token(self, *_: str) -> str:
            return "token"

    authentication: Any = Authentication()
    adapter = BufferingAdapter(FakeConnector(), authentication, "")
    context = await adapter.prepare(activity(), anonymous(), "turn")
    client: Any = context.turn_state[adapter.USER_TOKEN_CLIENT_KEY]
    assert made == []
    assert [await client.get_user_token("ann") for _ in range(2)] == ["token", "token"]
    assert len(made) == 1


# Ids in a turn


Turn = Callable[[FunctionBot, TurnContext], Awaitable[None]]


def on_the_wire(connector: FakeConnector) -> list[str]:
    """Method, id in the path and text of each request."""
    return [
        " ".join([method, path.split("/activities")[1].strip("/"), body.get("text") or ""]).strip()
        for method, path, body in connector.sent
    ]


async def send(context: TurnContext, what: Activity | str) -> str:
    sent = await context.send_activity(what)
    assert sent is not None
    return str(sent.id)


async def say(on_turn: Turn) -> tuple[FakeConnector, BotInMemory]:
    bot = BotInMemory(FunctionBot(on_turn))
    await bot.say()
    return bot.connector, bot


async def test_an_update_of_what_is_held_back_changes_what_is_sent() -> None:
    async def change(_: FunctionBot, context: TurnContext) -> None:
        id_ = await send(context, "Please wait")
        await context.send_activity("second")
        await context.update_activity(Activity(id=id_, type="message", text="Done"))

    connector, _ = await say(change)
    assert connector.texts == ["Done", "second"]
    assert {method for method, _, _ in connector.sent} == {"POST"}
    assert all("held-" not in f"{path}{body}" for _, path, body in connector.sent)


async def test_the_authors_object_may_change_after_the_update() -> None:
    async def stream(_: FunctionBot, context: TurnContext) -> None:
        draft = Activity(type="message", text="one")
        draft.id = await send(context, draft)
        draft.text = "two"
        await context.update_activity(draft)
        draft.text = "never said"

    assert (await say(stream))[0].texts == ["two"]


async def test_what_is_held_back_can_be_deleted() -> None:
    async def take_back(_: FunctionBot, context: TurnContext) -> None:
        wait = await send(context, "Please wait")
        await context.send_activity("Done")
        await context.delete_activity(wait)

    assert (await say(take_back))[0].texts == ["Done"]


async def test_a_reply_to_what_is_held_back_names_the_id_that_the_channel_gave() -> None:
    async def answer_itself(_: FunctionBot, context: TurnContext) -> None:
        first = await send(context, "first")
        reply = Activity(type="message", text="second", reply_to_id=first)
        await context.adapter.send_activities(
            context, [TurnContext.apply_conversation_reference(reply, reference())]
        )

    connector, _ = await say(answer_itself)
    assert connector.texts == ["first", "second"]
    assert all("held-" not in path for _, path, _ in connector.sent)


async def test_an_activity_that_the_channel_has_is_updated_and_deleted_in_order() -> None:
    async def change(_: FunctionBot, context: TurnContext) -> None:
        await context.update_activity(Activity(id="card7", type="message", text="changed"))
        await context.send_activity("said")
        await context.delete_activity("card8")

    wire = on_the_wire((await say(change))[0])
    assert [wire[0], wire[2]] == ["PUT card7 changed", "DELETE card8"]


async def test_streamed_chunks_go_out_at_once_and_return_their_id() -> None:
    ids: list[str] = []

    async def stream(_: FunctionBot, context: TurnContext) -> None:
        for text in ("Hel", "Hello"):
            chunk = Activity(type="typing", text=text, channel_data={"streamType": "streaming"})
            ids.append(await send(context, chunk))
        raise RuntimeError("the chunks were shown already")

    connector, _ = await say(stream)
    assert connector.texts[:2] == ["Hel", "Hello"]
    assert all(ids)
    assert not any(id_.startswith("held-") for id_ in ids)


@pytest.mark.parametrize("method", ["update_activity", "delete_activity"])
@pytest.mark.parametrize("id_", ["", None])
async def test_no_request_goes_out_without_an_id(
    adapter: BufferingAdapter, connector: FakeConnector, method: str, id_: str | None
) -> None:
    async def change(context: TurnContext) -> None:
        with pytest.raises(ValueError, match="by its id"):
            await getattr(adapter, method)(context, named(method, id_))

    await adapter.continue_conversation(reference(), change, claims_identity=ANYONE)

    async def in_turn(_: FunctionBot, context: TurnContext) -> None:
        await change(context)

    await say(in_turn)
    assert connector.sent == []


@pytest.mark.parametrize("method", ["update_activity", "delete_activity"])
async def test_a_placeholder_outside_of_a_turn_is_an_error(
    adapter: BufferingAdapter, connector: FakeConnector, method: str
) -> None:
    async def change(context: TurnContext) -> None:
        with pytest.raises(ValueError, match="outside of its state"):
            await getattr(adapter, method)(context, named(method, placeholder_for("a message")))

    await adapter.continue_conversation(reference(), change, claims_identity=ANYONE)
    assert connector.sent == []


@pytest.mark.parametrize("id_", ["", placeholder_for("a message")], ids=["empty", "placeholder"])
async def test_the_connector_client_sends_no_request_without_an_id(
    connector: FakeConnector, id_: str
) -> None:
    conversations = ConnectorClient(connector, "https://channel.example").conversations
    for request in (
        conversations.update_activity("talk", id_, activity()),
        conversations.delete_activity("talk", id_),
        conversations.reply_to_activity("talk", id_, activity()),
        conversations.send_to_conversation(id_, activity()),
    ):
        with pytest.raises(ConnectorError, match="is no id"):
            await request
    assert connector.sent == []


def named(method: str, id_: str | None) -> Activity | ConversationReference:
    """What one of these methods takes, with that id."""
    what = activity() if method == "update_activity" else reference()
    setattr(what, "id" if method == "update_activity" else "activity_id", id_)
    return what


@pytest.mark.parametrize("error", [RuntimeError("down"), KeyError("x"), ConnectorError("down")])
async def test_a_handler_that_raises_while_sending_gets_the_user_one_apology(
    error: Exception,
) -> None:
    async def failing(*_: object) -> None:
        raise error

    async def translate(_: FunctionBot, context: TurnContext) -> None:
        context.on_send_activities(failing)
        context.on_update_activity(failing)
        await context.send_activity("hello")

    connector, bot = await say(translate)
    assert connector.texts == [texts.SOMETHING_WENT_WRONG]
    assert bot.keys() == []
