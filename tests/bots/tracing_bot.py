"""A bot that sends traces, which the Emulator alone is shown, between its replies."""

from botbuilder.core import ActivityHandler, TurnContext

STATE_TYPES = ()


class TracingBot(ActivityHandler):
    """Answers each message with two replies, and a trace around each; "break" makes it raise."""

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        text = turn_context.activity.text
        await turn_context.send_trace_activity("heard", {"text": text}, "a type", "a label")
        if text == "break":
            raise RuntimeError("the bot is broken")
        await turn_context.send_activity("One")
        await turn_context.send_trace_activity("between", turn_context.activity.from_property)
        await turn_context.send_activity("Two")
        await turn_context.send_trace_activity("after")


async def on_turn_error(turn_context: TurnContext, error: Exception) -> None:
    """As the SDK's samples do it."""
    await turn_context.send_activity("The bot encountered an error or bug.")
    await turn_context.send_trace_activity(
        "on_turn_error Trace", f"{error}", "https://www.botframework.com/schemas/error", "TurnError"
    )


def create_bot(*_: object) -> TracingBot:
    return TracingBot()
