"""Streams: what a user sees while a bot is still writing its answer."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.schema import Activity, ActivityTypes, Entity

from shared.connector.client import ConnectorError
from shared.domain.errors import StorageUnavailableError
from tests import texts
from tests.bot_in_memory import BotInMemory, FakeConnector, FunctionBot
from tests.faults import FaultyTable, do_once
from tests.memory_table import MemoryTable

Wire = list[tuple[str, str]]
CHUNKS = ("Hel", "Hello", "Hello from", "Hello from the model.")


def on_the_wire(connector: FakeConnector) -> Wire:
    """Method and text of each request; of a deletion the text of the message that goes."""
    said: dict[str, str] = {}
    wire: Wire = []
    for (method, path, body), id_ in zip(connector.sent, connector.ids, strict=True):
        named = path.split("/activities")[1].strip("/")
        if method == "POST":
            said[id_] = body.get("text", "")
        text = said.get(named, "") if method == "DELETE" else body.get("text", "")
        if method == "PUT":
            said[named] = text
        wire.append((method, text))
    return wire


def on_the_screen(connector: FakeConnector) -> list[str]:
    """The texts that the user sees in the end, from top to bottom."""
    screen: dict[str, str] = {}
    for (method, path, body), id_ in zip(connector.sent, connector.ids, strict=True):
        named = path.split("/activities")[1].strip("/")
        if method == "POST":
            screen[id_] = body.get("text", "")
        elif method == "PUT":
            assert named in screen
            screen[named] = body.get("text", "")
        else:
            del screen[named]
    return list(screen.values())


async def sent_by(context: TurnContext, what: Activity | str) -> str:
    sent = await context.send_activity(what)
    assert sent is not None
    return str(sent.id)


async def stream(context: TurnContext, chunks: tuple[str, ...] = CHUNKS) -> str:
    """Write an answer bit by bit into one message."""
    first, *later = chunks
    id_ = await sent_by(context, first)
    for text in later:
        await context.update_activity(Activity(id=id_, type="message", text=text))
    return id_


def bot_that(on_turn: Callable[[FunctionBot, TurnContext], Awaitable[None]]) -> BotInMemory:
    return BotInMemory(
        FunctionBot(on_turn),
        conversations=FaultyTable(MemoryTable()),
        users=FaultyTable(MemoryTable()),
    )


# By updates


async def test_a_message_that_is_updated_again_and_again_is_seen_as_it_grows() -> None:
    seen: list[Wire] = []

    async def talk(_: FunctionBot, context: TurnContext) -> None:
        id_ = await sent_by(context, "Hel")
        for text in CHUNKS[1:]:
            await context.update_activity(Activity(id=id_, type="message", text=text))
            seen.append(on_the_wire(bot.connector))

    bot = bot_that(talk)
    await bot.say()
    live = [("POST", "Hello from"), ("PUT", "Hello from the model.")]
    assert seen == [[], live[:1], live]  # one update alone changes what is held back
    assert on_the_wire(bot.connector) == live


async def test_what_was_sent_before_a_stream_goes_out_before_it_and_the_rest_after() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        await context.send_activity("Let me think")
        id_ = await sent_by(context, "one")
        await context.send_activity("after")
        for text in ("two", "three", "four"):
            await context.update_activity(Activity(id=id_, type="message", text=text))

    bot = bot_that(talk)
    await bot.say()
    assert on_the_wire(bot.connector) == [
        ("POST", "Let me think"),
        ("POST", "three"),
        ("PUT", "four"),
        ("POST", "after"),
    ]


async def test_two_streams_of_one_turn_are_both_seen() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        ids = [await sent_by(context, "a"), await sent_by(context, "b")]
        for text in ("1", "2", "3"):
            for id_ in ids:
                await context.update_activity(Activity(id=id_, type="message", text=text))

    bot = bot_that(talk)
    await bot.say()
    assert on_the_screen(bot.connector) == ["3", "3"]
    assert [method for method, _ in on_the_wire(bot.connector)] == ["POST", "POST", "PUT", "PUT"]


async def test_a_message_of_an_earlier_turn_can_be_streamed_too() -> None:
    async def talk(bot: FunctionBot, context: TurnContext) -> None:
        card = bot.conversation.create_property("card")
        if context.activity.text == "card":
            await card.set(context, await sent_by(context, "card"))
            return
        for text in ("10 %", "50 %", "100 %"):
            activity = Activity(id=await card.get(context), type="message", text=text)
            await context.update_activity(activity)
        seen.extend(on_the_wire(here.connector))

    seen: Wire = []
    here = bot_that(talk)
    await here.say("card")
    await here.say("go")
    assert seen == [("POST", "card"), ("PUT", "50 %"), ("PUT", "100 %")]
    assert on_the_wire(here.connector) == seen


async def test_a_streamed_message_is_known_in_the_next_turn() -> None:
    async def talk(bot: FunctionBot, context: TurnContext) -> None:
        card = bot.user.create_property("card")
        if context.activity.text == "stream":
            await card.set(context, await stream(context))
        else:
            await context.delete_activity(await card.get(context))

    bot = bot_that(talk)
    await bot.say("stream")
    await bot.another_process().say("delete")
    assert on_the_screen(bot.connector) == []


async def test_a_streamed_message_can_be_deleted_in_its_turn() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        await context.delete_activity(await stream(context))
        await context.send_activity("never mind")

    bot = bot_that(talk)
    await bot.say()
    assert on_the_screen(bot.connector) == ["never mind"]


async def test_a_chunk_that_fails_is_made_good_by_the_next_or_at_the_end() -> None:
    refused = [CHUNKS[2], CHUNKS[3]]

    def refuse(body: dict[str, Any]) -> ConnectorError | None:
        if body.get("text") not in refused:
            return None
        refused.remove(body["text"])
        return ConnectorError("too many", status=429)

    async def talk(_: FunctionBot, context: TurnContext) -> None:
        id_ = await sent_by(context, CHUNKS[0])
        await context.send_activity("after")
        for text in CHUNKS[1:]:
            await context.update_activity(Activity(id=id_, type="message", text=text))

    bot = bot_that(talk)
    bot.connector.refuse = refuse
    await bot.say()
    assert refused == []
    assert on_the_wire(bot.connector) == [("POST", CHUNKS[3]), ("POST", "after")]


async def test_an_update_of_a_stream_that_fails_at_last_goes_out_with_the_rest() -> None:
    refused: list[str] = []

    def refuse(body: dict[str, Any]) -> ConnectorError | None:
        if body.get("text") == CHUNKS[3] and not refused:
            refused.append(body["text"])
            return ConnectorError("down", status=503)
        return None

    async def talk(_: FunctionBot, context: TurnContext) -> None:
        await stream(context)

    bot = bot_that(talk)
    bot.connector.refuse = refuse
    await bot.say()
    assert refused
    assert on_the_wire(bot.connector) == [("POST", CHUNKS[2]), ("PUT", CHUNKS[3])]


async def test_a_deletion_after_an_update_that_failed_is_the_last_word() -> None:
    def refuse(body: dict[str, Any]) -> ConnectorError | None:
        return ConnectorError("no", status=503) if body.get("text") == CHUNKS[3] else None

    async def talk(_: FunctionBot, context: TurnContext) -> None:
        await context.delete_activity(await stream(context))

    bot = bot_that(talk)
    bot.connector.refuse = refuse
    await bot.say()
    assert on_the_wire(bot.connector) == [("POST", CHUNKS[2]), ("DELETE", CHUNKS[2])]


class Slow(FakeConnector):
    """A channel that does something else before it answers the first request."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def request(self, *arguments: Any, **options: Any) -> Any:
        answer = await super().request(*arguments, **options)
        work, self.meanwhile = self.meanwhile, None
        if work:
            await work()
        return answer


