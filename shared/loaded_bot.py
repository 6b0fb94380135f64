"""The author's bot, made and checked once per process."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from botbuilder.core import Bot

from shared.state import state_types
from shared.state.bags import state_bags
from shared.turn.effects import Effects


class BotError(Exception):
    """The bot of shared/bot cannot be loaded.

    Attributes:
        without_values: the error for callers: its cause, which may hold secrets, is left out.
        part: what health says has failed.
    """

    part = "bot"

    def __init__(self, where: str, problem: str, cause: Exception | None = None) -> None:
        super().__init__(f"{where} of shared/bot {problem}")
        self.without_values = str(self)
        if cause is not None:
            what = type(cause).__name__
            self.without_values = f"{where} of shared/bot failed ({what}); the log says why"


class LoadedBot(NamedTuple):
    """The bot, and the effects of activities that its author named."""

    bot: Bot
    effects: Effects


@cache
def load_bot() -> LoadedBot:
    """The bot of this process. Afterwards, state may hold the classes that it lists.

    Raises:
        BotError: a name in shared/bot is missing or wrong, or `create_bot` raised.
    """
    try:
        from shared import bot as module  # noqa: PLC0415 - what sweeps only needs no bot
    except Exception as error:
        raise BotError("the code", f"cannot be imported: {_words(error)}", error) from error
    for name in ("STATE_TYPES", "create_bot"):
        if not hasattr(module, name):
            raise BotError(name, "is missing")
    _check("STATE_TYPES", lambda: state_types.register(*module.STATE_TYPES))
    effects = _check("EFFECTS", lambda: Effects(getattr(module, "EFFECTS", None)))
    bot: Any = _check("create_bot", lambda: module.create_bot(*state_bags()))
    if not callable(getattr(bot, "on_turn", None)):
        raise BotError("create_bot", f"returned a {type(bot).__name__}, which has no on_turn")
    return LoadedBot(bot, effects)


def _check(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        raise BotError(name, f"failed: {_words(error)}", error) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
