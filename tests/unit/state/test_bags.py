"""The three bags: the SDK's storage contract on each, and none of BotState's faults."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botbuilder.core import ActivityHandler, MessageFactory, TurnContext
from botbuilder.dialogs import (
    DialogSet,
    DialogTurnResult,
    DialogTurnStatus,
    WaterfallDialog,
    WaterfallStepContext,
)
from botbuilder.dialogs.prompts import PromptOptions, TextPrompt

from shared.domain.conversation import Conversation
from shared.domain.errors import ConflictError
from shared.domain.identity import ConversationKey, new_session_id
from shared.domain.policy import Policy
from shared.domain.timing import Timing
from shared.state import codec
from shared.state.bags import state_bags
from shared.state.turn_state import TurnState
from shared.storage.table_store import TableStore
from tests.bot_in_memory import SHARDS, BotInMemory, Clock, FunctionBot, activity
from tests.faults import FaultyTable
from tests.memory_table import MemoryTable

KEYS = {
    "conversation": "directline/conversations/talk",
    "user": "directline/users/ann",
    "private": "directline/conversations/talk/users/ann/",
}


class Rows:
    """A conversation's rows over several turns: each `turn` sees what was committed before."""

    def __init__(self) -> None:
        self.store = TableStore(MemoryTable(), MemoryTable(), SHARDS)
        self.clock = Clock()
        self.address = self.store.address(ConversationKey("directline", "talk").hash)

    async def turn(self) -> TurnState:
        fresh = Conversation(self.address, new_session_id(), self.clock.now, state=b"")
        return TurnState(
            self.store,
            activity(),
            await self.store.load(self.address) or fresh,
            turn=new_session_id(),
            policy=Policy(Timing(timedelta(seconds=100))),
            now=self.clock,
        )

    async def commit(self, state: TurnState) -> None:
        session = state.conversation
        participant = await state.save_user(joining=False)
        if participant:
            session = replace(session, users={state.user: participant})
        private = state.private_changes("v")
        session = replace(
            session,
            state=session.state if (new := state.conversation_change) is None else new,
            has_private=session.has_private or bool(private),
        )
        await self.store.save(session, due=None if session.etag else 5, private=private)


@pytest.fixture
def rows() -> Rows:
    return Rows()


# The eleven behaviours of the SDK's StorageBaseTests, for each of the three kinds of keys


@pytest.fixture(params=KEYS)
def key(request: pytest.FixtureRequest) -> str:
    return KEYS[request.param]


async def written(rows: Rows, changes: dict[str, Any]) -> TurnState:
    state = await rows.turn()
    await state.write(changes)
    await rows.commit(state)
    return await rows.turn()


async def test_an_unknown_key_reads_as_nothing(rows: Rows, key: str) -> None:
    assert await (await rows.turn()).read([key]) == {}


async def test_reading_null_keys_is_refused(rows: Rows) -> None:
    with pytest.raises(TypeError, match="Keys are required when reading"):
        await (await rows.turn()).read(None)  # type: ignore[arg-type] # that is the test


async def test_writing_null_is_refused(rows: Rows) -> None:
    with pytest.raises(TypeError, match="Changes are required when writing"):
        await (await rows.turn()).write(None)  # type: ignore[arg-type] # that is the test


async def test_writing_no_items_does_not_raise(rows: Rows) -> None:
    state = await rows.turn()
    await state.write({})
    assert not state.is_changed


async def test_an_object_is_created(rows: Rows, key: str) -> None:
    state = await written(rows, {key: {"id": 1}})
    assert await state.read([key]) == {key: {"id": 1}}


@pytest.mark.parametrize("name", ['!@#$%^&*()_+??><":QASD~`', "", "a/b\\c", "\0", "😀"])
async def test_crazy_property_names_are_kept(rows: Rows, key: str, name: str) -> None:
    state = await written(rows, {key: {name: name}})
    assert await state.read([key]) == {key: {name: name}}


async def test_an_object_is_updated(rows: Rows, key: str) -> None:
    await written(rows, {key: {"id": 1, "old": True}})
    state = await written(rows, {key: {"id": 2}})
    assert await state.read([key]) == {key: {"id": 2}}


async def test_an_object_is_deleted(rows: Rows, key: str) -> None:
    state = await written(rows, {key: {"id": 1}})
    await state.delete([key])
    await rows.commit(state)
    assert await (await rows.turn()).read([key]) == {}


async def test_deleting_an_unknown_object_is_no_error(rows: Rows, key: str) -> None:
    state = await rows.turn()
    await state.delete({key})
    await rows.commit(state)
    assert await (await rows.turn()).read([key]) == {}


async def test_all_three_are_written_read_and_deleted_in_one_batch(rows: Rows) -> None:
    keys = list(KEYS.values())
    state = await written(rows, {each: {"id": each} for each in keys})
    assert await state.read(keys) == {each: {"id": each} for each in keys}
    await state.delete(keys)
    await rows.commit(state)
    assert await (await rows.turn()).read(keys) == {}


