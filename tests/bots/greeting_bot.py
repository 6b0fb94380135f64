"""A bot that greets who joins, once, and remembers in its users' state whom it has welcomed."""

from typing import Any

from botbuilder.core import ActivityHandler, TurnContext, UserState
from botbuilder.schema import ChannelAccount


class Welcomed:
    """Whether a user was: a plain class, as in the SDK's samples."""

    def __init__(self, was_welcomed: bool = False) -> None:
        self.was_welcomed = was_welcomed


STATE_TYPES = (Welcomed,)


class GreetingBot(ActivityHandler):
    """Greets; welcomes a user's first message, and tells members and reactions apart."""

    def __init__(self, _: object, user_state: UserState, *__: object) -> None:
        self._user_state = user_state
        self._welcomed = user_state.create_property("welcomed")

    async def on_turn(self, turn_context: TurnContext) -> None:
        await super().on_turn(turn_context)
        await self._user_state.save_changes(turn_context)

    async def on_members_added_activity(
        self, members_added: list[ChannelAccount], turn_context: TurnContext
    ) -> None:
        for member in members_added:
            if member.id != turn_context.activity.recipient.id:
                await turn_context.send_activity(f"Hi there {member.name}.")

    async def on_members_removed_activity(
        self, members_removed: list[ChannelAccount], turn_context: TurnContext
    ) -> None:
        await turn_context.send_activity(f"{len(members_removed)} left.")

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        welcomed: Any = await self._welcomed.get(turn_context, Welcomed)
        if not welcomed.was_welcomed:
            welcomed.was_welcomed = True
            await turn_context.send_activity("You see this because it is your first message.")
        else:
            await turn_context.send_activity(f"You said {turn_context.activity.text}.")

    async def on_reactions_added(
        self, message_reactions: list[Any], turn_context: TurnContext
    ) -> None:
        await turn_context.send_activity(f"You reacted with {message_reactions[0].type}.")


create_bot = GreetingBot
