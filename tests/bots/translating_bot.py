"""An echo bot behind middleware that translates what comes in and what goes out."""

from collections.abc import Awaitable, Callable
from typing import Any

from botbuilder.core import ActivityHandler, ShowTypingMiddleware, TurnContext, UserState
from botbuilder.schema import Activity, ActivityTypes

STATE_TYPES = ()


class Translating:
    """Translates by turning each text around, for a user whose locale is "sdrawkcab"."""

    async def on_turn(self, context: TurnContext, logic: Callable[[], Awaitable[Any]]) -> None:
        async def send(
            _: TurnContext, sent: list[Activity], next_: Callable[[], Awaitable[Any]]
        ) -> Any:
            for each in sent:
                self._translate(context, each)
            return await next_()

        self._translate(context, context.activity)
        context.on_send_activities(send)
        await logic()

    @staticmethod
    def _translate(context: TurnContext, activity: Activity) -> None:
        if activity.type == ActivityTypes.message and context.activity.locale == "sdrawkcab":
            activity.text = activity.text[::-1]


class CountingBot(ActivityHandler):
    """Says how many messages there were, and the last one."""

    def __init__(self, _: object, user_state: UserState, *__: object) -> None:
        self._state = user_state
        self._count = user_state.create_property("count")

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        count: Any = await self._count.get(turn_context, int)
        await self._count.set(turn_context, count + 1)
        await turn_context.send_activities(
            [
                Activity(type=ActivityTypes.typing),
                Activity(type=ActivityTypes.message, text=f"Message {count + 1}"),
                Activity(type=ActivityTypes.message, text=turn_context.activity.text),
            ]
        )
        await self._state.save_changes(turn_context)


MIDDLEWARE = (ShowTypingMiddleware(delay=60), Translating())
create_bot = CountingBot
