"""The author's code, made and checked once per process: the bot, and the hooks."""

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, NamedTuple

from botbuilder.core import Bot, BotAdapter, Middleware, TurnContext

from shared.connector.hooks import Hook
from shared.state import state_types
from shared.state.bags import state_bags
from shared.turn.effects import Effects

_HOOKS = "shared.hooks"


class BotError(Exception):
    """The bot of shared/bot cannot be loaded.

    Attributes:
        without_values: the error for callers: its cause, which may hold secrets, is left out.
        part: what health says has failed.
        place: where the code is.
    """

    part = "bot"
    place = "shared/bot"

    def __init__(self, where: str, problem: str, cause: Exception | None = None) -> None:
        super().__init__(f"{where} of {self.place} {problem}")
        self.without_values = str(self)
        if cause is not None:
            what = type(cause).__name__
            self.without_values = f"{where} of {self.place} failed ({what}); the log says why"


class HooksError(BotError):
    """The hooks of shared/hooks.py cannot be loaded."""

    part = "hooks"
    place = "shared/hooks.py"


class LoadedBot(NamedTuple):
    """The bot, and what its author put beside it in shared/bot.

    Attributes:
        bot: what takes turns.
        effects: the effect of each activity on its session.
        middleware: runs around each turn, in this order.
        on_turn_error: is told what the bot raised, in place of the apology; None: the apology.
        on_resumed: the bot's own method, which runs in place of it once a user has resumed a
            conversation; None: nothing does.
    """

    bot: Bot
    effects: Effects
    middleware: tuple[Middleware, ...] = ()
    on_turn_error: Callable[[TurnContext, Exception], Awaitable[None]] | None = None
    on_resumed: Callable[[TurnContext], Awaitable[None]] | None = None

    def at(self, adapter: BotAdapter) -> Bot:
        """Gives the adapter what it runs around the bot; returns the bot."""
        for each in self.middleware:
            adapter.use(each)
        if self.on_turn_error:
            adapter.on_turn_error = self.on_turn_error
        return self.bot


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
    middleware = _check("MIDDLEWARE", lambda: tuple(getattr(module, "MIDDLEWARE", ())))
    for each in middleware:
        if not callable(getattr(each, "on_turn", None)):
            raise BotError("MIDDLEWARE", f"holds a {type(each).__name__}, which has no on_turn")
    on_turn_error = getattr(module, "on_turn_error", None)
    if on_turn_error is not None and not callable(on_turn_error):
        raise BotError("on_turn_error", "is no function")
    on_resumed = getattr(bot, "on_resumed", None)
    if on_resumed is not None and not callable(on_resumed):
        raise BotError("on_resumed", f"of the {type(bot).__name__} is no method")
    return LoadedBot(bot, effects, middleware, on_turn_error, on_resumed)


class LoadedHooks(NamedTuple):
    """The functions of shared/hooks.py; None: it has none of that name."""

    on_expired: Hook | None = None
    on_warned: Hook | None = None


@cache
def load_hooks() -> LoadedHooks:
    """The hooks of this process. They need neither the bot nor its dialogs.

    Raises:
        HooksError: shared/hooks.py cannot be imported, or a hook is no coroutine function.
    """
    try:
        module = import_module(_HOOKS)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == _HOOKS:
            return LoadedHooks()  # its author has deleted the file
        raise HooksError("the code", f"cannot be imported: {_words(error)}", error) from error
    found = {}
    for name in LoadedHooks._fields:
        hook = found[name] = getattr(module, name, None)
        if hook is not None and not iscoroutinefunction(hook):
            raise HooksError(name, "is no coroutine function (async def)")
    return LoadedHooks(**found)


def _check(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        raise BotError(name, f"failed: {_words(error)}", error) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