async def test_a_conversation_proceeds_through_a_waterfall() -> None:
    async def ask(step: WaterfallStepContext) -> DialogTurnResult:
        prompt = PromptOptions(prompt=MessageFactory.text("name?"))
        return await step.prompt("ask", prompt)

    async def greet(step: WaterfallStepContext) -> DialogTurnResult:
        await step.context.send_activity(f"hello {step.result}")
        ended: DialogTurnResult = await step.end_dialog()
        return ended

    async def run(bot: FunctionBot, context: TurnContext) -> None:
        dialogs = DialogSet(bot.conversation.create_property("dialogs"))
        dialogs.add(TextPrompt("ask"))
        dialogs.add(WaterfallDialog("steps", [ask, greet]))
        dialog = await dialogs.create_context(context)
        if (await dialog.continue_dialog()).status == DialogTurnStatus.Empty:
            await dialog.begin_dialog("steps")

    bot = BotInMemory(FunctionBot(run))
    assert [await bot.say(text) for text in ("hi", "Ann", "hi")] == [
        ["name?"],
        ["hello Ann"],
        ["name?"],
    ]


# Ours: stale versions, and only this turn's keys


async def test_a_stale_version_is_refused_and_nothing_is_lost(rows: Rows, key: str) -> None:
    await written(rows, {key: {"n": 0}})
    mine, other = await rows.turn(), await rows.turn()
    for state in (mine, other):
        await state.read([key])
    await other.write({key: {"n": 1}})
    await rows.commit(other)
    await mine.write({key: {"n": 2}})
    with pytest.raises(ConflictError):
        await rows.commit(mine)
    assert await (await rows.turn()).read([key]) == {key: {"n": 1}}


@pytest.mark.parametrize("foreign", ["directline/users/bob", "x", KEYS["private"] + "namespace"])
async def test_a_key_of_another_user_or_conversation_is_refused(rows: Rows, foreign: str) -> None:
    state = await rows.turn()
    with pytest.raises(KeyError, match="not state of this turn"):
        await state.read([foreign])
    with pytest.raises(KeyError, match="not state of this turn"):
        await state.write({foreign: {}})
    with pytest.raises(KeyError, match="not state of this turn"):
        await state.delete([foreign])


async def test_what_was_read_is_a_copy(rows: Rows, key: str) -> None:
    state = await written(rows, {key: {"list": [1]}})
    (await state.read([key]))[key]["list"].append(2)
    assert await state.read([key]) == {key: {"list": [1]}}
    assert not state.is_changed


async def test_writing_what_was_there_is_no_change(rows: Rows, key: str) -> None:
    state = await written(rows, {key: {"a": 1, "b": 2}})
    await state.read([key])
    await state.write({key: {"b": 2, "a": 1}})
    assert not state.is_changed


async def test_a_bad_value_in_one_bag_stages_none_of_them(rows: Rows) -> None:
    state = await rows.turn()
    with pytest.raises(codec.StateTypeError):
        await state.write({KEYS["conversation"]: {"a": 1}, KEYS["user"]: {"b": object()}})
    assert not state.is_changed


# BotState's faults, as a bot author would meet them, on each bag


async def run_turns(*turns: Callable[[Any, TurnContext], Awaitable[Any]], bag: str) -> list[Any]:
    """Run each function as a turn of one conversation; returns what they returned."""
    results: list[Any] = []
    pending = list(turns)

    async def on_turn(bot: FunctionBot, context: TurnContext) -> None:
        results.append(await pending.pop(0)(getattr(bot, bag), context))

    bot = BotInMemory(FunctionBot(on_turn))
    for _ in turns:
        assert await bot.say() == []
    return results


