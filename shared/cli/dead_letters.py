"""The operator's commands for dead letters: show them, send them again, delete them."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from shared.domain.store import DeadLetterStore
from shared.domain.work import DeadLetter
from shared.log_lines import printable

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: of these sessions (None: all), dead before this time (None: any time)."""

    ids: frozenset[str] | None = None
    dead_before: datetime | None = None

    def includes(self, letter: DeadLetter) -> bool:
        """Whether it meets both conditions."""
        return (self.ids is None or letter.session in self.ids) and (
            self.dead_before is None or letter.dead_at < self.dead_before
        )


async def show(store: DeadLetterStore, say: Say) -> None:
    """Print a line for each; it does not name the user."""
    count = 0
    async for letter in _letters(store):
        say(_line(letter))
        count += 1
    say(f"{count} dead letters")


async def replay(
    store: DeadLetterStore, selection: Selection, now: Callable[[], datetime], say: Say
) -> None:
    """Make the notices due again: the next sweep sends them, unless the user was back first."""

    async def work(letter: DeadLetter) -> str:
        return "replayed" if await store.replay(letter, now()) else "superseded"

    await _do(store, selection, work, say)


async def drop(store: DeadLetterStore, selection: Selection, say: Say) -> None:
    """Delete them."""

    async def work(letter: DeadLetter) -> str:
        await store.drop(letter)
        return "dropped"

    await _do(store, selection, work, say)


async def _do(
    store: DeadLetterStore,
    selection: Selection,
    work: Callable[[DeadLetter], Awaitable[str]],
    say: Say,
) -> None:
    outcomes: Counter[str] = Counter()
    missing = set(selection.ids or ())
    async for letter in _letters(store, selection):
        outcome = await work(letter)
        say(f"{letter.session} {outcome}")
        outcomes[outcome] += 1
        missing.discard(letter.session)
    for session in sorted(missing):
        say(f"{session} not found")
    say(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "none")


async def _letters(
    store: DeadLetterStore, selection: Selection | None = None
) -> AsyncIterator[DeadLetter]:
    selection = selection or Selection()
    for shard in store.shards:
        async for page in store.dead_letters(shard):
            for letter in page:
                if selection.includes(letter):
                    yield letter


def _line(letter: DeadLetter) -> str:
    channel = letter.reference.channel if letter.reference else "?"
    expired, dead = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (letter.expired_at, letter.dead_at))
    # The code comes from the channel. `!a` escapes it, so that this stays one line.
    code = f" {letter.code!a}" if letter.code else ""
    return (
        f"{letter.session} {channel!a} expired {expired} dead {dead}"
        f" attempts {letter.attempts} {letter.status or 'no answer'}{code}:"
        f" {printable(letter.reason)}"
    )
