"""Reads the bodies of answers, which others choose: never more than fits."""

from typing import Any

from aiohttp import ClientResponse

MAX_ANSWER_BYTES = 2**20

# What an error repeats of words that others choose.
LONGEST_DETAIL = 200


class TooLargeError(ValueError):
    """An answer is larger than anything that is expected."""


async def read_bounded(response: ClientResponse) -> bytes:
    """The body of an answer.

    Raises:
        TooLargeError: it has more than MAX_ANSWER_BYTES; the rest is not read.
    """
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            response.close()
            raise TooLargeError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(content)


def words(value: Any) -> str:
    """A text or number of an answer; empty for anything else, which may be deep."""
    return str(value) if value and isinstance(value, str | int) else ""