@pytest.fixture(params=["conversation", "user", "private"])
def bag(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def set_name(state: Any, context: TurnContext) -> None:
    await state.create_property("name").set(context, "Ann")


async def get_name(state: Any, context: TurnContext) -> Any:
    return await state.create_property("name").get(context)


async def test_a_property_is_there_at_the_next_turn(bag: str) -> None:
    assert (await run_turns(set_name, get_name, bag=bag))[-1] == "Ann"


async def test_a_cleared_state_stays_cleared_though_it_is_read_afterwards(bag: str) -> None:
    async def clear(state: Any, context: TurnContext) -> Any:
        await state.clear_state(context)
        return await get_name(state, context)

    assert await run_turns(set_name, clear, get_name, bag=bag) == [None, None, None]


async def test_what_is_set_after_clearing_is_all_there_is(bag: str) -> None:
    async def clear_and_set(state: Any, context: TurnContext) -> None:
        await state.create_property("other").set(context, 1)
        await state.clear_state(context)
        await set_name(state, context)

    async def everything(state: Any, context: TurnContext) -> Any:
        await state.load(context)
        return state.get(context)

    assert (await run_turns(clear_and_set, everything, bag=bag))[-1] == {"name": "Ann"}


async def test_a_state_says_whether_it_has_changed_since_it_was_read_or_saved(bag: str) -> None:
    async def look(state: Any, context: TurnContext) -> list[bool]:
        name = state.create_property("name")
        kept = await name.get(context, list)
        changed = [state.get_cached_state(context).is_changed]
        kept.append("Ann")
        changed.append(state.get_cached_state(context).is_changed)
        await state.save_changes(context)
        changed.append(state.get_cached_state(context).is_changed)
        kept.pop()
        changed.append(state.get_cached_state(context).is_changed)
        return changed

    async def read(state: Any, context: TurnContext) -> bool:
        await state.create_property("name").get(context)
        changed: bool = state.get_cached_state(context).is_changed
        return changed

    first, second = await run_turns(look, read, bag=bag)
    assert first == [True, True, False, True]  # the default itself is a change
    assert second is False


async def test_saving_twice_in_one_turn_keeps_the_last(bag: str) -> None:
    async def save_twice(state: Any, context: TurnContext) -> None:
        name = state.create_property("name")
        for value in ("first", "second"):
            await name.set(context, value)
            await state.save_changes(context)
            await state.save_changes(context, True)

    assert (await run_turns(save_twice, get_name, bag=bag))[-1] == "second"


async def test_state_can_be_deleted_without_having_been_loaded(bag: str) -> None:
    async def delete(state: Any, context: TurnContext) -> None:
        await state.delete(context)

    assert (await run_turns(set_name, delete, get_name, bag=bag))[-1] is None


@pytest.mark.parametrize("default", [0, False, "", [], {}])
async def test_a_falsy_default_is_a_default(bag: str, default: object) -> None:
    async def get(state: Any, context: TurnContext) -> Any:
        return await state.create_property("x").get(context, default)

    async def get_without(state: Any, context: TurnContext) -> Any:
        return await state.create_property("x").get(context)

    assert await run_turns(get, get_without, bag=bag) == [default, default]


async def test_a_default_can_be_made_by_a_function_and_is_not_shared(bag: str) -> None:
    shared: list[int] = []

    async def append(state: Any, context: TurnContext) -> Any:
        made = await state.create_property("made").get(context, lambda: [0])
        given = await state.create_property("given").get(context, shared)
        given.append(1)
        return made

    assert await run_turns(append, bag=bag) == [[0]]
    assert shared == []


async def test_deleting_a_property_that_is_not_there_is_no_error(bag: str) -> None:
    async def delete(state: Any, context: TurnContext) -> None:
        await state.create_property("name").delete(context)

    assert (await run_turns(delete, set_name, delete, get_name, bag=bag))[-1] is None


async def test_loading_by_force_drops_what_was_not_saved(bag: str) -> None:
    async def change_mind(state: Any, context: TurnContext) -> Any:
        await state.create_property("name").set(context, "Eve")
        await state.load(context, True)
        return await get_name(state, context)

    assert (await run_turns(set_name, change_mind, bag=bag))[-1] == "Ann"


async def test_an_untouched_bag_writes_no_row() -> None:
    async def touch_nothing(_: FunctionBot, context: TurnContext) -> None:
        await context.send_activity("hello")

    users = MemoryTable()
    bot = BotInMemory(FunctionBot(touch_nothing), users=users)
    await bot.say()
    assert bot.keys() == ["c", "d"]
    assert [key[:3] for _, key in users.rows] == ["in|"]


async def test_a_bag_that_is_only_read_writes_no_row() -> None:
    async def read(bot: FunctionBot, context: TurnContext) -> None:
        for bag in (bot.user, bot.private):
            await bag.create_property("name").get(context)

    users = MemoryTable()
    bot = BotInMemory(FunctionBot(read), users=users)
    await bot.say()
    assert bot.keys() == ["c", "d"]
    assert [key[:3] for _, key in users.rows] == ["in|"]


async def test_a_property_needs_a_name() -> None:
    with pytest.raises(TypeError):
        state_bags()[0].create_property("")


async def test_state_outside_of_a_turn_is_a_clear_error() -> None:
    context = TurnContext(ActivityHandler(), activity())
    with pytest.raises(TypeError, match="in a turn that the messages function runs"):
        await state_bags()[0].load(context)


async def test_bags_that_are_asked_for_together_are_read_together() -> None:
    async def read_all(bot: FunctionBot, context: TurnContext) -> None:
        bags = (bot.conversation, bot.user, bot.private)
        await asyncio.gather(*(bag.load(context) for bag in bags))
        for bag in bags:
            await bag.create_property("x").set(context, 1)

    conversations, users = FaultyTable(MemoryTable()), FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(read_all), conversations=conversations, users=users)
    await bot.say()
    both_under_way = asyncio.Barrier(2)

    async def meet(doing: str) -> None:
        if doing.startswith(("get user", "get p|")):
            await asyncio.wait_for(both_under_way.wait(), 5)

    conversations.before = users.before = meet
    assert await bot.say() == []
    assert not both_under_way.broken
