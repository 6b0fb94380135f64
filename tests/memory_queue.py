"""A `Queue` in memory, which passes the contract suite."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from shared.domain.errors import StorageUnavailableError
from shared.expiry.fan_out import Message


@dataclass
class _Stored:
    message: Message
    hidden_until: float = 0


class MemoryQueue:
    """One queue; its clock stands still but for `sleep`. `down` makes every verb fail."""

    def __init__(self) -> None:
        self.down = False
        self.requests = 0
        self._messages: dict[str, _Stored] = {}
        self._ids = count(1)
        self._now = 0.0

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    @property
    def texts(self) -> list[str]:
        return [stored.message.text for stored in self._messages.values()]

    async def put(self, text: str, *, after_seconds: int = 0) -> None:
        self._request()
        name = str(next(self._ids))
        self._messages[name] = _Stored(Message(name, text, 0), self._now + after_seconds)

    async def receive(self, hidden_seconds: int) -> Message | None:
        self._request()
        for stored in self._visible():
            stored.message = replace(
                stored.message,
                dequeue_count=stored.message.dequeue_count + 1,
                receipt=str(next(self._ids)),
            )
            stored.hidden_until = self._now + hidden_seconds
            return stored.message
        return None

    async def hide(self, message: Message, seconds: int) -> None:
        self._request()
        self._messages[message.id].hidden_until = self._now + seconds

    async def delete(self, message: Message) -> None:
        self._request()
        stored = self._messages.get(message.id)
        if stored and stored.message.receipt == message.receipt:
            del self._messages[message.id]

    async def peek(self) -> Sequence[Message]:
        self._request()
        return [replace(stored.message, receipt="") for stored in self._visible()[:32]]

    async def count(self) -> int:
        self._request()
        return len(self._messages)

    def _visible(self) -> list[_Stored]:
        return [each for each in self._messages.values() if each.hidden_until <= self._now]

    def _request(self) -> None:
        self.requests += 1
        if self.down:
            raise StorageUnavailableError("the queue is down")
