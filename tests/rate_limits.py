"""How fast a channel lets a bot send, after what Teams says of itself."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class RateLimits:
    """Counts sends, and says when one comes too early. What is refused does not count.

    Source of the defaults: learn.microsoft.com, "Optimize your bot with rate limiting in Teams".

    Attributes:
        per_second: sends of one app to one tenant.
        burst: so many of them may come at once.
        windows: seconds, and the most sends to one thread in any so many seconds.
        breaches: how many sends came too early, by "tenant" and "thread".
    """

    per_second: float = 50
    burst: float = 50
    windows: Sequence[tuple[float, int]] = ((1, 7), (2, 8), (30, 60), (3600, 1800))
    breaches: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._threads: defaultdict[str, list[float]] = defaultdict(list)
        self._buckets: dict[str, tuple[float, float]] = {}  # how much was in it, and when

    def wait_seconds(self, tenant: str, thread: str, now: float) -> float:
        """How long a send would have to wait; 0: it is let through, and counts.

        Args:
            tenant: app and tenant.
            thread: the conversation; "" counts for the tenant only.
            now: on a clock that does not go back, in seconds.
        """
        wait = self._thread_wait(thread, now) if thread else 0
        if wait > 0:
            self.breaches["thread"] += 1
            return wait
        level, then = self._buckets.get(tenant, (self.burst, now))
        level = min(self.burst, level + (now - then) * self.per_second)
        if level < 1:
            self.breaches["tenant"] += 1
            return (1 - level) / self.per_second
        self._buckets[tenant] = (level - 1, now)
        if thread:
            self._threads[thread].append(now)
        return 0

    def _thread_wait(self, thread: str, now: float) -> float:
        sent = self._threads[thread]
        return max(
            (sent[-most] + seconds - now for seconds, most in self.windows if len(sent) >= most),
            default=0,
        )
