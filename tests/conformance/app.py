"""The app that the conformance suite runs: function_app.py of a folder of its own.

What functions do is written to the file EVENTS, one JSON object a line.
"""

import asyncio
import json
import os
import threading
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
there: list[func.HttpRequest] = []
all_there = asyncio.Event()


def event(**what: object) -> None:
    with Path(os.environ["EVENTS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**what, "process": os.getpid()}) + "\n")


@app.route(route="echo/{id}", methods=["POST", "GET"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    seen = {
        "headers": dict(req.headers),
        "params": dict(req.params),
        "body": req.get_body().hex(),
        "id": req.route_params["id"],
        "process": os.getpid(),
    }
    headers = {"X-Answer": "yes"}
    return func.HttpResponse(
        json.dumps(seen), status_code=202, mimetype="application/json", headers=headers
    )


@app.route(route="echo/literal", methods=["POST"])
def literal(req: func.HttpRequest) -> str:
    return threading.current_thread().name


@app.route(methods=["GET"])
async def fails(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("secret of the developer")


@app.route(methods=["GET"])
async def nothing(req: func.HttpRequest) -> func.HttpResponse:
    return None  # type: ignore[return-value] # a mistake of the app


@app.route(methods=["GET"])
async def hangs(req: func.HttpRequest) -> func.HttpResponse:
    event(hangs="begun")
    await asyncio.sleep(3600)
    return func.HttpResponse()


@app.route(methods=["GET"])
async def dies(req: func.HttpRequest) -> func.HttpResponse:
    os._exit(1)


@app.route(methods=["GET"])
async def takes_a_moment(req: func.HttpRequest) -> str:
    event(moment="begun")
    await asyncio.sleep(0.3)
    event(moment="ended")
    return "done"


@app.route(route="meeting/{size}", methods=["GET"])
async def meeting(req: func.HttpRequest) -> str:
    """Answers when so many requests are there."""
    there.append(req)
    if len(there) == int(req.route_params["size"]):
        all_there.set()
    await all_there.wait()
    return "met"


@app.route(methods=["POST"])
async def answers(req: func.HttpRequest) -> func.HttpResponse:
    """Answers as its body says."""
    return func.HttpResponse("body", **req.get_json())


@app.timer_trigger(arg_name="timer", schedule="%Every%", use_monitor=True)
async def ticks(timer: func.TimerRequest) -> None:
    event(tick="begun", past_due=timer.past_due)
    await asyncio.sleep(float(os.environ["TICK_SECONDS"]))
    event(tick="ended")


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
async def off(timer: func.TimerRequest) -> None:
    event(off="ran")


@app.timer_trigger(arg_name="timer", schedule="%NoSuchSetting%")
async def in_error(timer: func.TimerRequest) -> None:
    event(in_error="ran")


@app.queue_trigger(arg_name="message", queue_name="%Queue%", connection="AzureWebJobsStorage")
async def queued(message: func.QueueMessage) -> None:
    body = message.get_body().decode()
    event(
        message=body,
        id=message.id,
        dequeue_count=message.dequeue_count,
        times=[
            time and time.isoformat()
            for time in (message.insertion_time, message.expiration_time, message.time_next_visible)
        ],
        receipt=message.pop_receipt,
    )
    if body == "deadly":
        os._exit(1)
    if body == "bad":
        raise ValueError(body)
