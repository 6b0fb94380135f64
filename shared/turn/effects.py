"""The table of the effects of activities on their session; docs/guarantees.md shows it.

A user's word opens a session. So does an act that the bot handled: a button of a card, a form. An
act without a word to the bot (a reaction, an edit) keeps a session alive. An activity that a client
or a service sends by itself does neither.
"""

from collections.abc import Mapping
from http import HTTPStatus

from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ActivityTypes, RoleTypes

from shared.authors import Effect
from shared.domain.buttons import asks_to_stay, session_to_resume

_BY_TYPE = {
    ActivityTypes.message: Effect.OPENS,
    ActivityTypes.message_reaction: Effect.KEEPS_ALIVE,
    ActivityTypes.message_update: Effect.KEEPS_ALIVE,
}

# An event that is not here has no effect: clients and services send most events.
# An invoke that is not here opens a session if the bot handles it: most are a user's click.
# Source of the names: the activity handlers of the SDK and of Teams (learn.microsoft.com).
_BY_NAME = {
    "event/tokens/response": Effect.KEEPS_ALIVE,  # the user has signed in, in another window
    "invoke/application/search": Effect.KEEPS_ALIVE,  # sent while the user types
    "invoke/composeExtension/query": Effect.KEEPS_ALIVE,
    "invoke/composeExtension/selectItem": Effect.KEEPS_ALIVE,
    "invoke/composeExtension/fetchTask": Effect.KEEPS_ALIVE,
    "invoke/composeExtension/setting": Effect.KEEPS_ALIVE,
    "invoke/config/fetch": Effect.KEEPS_ALIVE,
    "invoke/composeExtension/queryLink": Effect.NONE,  # a client unfurls a link by itself
    "invoke/composeExtension/anonymousQueryLink": Effect.NONE,
    "invoke/composeExtension/querySettingUrl": Effect.NONE,
    "invoke/signin/failure": Effect.NONE,  # a client reports how a silent sign-in went
    "invoke/signin/tokenExchange": Effect.NONE,
    "invoke/tab/fetch": Effect.NONE,  # a page was opened
}


class Effects:
    """Knows the effect of each activity on its session.

    Args:
        own: the author's additions, which win: from `event/NAME` or `invoke/NAME` to its effect.

    Raises:
        ValueError: `own` has a name of neither an event nor an invoke, or a wrong effect.
    """

    def __init__(self, own: Mapping[str, Effect] | None = None) -> None:
        for name, effect in (own or {}).items():
            kind, _, rest = name.partition("/")
            if kind not in {"event", "invoke"} or not rest:
                raise ValueError(
                    f"EFFECTS names {name!r}; it must be 'event/' or 'invoke/' and a name"
                )
            if not isinstance(effect, Effect):
                raise ValueError(f"EFFECTS[{name!r}] is {effect!r}; it must be an Effect")  # noqa: TRY004 - a wrong value of a setting of the author's
        self._by_name = {**_BY_NAME, **(own or {})}

    def of(self, activity: Activity) -> Effect:
        """The activity's effect; an invoke has it only if the bot handles it (`was_handled`)."""
        if _is_from_the_bot(activity):
            return Effect.NONE
        if asks_to_stay(activity.value) or session_to_resume(activity.value) is not None:
            return Effect.KEEPS_ALIVE  # a session that is resumed is opened by its turn
        if activity.type == ActivityTypes.event:
            return self._by_name.get(f"event/{activity.name}", Effect.NONE)
        if activity.type == ActivityTypes.invoke:
            return self._by_name.get(f"invoke/{activity.name}", Effect.OPENS)
        return _BY_TYPE.get(activity.type, Effect.NONE)


def was_handled(response: InvokeResponse | None) -> bool:
    """Whether the bot handled an invoke, by its answer: one that it refused (4xx, 501) was not."""
    return response is None or response.status < HTTPStatus.BAD_REQUEST


def _is_from_the_bot(activity: Activity) -> bool:
    sender, bot = activity.from_property, activity.recipient
    return sender.role == RoleTypes.bot or (bot is not None and sender.id == bot.id)