@pytest.mark.parametrize(
    ("meanwhile", "wire"),
    [
        ("update", [("POST", "three"), ("PUT", "newest"), ("POST", "after")]),
        ("delete", [("POST", "three"), ("POST", "after"), ("DELETE", "three")]),
    ],
)
async def test_what_the_bot_does_while_a_stream_is_being_shown_counts(
    meanwhile: str, wire: Wire
) -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        id_ = await sent_by(context, "one")
        await context.send_activity("after")
        newest = Activity(id=id_, type="message", text="newest")
        connector.meanwhile = lambda: (
            context.update_activity(newest)
            if meanwhile == "update"
            else context.delete_activity(id_)
        )
        for text in ("two", "three"):
            await context.update_activity(Activity(id=id_, type="message", text=text))

    connector = Slow()
    await BotInMemory(FunctionBot(talk), connector=connector).say()
    assert on_the_wire(connector) == wire


async def test_what_ends_the_conversation_waits_for_the_commit() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        await context.send_activity(Activity(type=ActivityTypes.end_of_conversation))
        await stream(context)
        assert bot.connector.sent == []

    bot = bot_that(talk)
    await bot.say()
    assert on_the_screen(bot.connector) == ["", CHUNKS[-1]]
    row = await bot.row()
    assert row is not None
    assert row.quiet


