"""Timer triggers: by schedule, one run at a time; a missed run is made up for at the next start."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from scripts.local_host.functions import (
    HostedFunction,
    is_monitored,
    next_occurrence,
    schedule_of,
)

Fire = Callable[[HostedFunction, bool], Awaitable[None]]


class Timer:
    """The schedule of one function.

    Args:
        function: the function.
        folder: where it is noted when the next run is due, as the real host does in its storage.

    Raises:
        FunctionError: its schedule is not one.
    """

    def __init__(self, function: HostedFunction, folder: Path) -> None:
        self.function = function
        self.expression = schedule_of(function)
        self._note = folder / f"{function.name}.json"
        self._is_monitored = is_monitored(function, self.expression)

    async def run(self, fire: Fire, stopping: asyncio.Event) -> None:
        """Fires by the schedule. Runs that it misses become one."""
        if self.missed(datetime.now(UTC)):
            await self._fire(fire, past_due=True)
        elif self.function.trigger.get("runOnStartup"):
            await self._fire(fire, past_due=False)
        due = next_occurrence(self.expression, datetime.now(UTC))
        self._note_next(due)
        while True:
            seconds_left = (due - datetime.now(UTC)).total_seconds()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), max(seconds_left, 0))
            if stopping.is_set():
                return
            # A run that is late because the one before it was long is not past due.
            following = next_occurrence(self.expression, due)
            if following <= datetime.now(UTC):
                following = next_occurrence(self.expression, datetime.now(UTC))
            await self._fire(fire, past_due=False)
            self._note_next(following)
            due = following

    def missed(self, now: datetime) -> bool:
        """Says whether a run was due while no host ran."""
        if not self._is_monitored or not self._note.exists():
            return False
        try:
            noted = json.loads(self._note.read_text())
            is_due = datetime.fromisoformat(noted["next"]) < now
        except (OSError, ValueError, LookupError, TypeError):
            return False
        return bool(is_due and noted.get("schedule") == self.expression)

    async def _fire(self, fire: Fire, *, past_due: bool) -> None:
        await fire(self.function, past_due)

    def _note_next(self, due: datetime) -> None:
        if self._is_monitored:
            self._note.parent.mkdir(exist_ok=True)
            note = {"schedule": self.expression, "next": due.isoformat()}
            self._note.write_text(json.dumps(note))
