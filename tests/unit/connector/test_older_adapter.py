"""What bots call on the SDK's older adapter: which request comes of it, and what is refused."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.schema import ConversationParameters, ConversationReference

from shared.connector.adapter import BufferingAdapter
from tests.bot_in_memory import BotInMemory, FakeConnector, FunctionBot, activity

Call = Callable[[Any, TurnContext], Awaitable[Any]]


class TokenClient:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        async def ask(*args: Any) -> Any:
            self.asked.append((name, args[:3]))

        return ask


async def in_a_turn(call: Call, **changed: Any) -> tuple[FakeConnector, TokenClient, Any]:
    """Make one call in a turn; returns who was asked, and what came back."""
    connector, tokens, came_back = FakeConnector(), TokenClient(), []

    async def run(_: FunctionBot, context: TurnContext) -> None:
        context.turn_state[BufferingAdapter.USER_TOKEN_CLIENT_KEY] = tokens
        try:
            came_back.append(await call(context.adapter, context))
        except NotImplementedError as error:
            came_back.append(error)

    await BotInMemory(FunctionBot(run), connector=connector).say(**changed)
    return connector, tokens, came_back[0]


def in_contoso(turn: TurnContext) -> ConversationReference:
    """A reference to the turn's conversation, with a tenant."""
    reference: ConversationReference = TurnContext.get_conversation_reference(turn.activity)
    reference.conversation.tenant_id = "contoso"
    return reference


@pytest.mark.parametrize(
    ("call", "asked"),
    [
        (lambda it, turn: it.get_user_token(turn, "conn", "123456"), "get_user_token"),
        (lambda it, turn: it.get_token_status(turn), "get_token_status"),
        (lambda it, turn: it.get_aad_tokens(turn, "conn", ["https://r"]), "get_aad_tokens"),
    ],
    ids=["token", "status", "aad"],
)
async def test_tokens_are_asked_for_the_turns_user(call: Call, asked: str) -> None:
    _, tokens, _ = await in_a_turn(call)
    ((name, args),) = tokens.asked
    assert name == asked
    assert args[0] == activity().from_property.id


@pytest.mark.parametrize(("user", "signed_out"), [(None, "ann"), ("bob", "bob")])
async def test_a_user_is_signed_out(user: str | None, signed_out: str) -> None:
    _, tokens, _ = await in_a_turn(lambda it, turn: it.sign_out_user(turn, "conn", user))
    assert tokens.asked == [("sign_out_user", (signed_out, "conn", activity().channel_id))]


@pytest.mark.parametrize(
    "call",
    [
        lambda it, turn: it.get_user_token(turn, "c", None, object()),
        lambda it, turn: it.sign_out_user(turn, "c", None, object()),
        lambda it, turn: it.get_oauth_sign_in_link(turn, "c", None, object()),
        lambda it, turn: it.get_token_status(turn, oauth_app_credentials=object()),
        lambda it, turn: it.get_aad_tokens(turn, "c", [], oauth_app_credentials=object()),
        lambda it, turn: it.get_conversations(turn.activity.service_url, object()),
        lambda it, turn: it.create_conversation(
            TurnContext.get_conversation_reference(turn.activity), credentials=object()
        ),
    ],
    ids=["token", "sign out", "link", "status", "aad", "conversations", "create"],
)
async def test_credentials_of_a_call_are_refused_before_anything_is_asked(call: Call) -> None:
    connector, tokens, error = await in_a_turn(call)
    assert isinstance(error, NotImplementedError)
    assert "one identity" in str(error)
    assert (connector.sent, tokens.asked) == ([], [])


async def test_a_conversation_as_in_a_reference_has_its_channel_members_and_tenant() -> None:
    begun: list[Any] = []

    async def create(adapter: Any, turn: TurnContext) -> Any:
        async def say(context: TurnContext) -> str:
            begun.append(context.activity)
            return "what the callback returns"

        reference = in_contoso(turn)
        return await adapter.create_conversation(reference=reference, logic=say)

    connector, _, returned = await in_a_turn(create)
    (method, path, body, *_) = connector.sent[0]
    assert (method, path) == ("POST", "v3/conversations")
    assert body["channelData"] == {"tenant": {"tenantId": "contoso"}}
    assert body["tenantId"] == "contoso"
    assert [member["id"] for member in body["members"]] == ["ann"]
    assert returned == "what the callback returns"
    assert begun[0].channel_id == activity().channel_id


async def test_channel_data_of_a_new_conversation_is_kept_beside_the_tenant() -> None:
    async def create(adapter: Any, turn: TurnContext) -> None:
        parameters = ConversationParameters(is_group=True, channel_data={"channel": {"id": "19:c"}})
        await adapter.create_conversation(in_contoso(turn), None, parameters)

    connector, _, _ = await in_a_turn(create)
    assert connector.sent[0][2]["channelData"] == {
        "channel": {"id": "19:c"},
        "tenant": {"tenantId": "contoso"},
    }