# A turn that runs again


async def conflicting(bot: BotInMemory, other: str = "other") -> None:
    """Let another process save a turn of the conversation just before the next commit."""
    assert isinstance(bot.conversations, FaultyTable)
    another = bot.another_process()
    bot.conversations.before = do_once("write replace c|", lambda: another.say(other))


async def test_a_turn_that_runs_again_writes_its_stream_into_the_same_message() -> None:
    async def talk(bot: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "other":
            await context.send_activity("other")
            return
        await context.send_activity("thinking")
        await stream(context, tuple(f"{text} {bot.runs}" for text in CHUNKS))
        await context.send_activity("done")

    bot = bot_that(talk)
    await bot.say("other")
    await conflicting(bot)
    await bot.say("stream")
    assert on_the_screen(bot.connector) == ["other", "thinking", f"{CHUNKS[-1]} 4", "other", "done"]
    assert on_the_wire(bot.connector).count(("POST", "thinking")) == 1


async def test_what_only_the_attempt_before_has_shown_is_deleted() -> None:
    async def talk(bot: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "other" or bot.runs > 3:
            await context.send_activity(f"run {bot.runs}")
            return
        await context.send_activity("thinking")
        await stream(context)

    bot = bot_that(talk)
    await bot.say("other")
    await conflicting(bot)
    await bot.say("stream")
    assert on_the_screen(bot.connector) == ["run 1", "run 4", "run 3"]


async def test_an_update_of_an_earlier_message_is_no_message_to_be_replaced() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "go":
            for text in ("10 %", "50 %"):
                await context.update_activity(Activity(id="card7", type="message", text=text))
        await context.send_activity("said")

    bot = bot_that(talk)
    await bot.say("other")
    await conflicting(bot)
    await bot.say("go")
    assert on_the_wire(bot.connector) == [
        ("POST", "said"),
        ("PUT", "50 %"),
        ("POST", "said"),
        ("PUT", "50 %"),
        ("POST", "said"),
    ]


async def test_of_a_bot_that_fails_the_beginning_stays_and_the_apology_follows() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        await stream(context)
        raise RuntimeError("the model is gone")

    bot = bot_that(talk)
    await bot.say()
    assert on_the_screen(bot.connector) == [CHUNKS[-1], texts.SOMETHING_WENT_WRONG]


async def test_the_apology_takes_the_place_of_nothing_that_was_shown() -> None:
    async def talk(bot: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "other":
            return
        if bot.runs > 3:
            raise RuntimeError("the model is gone")
        await stream(context)

    bot = bot_that(talk)
    await bot.say("other")
    await conflicting(bot)
    await bot.say("stream")
    assert on_the_screen(bot.connector) == [CHUNKS[-1], texts.SOMETHING_WENT_WRONG]


async def test_without_storage_the_beginning_was_shown_and_nothing_else_is_sent() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        await stream(context)
        await context.send_activity("done")

    bot = bot_that(talk)

    async def down_once_it_streams(_: str) -> None:
        if bot.connector.sent:
            raise StorageUnavailableError("down")

    assert isinstance(bot.conversations, FaultyTable)
    bot.conversations.before = down_once_it_streams
    with pytest.raises(StorageUnavailableError):
        await bot.say()
    assert on_the_screen(bot.connector) == [CHUNKS[-1]]


# By a stream's id


def chunk(text: str, number: int, stream_id: str = "", kind: str = "streaming") -> Activity:
    """A part of a stream, as Teams' protocol has it."""
    entity = Entity(type="streaminfo")
    entity.additional_properties = {"streamType": kind, "streamSequence": number}
    if stream_id:
        entity.additional_properties["streamId"] = stream_id
    type_ = ActivityTypes.message if kind == "final" else ActivityTypes.typing
    return Activity(type=type_, text=text, entities=[entity])


async def test_teams_streams_are_live_and_end_with_the_commit() -> None:
    seen: list[Wire] = []

    async def talk(_: FunctionBot, context: TurnContext) -> None:
        id_ = await sent_by(context, chunk("Looking ..", 1, kind="informative"))
        seen.append(on_the_wire(bot.connector))
        for number, text in enumerate(CHUNKS[:2], 2):
            await context.send_activity(chunk(text, number, id_))
            seen.append(on_the_wire(bot.connector))
        await context.send_activity(chunk(CHUNKS[-1], 4, id_, kind="final"))

    bot = bot_that(talk)
    await bot.say()
    live = [("POST", "Looking .."), ("POST", CHUNKS[0]), ("POST", CHUNKS[1])]
    assert seen == [live[:1], live[:2], live]
    assert on_the_wire(bot.connector) == [*live, ("POST", CHUNKS[-1])]
    stream_ids = [body["entities"][0].get("streamId") for _, _, body in bot.connector.sent]
    assert stream_ids == [None, *[bot.connector.ids[0]] * 3]


@pytest.mark.parametrize("with_data", [False, True])
async def test_a_chunk_that_is_refused_raises_so_that_the_bot_stops(*, with_data: bool) -> None:
    """A user who presses Stop makes Teams answer 403; without an id nothing could follow."""
    data = {"streamType": "streaming", "streamSequence": 1}
    part = Activity(type="typing", text="x", channel_data=data) if with_data else chunk("x", 1)
    stopped: list[int | None] = []

    async def talk(_: FunctionBot, context: TurnContext) -> None:
        try:
            await context.send_activity(part)
        except ConnectorError as error:
            stopped.append(error.status)

    bot = bot_that(talk)
    bot.connector.refuse = lambda _: ConnectorError("stopped", status=403)
    await bot.say()
    assert stopped == [403]


async def test_a_turn_that_runs_again_begins_its_stream_anew() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "stream":
            id_ = await sent_by(context, chunk("Hel", 1))
            await context.send_activity(chunk("Hello", 2, id_, kind="final"))
        else:
            await context.send_activity("other")

    bot = bot_that(talk)
    await bot.say("other")
    await conflicting(bot)
    await bot.say("stream")
    assert [text for _, text in on_the_wire(bot.connector)] == [
        *("other", "Hel", "other", "Hel", "Hello")
    ]
    assert bot.connector.sent[-1][2]["entities"][0]["streamId"] == bot.connector.ids[3]
