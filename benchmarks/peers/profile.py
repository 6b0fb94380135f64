"""The sample dialog as a hand-written state machine, for what has no dialogs.

It asks the same questions in the same words, and understands just the benchmark's answers.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

Reply = dict[str, Any]


def answer(state: MutableMapping[str, Any], text: str) -> list[Reply]:
    """The replies to a message, as the connector's JSON has them; `state` goes one step on."""
    match state.get("step"):
        case None:
            state["step"] = "transport"
            question = "Which transport do you use: car, bus or bicycle?"
            replies = [_question(question, "Car", "Bus", "Bicycle")]
        case "transport":
            state["transport"] = _choice(text, "Car", "Bus", "Bicycle")
            state["step"] = "name"
            replies = [_question("What is your name?")]
        case "name":
            state["name"] = " ".join(text.split())
            state["step"] = "gives age"
            replies = [_question("Would you like to give your age (yes or no)?", "Yes", "No")]
        case "gives age":
            _choice(text, "Yes", "No")
            state["step"] = "age"
            replies = [_question("What is your age?")]
        case "age":
            state["age"] = int(text)
            state["step"] = "picture"
            replies = [
                {"text": f"I have your age as {state['age']}.", "inputHint": "acceptingInput"},
                _question(
                    "Please attach a picture of yourself (JPEG or PNG), or type anything to skip"
                    " this."
                ),
            ]
        case "picture":
            state["step"] = "is ok"
            replies = [_question(f"{_described(state)}. Is this ok?", "Yes", "No")]
        case _:
            _choice(text, "Yes", "No")
            kept = _described(state)
            state.clear()
            replies = [
                {
                    "text": f"Your profile is kept: {kept}.",
                    "textFormat": "plain",
                    "inputHint": "acceptingInput",
                }
            ]
    return replies


def _question(text: str, *choices: str) -> Reply:
    reply: Reply = {"text": text, "textFormat": "plain", "inputHint": "expectingInput"}
    if choices:
        actions = [{"type": "imBack", "title": each, "value": each} for each in choices]
        reply["suggestedActions"] = {"actions": actions}
    return reply


def _choice(text: str, *choices: str) -> str:
    return next(each for each in choices if each.lower() == text.strip().lower())


def _described(state: Mapping[str, Any]) -> str:
    return f"{state['name']} travels by {state['transport'].lower()}, is {state['age']} years old"
