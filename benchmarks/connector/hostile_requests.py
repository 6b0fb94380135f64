"""What hostile requests cost the others: ten of a kind each second, while users chat.

They go to the messages function in this process, and the same bodies to the SDK's adapter, which
its samples give every body to. The channel and the login service are another process.
"""

import asyncio
import gc
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

import azure.functions as func
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity
from botframework.connector.auth import AuthenticateRequestResult

import messages_function
from benchmarks.connector.channel import APP_ID, Channel, running_channel, ssl_context
from benchmarks.connector.proactive_sends import worst_stall
from benchmarks.connector.stock import stock_adapter
from benchmarks.report import progress, table
from benchmarks.turn.cpu import message, our_connector, our_turns, stock_app
from shared.connector.authentication import InboundAuthentication
from shared.connector.inbound import MAX_BODY_BYTES
from shared.turn.turn import Turns

SECONDS, STOCK_SECONDS = 4.0, 1.0
HOSTILE_PER_SECOND, TURNS_PER_SECOND = 10, 5

# Answers a request: its headers, and its body.
Answer = Callable[[dict[str, str], bytes], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of hostile request: its headers beside the content type, and its body."""

    name: str
    headers: dict[str, str]
    body: bytes


def kinds(channel: Channel) -> list[Kind]:
    """The largest body that is read: a list of empty objects, of which each becomes an object."""
    items = (MAX_BODY_BYTES - 1_000) // 3
    many = json.loads(message(channel.service_url, "hostile", "hi"))
    many["suggestedActions"] = {"actions": [{}] * items}
    full = json.dumps(many, separators=(",", ":")).encode()
    assert MAX_BODY_BYTES - 3_000 < len(full) <= MAX_BODY_BYTES
    good = channel.bearer
    unknown = channel.fake.token(app_id=APP_ID, headers={"kid": "made-up"})
    forged = good[:-8] + ("A" * 8 if not good.endswith("A" * 8) else "B" * 8)
    dots = message(channel.service_url, "..", "hi")
    return [
        Kind("no header", {}, full),
        Kind("a malformed header", {"authorization": "Bearer"}, full),
        Kind("a malformed body", {"authorization": f"Bearer {unknown}"}, full[:-1]),
        Kind("an unknown key id", {"authorization": f"Bearer {unknown}"}, full),
        Kind("a bad signature", {"authorization": forged}, full),
        Kind("a body in chunks", {"authorization": f"Bearer {unknown}"}, b""),
        Kind("'..' for an id, by a channel", {"authorization": good}, dots),
        Kind("a full list, by a channel", {"authorization": good}, full),
    ]


@dataclass
class _App:
    """What the messages function needs of the app."""

    authentication: InboundAuthentication
    turns: Turns

    async def receive(
        self, activity: Activity, caller: AuthenticateRequestResult, _body: bytes
    ) -> InvokeResponse | None:
        return await self.turns.take(activity, caller)


def our_answer(channel: Channel, turns: Turns) -> Answer:
    """The messages function, without the host before it."""
    authentication = InboundAuthentication(
        app_id=APP_ID, cloud=channel.cloud, ssl_context=ssl_context()
    )
    app = _App(authentication, turns)

    async def get_app() -> _App:
        return app

    vars(messages_function)["get_app"] = get_app

    async def answer(headers: dict[str, str], body: bytes) -> int:
        # The host gives a body in chunks to the function as an empty one, without a length.
        length = {"content-length": str(len(body))} if body else {}
        request = func.HttpRequest(
            "POST",
            "/api/messages",
            headers={"content-type": "application/json", **length, **headers},
            body=body,
        )
        response = await messages_function.messages(request)
        return int(response.status_code)

    return answer


def stock_answer(channel: Channel) -> Answer:
    """What the SDK's samples do in a web handler; a refusal is an exception there."""
    take = stock_app(stock_adapter(channel))

    async def answer(headers: dict[str, str], body: bytes) -> int:
        try:
            await take(body, headers.get("authorization", ""))
        except Exception:  # noqa: BLE001 - the SDK has no common error for refusals
            return 500
        return 200

    return answer


async def _measure(
    answer: Answer, channel: Channel, hostile: Kind | None, seconds: float
) -> list[object]:
    """Worst stall of the loop, and median and worst of other users' turns, in ms."""
    gc.collect()  # nobody pays for what another left
    began = time.perf_counter()
    turns: list[float] = []

    async def chat(number: int) -> None:
        due = began + number / TURNS_PER_SECOND
        await asyncio.sleep(due - time.perf_counter())
        body = message(channel.service_url, f"user-{number}", "hello")
        assert await answer({"authorization": channel.bearer}, body) == 200
        turns.append(time.perf_counter() - due)

    async def attack(number: int, kind: Kind) -> None:
        await asyncio.sleep(began + number / HOSTILE_PER_SECOND - time.perf_counter())
        await answer(kind.headers, kind.body)

    watch = asyncio.create_task(worst_stall())
    requests = [chat(number) for number in range(int(seconds * TURNS_PER_SECOND))]
    if hostile:
        requests += [attack(number, hostile) for number in range(int(seconds * HOSTILE_PER_SECOND))]
    await asyncio.gather(*requests)
    watch.cancel()
    return [1000 * await watch, 1000 * median(turns), 1000 * max(turns)]


async def _compare() -> None:
    logging.disable()  # each refusal is a line
    rows: list[list[object]] = []
    with running_channel() as channel:
        connector = our_connector(channel.cloud)
        ours, stock = our_answer(channel, our_turns(connector)), stock_answer(channel)
        nobody, full, *others = (None, *kinds(channel))
        # The SDK's adapter comes last, as it needs a long time to recover.
        for who, answer, seconds, hostile in (
            ("* this project", ours, SECONDS, [nobody, full, *others]),
            ("  CloudAdapter", stock, STOCK_SECONDS, [nobody, full]),
        ):
            # Keys, our token, and the recognisers' first calls.
            for text in ("hello", "hello"):
                first = message(channel.service_url, "first", text)
                await answer({"authorization": channel.bearer}, first)
            for kind in hostile:
                name = kind.name if kind else "none"
                progress(f"  {who}, {name}")
                figures = await _measure(answer, channel, kind, seconds)
                rows.append([f"{who}, {name}", *figures])
        await connector.close()
    table(
        f"{HOSTILE_PER_SECOND} hostile requests a second, beside {TURNS_PER_SECOND} turns",
        ("", "worst loop stall ms", "turns: p50 ms", "worst ms"),
        rows,
    )


if __name__ == "__main__":
    asyncio.run(_compare())
