"""What a bot may rely on in a turn: its handlers of sends, middleware, what the context says."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.schema import Activity, ActivityTypes, ConversationReference, ResourceResponse

from tests import texts
from tests.bot_in_memory import BotInMemory, FunctionBot

Next = Callable[[], Awaitable[Any]]
Turn = Callable[[TurnContext], Awaitable[None]]


class Middleware:
    """Middleware of one function."""

    def __init__(self, on_turn: Callable[[TurnContext, Next], Awaitable[None]]) -> None:
        self.on_turn = on_turn


def bot_that(turn: Turn, *middleware: Any) -> BotInMemory:
    """A bot of one function, behind some middleware of its adapter."""

    async def on_turn(_: FunctionBot, context: TurnContext) -> None:
        await turn(context)

    bot = BotInMemory(FunctionBot(on_turn))
    adapter: Any = bot.turns._adapter
    for each in middleware:
        adapter.use(each)
    return bot


def message(text: str, id_: str = "") -> Activity:
    return Activity(type=ActivityTypes.message, text=text, id=id_)


# Handlers of sends, updates and deletions


async def test_handlers_of_sends_run_in_their_order_around_the_send() -> None:
    order: list[str] = []

    def handler(name: str) -> Callable[..., Awaitable[Any]]:
        async def handle(_: TurnContext, activities: list[Activity], go_on: Next) -> Any:
            order.append(f"{name} before {activities[0].text}")
            sent = await go_on()
            order.append(f"{name} after")
            return sent

        return handle

    async def turn(context: TurnContext) -> None:
        context.on_send_activities(handler("one")).on_send_activities(handler("two"))
        sent = await context.send_activity("hello")
        order.append("sent")
        assert isinstance(sent, ResourceResponse)

    bot = bot_that(turn)
    assert await bot.say() == ["hello"]
    assert order == [
        *("one before hello", "two before hello", "two after", "one after", "sent"),
    ]


async def test_a_handler_may_change_what_is_sent() -> None:
    async def shout(_: TurnContext, activities: list[Activity], go_on: Next) -> Any:
        for each in activities:
            each.text = each.text.upper()
        return await go_on()

    async def turn(context: TurnContext) -> None:
        context.on_send_activities(shout)
        await context.send_activities([message("a"), message("b")])

    assert await bot_that(turn).say() == ["A", "B"]


async def test_handlers_of_updates_and_deletions_see_what_is_meant() -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def see_update(_: TurnContext, activity: Activity, go_on: Next) -> Any:
        seen.append((activity.id, activity.conversation.id))
        return await go_on()

    async def see_delete(_: TurnContext, reference: ConversationReference, go_on: Next) -> Any:
        seen.append((reference.activity_id, reference.conversation.id))
        return await go_on()

    async def turn(context: TurnContext) -> None:
        context.on_update_activity(see_update)
        context.on_delete_activity(see_delete)
        await context.update_activity(message("new", "card7"))
        await context.delete_activity("card8")
        reference = TurnContext.get_conversation_reference(context.activity)
        reference.activity_id = "card9"
        await context.delete_activity(reference)

    bot = bot_that(turn)
    await bot.say()
    assert seen == [("card7", "talk"), ("card8", "talk"), ("card9", "talk")]
    assert [method for method, _, _ in bot.connector.sent] == ["PUT", "DELETE", "DELETE"]


async def test_handlers_of_one_turn_are_not_those_of_the_next() -> None:
    heard: list[str] = []

    async def hear(_: TurnContext, activities: list[Activity], go_on: Next) -> Any:
        heard.append(activities[0].text)
        return await go_on()

    async def turn(context: TurnContext) -> None:
        if context.activity.text == "first":
            context.on_send_activities(hear)
        await context.send_activity(f"to {context.activity.text}")

    bot = bot_that(turn)
    await bot.say("first")
    await bot.say("second")
    assert heard == ["to first"]


# What the context says


async def test_a_turn_has_responded_once_anything_but_a_trace_was_sent() -> None:
    responded: list[bool] = []

    async def turn(context: TurnContext) -> None:
        responded.append(context.responded)
        await context.send_activity(Activity(type=ActivityTypes.trace, name="x"))
        responded.append(context.responded)
        await context.send_activity("hello")
        responded.append(context.responded)

    await bot_that(turn).say()
    assert responded == [False, False, True]


async def test_several_activities_get_an_id_each_in_their_order() -> None:
    ids: list[str | None] = []

    async def turn(context: TurnContext) -> None:
        sent = await context.send_activities([message(text) for text in ("a", "b", "a")])
        ids.extend(each.id for each in sent)
        await context.delete_activity(str(ids[0]))

    assert await bot_that(turn).say() == ["b", "a"]
    assert len(set(ids)) == 3
    assert all(ids)


async def test_what_is_sent_answers_the_activity_and_goes_to_its_sender() -> None:
    async def turn(context: TurnContext) -> None:
        given = message("hello")
        await context.send_activity(given)
        assert given.recipient is None  # the author's object is left alone

    bot = bot_that(turn)
    await bot.say(id="in7", locale="de-DE", channelId="msteams")
    ((_, path, body),) = bot.connector.sent
    assert path.endswith("/activities/in7")
    assert (body["replyToId"], body["locale"]) == ("in7", "de-DE")
    assert (body["from"]["id"], body["recipient"]["id"]) == ("bot", "ann")
    assert body["inputHint"] == "acceptingInput"
    assert "id" not in body


async def test_a_text_can_be_sent_with_what_is_spoken_and_a_hint() -> None:
    async def turn(context: TurnContext) -> None:
        await context.send_activity("Your name?", "What is your name?", "expectingInput")

    bot = bot_that(turn)
    await bot.say()
    ((_, _, body),) = bot.connector.sent
    assert (body["speak"], body["inputHint"]) == ("What is your name?", "expectingInput")


# Middleware


class Around:
    """Middleware that notes when it has a turn."""

    def __init__(self, name: str, order: list[str]) -> None:
        self._name, self._order = name, order

    async def on_turn(self, context: TurnContext, go_on: Next) -> None:
        self._order.append(f"{self._name} before")
        await go_on()
        self._order.append(f"{self._name} after")
        await context.send_activity(f"by {self._name}")


async def test_middleware_runs_in_its_order_around_the_bot_and_may_send() -> None:
    order: list[str] = []

    async def turn(context: TurnContext) -> None:
        order.append("bot")
        await context.send_activity("by the bot")

    bot = bot_that(turn, Around("one", order), Around("two", order))
    assert await bot.say() == ["by the bot", "by two", "by one"]
    assert order == ["one before", "two before", "bot", "two after", "one after"]


async def test_middleware_that_does_not_go_on_keeps_the_turn_from_the_bot() -> None:
    async def closed(context: TurnContext, _: Next) -> None:
        await context.send_activity("closed today")

    async def turn(_: TurnContext) -> None:
        raise AssertionError("the bot has no turn")

    bot = bot_that(turn, Middleware(closed))
    assert await bot.say() == ["closed today"]
    assert await bot.row() is not None  # the user spoke: that counts


async def test_middleware_may_change_what_the_bot_reads_but_not_for_another_attempt() -> None:
    async def once_more(context: TurnContext, go_on: Next) -> None:
        context.activity.text += "!"
        await go_on()

    async def turn(context: TurnContext) -> None:
        await context.send_activity(context.activity.text)

    bot = bot_that(turn, Middleware(once_more))
    assert await bot.say("hi") == ["hi!"]


async def test_middleware_that_raises_is_a_bot_that_fails() -> None:
    async def fails(_: TurnContext, __: Next) -> None:
        raise RuntimeError("the translator is down")

    async def turn(_: TurnContext) -> None:
        raise AssertionError("the bot has no turn")

    bot = bot_that(turn, Middleware(fails))
    assert await bot.say() == [texts.SOMETHING_WENT_WRONG]
    assert bot.keys() == []


async def test_middleware_may_catch_what_the_bot_raises() -> None:
    async def catches(context: TurnContext, go_on: Next) -> None:
        try:
            await go_on()
        except LookupError as error:
            await context.send_activity(f"caught {error.args[0]}")

    async def turn(_: TurnContext) -> None:
        raise LookupError("it")

    assert await bot_that(turn, Middleware(catches)).say() == ["caught it"]


@pytest.mark.parametrize("bad", [None, 7, "middleware"])
def test_what_is_no_middleware_is_refused(bad: object) -> None:
    async def turn(_: TurnContext) -> None:
        return

    with pytest.raises(TypeError):
        bot_that(turn, bad)
