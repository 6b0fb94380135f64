"""Replies that a channel did not take: when they are sent again, and when not any more."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from shared.connector.client import ConnectorError

logger = logging.getLogger(__name__)

# learn.microsoft.com, "Send and receive messages" (Teams), the table of status codes; and 408.
_NOT_NOW = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_BACKOFF = wait_random_exponential(multiplier=0.5, max=4)


class Retries:
    """Sends a reply again if another attempt may succeed and the turn has time left.

    A channel waits 15 s for the answer to an activity, and the turn has used some of them.

    A repeated reply may arrive twice: after a broken connection, a 408, 502 or 504 we do not know
    whether the channel took the first one. A request without an answer in time is not repeated: it
    has most likely arrived, and the time is gone.

    Args:
        seconds: the last attempt must begin and end within this time after `begin`.
        clock: a monotonic clock, in seconds.
        sleep: waits for the given number of seconds.
    """

    def __init__(
        self,
        seconds: float = 8,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep

    def begin(self) -> "TurnRetries":
        """The retries of one turn's replies, which share its time."""
        return TurnRetries(self._clock() + self._seconds, self._clock, self._sleep)


class TurnRetries:
    """See `Retries`."""

    def __init__(
        self,
        deadline: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._deadline = deadline
        self._clock = clock
        self._sleep = sleep

    async def call(self, send: Callable[[], Awaitable[object]]) -> None:
        """Send, and repeat while that may help and there is time.

        Raises:
            ConnectorError: of the last attempt.
            Exception: any other error of `send`, at once.
        """
        try:
            await send()  # the connector has a timeout of its own
        except ConnectorError as error:
            await self._repeat(send, error)

    async def _repeat(self, send: Callable[[], Awaitable[object]], first: ConnectorError) -> None:
        """Go on after the first attempt; making this machinery costs as much as half a send."""
        retrying = AsyncRetrying(
            sleep=self._sleep,
            retry=retry_if_exception(_may_pass),
            wait=_wait,
            stop=self._is_too_late,
            before_sleep=_log,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise first
                await self._send_in_time(send)

    async def pause(self, seconds: float) -> None:
        """Wait between two replies, as the bot asked; this does not use up the retries' time."""
        self._deadline += seconds
        await self._sleep(seconds)

    async def _send_in_time(self, send: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(self._deadline - self._clock()):
                await send()
        except TimeoutError as error:
            raise ConnectorError("no answer in the time that is left for replies") from error

    def _is_too_late(self, state: RetryCallState) -> bool:
        return self._clock() + state.upcoming_sleep >= self._deadline


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ConnectorError) and (
        error.connection_failed or error.status in _NOT_NOW
    )


def _wait(state: RetryCallState) -> float:
    """The wait that the channel asks for and a random one, so that retries do not come together."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_seconds if isinstance(error, ConnectorError) else None
    return (asked or 0) + _BACKOFF(state)


def _log(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.info("reply: again in %.1f s: %s", state.upcoming_sleep, error)
