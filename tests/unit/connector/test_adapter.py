"""The adapter outside of turns, and the parts of the SDK that stay as they are."""

from typing import Any

import pytest
from botbuilder.core import BotAdapter, TurnContext
from botbuilder.schema import ConversationParameters, ConversationReference
from botframework.connector.auth import ClaimsIdentity

from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import ConnectorClient, ConnectorError
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
    context = await adapter.prepare(activity(), anonymous())
    client: Any = context.turn_state[adapter.USER_TOKEN_CLIENT_KEY]
    assert made == []
    assert [await client.get_user_token("ann") for _ in range(2)] == ["token", "token"]
    assert len(made) == 1
