"""The inbox: takes the turns that wait in a conversation, if the setting LongTurns is on."""

import logging

import azure.functions as func

from shared.app import get_app
from shared.settings.long_turns import LongTurnsSettings
from shared.turn.long_turns import InvalidHintError, conversation_of

logger = logging.getLogger(__name__)


def make_blueprint(settings: LongTurnsSettings) -> func.Blueprint:
    """The queue trigger; nothing if long turns are off, so that the host polls no queue."""
    blueprint = func.Blueprint()
    if settings.is_on:
        trigger = blueprint.queue_trigger(
            arg_name="message",
            queue_name=settings.inbox,
            connection="AzureWebJobsStorage",
        )
        blueprint.function_name("inbox_queue")(trigger(inbox_queue))
    return blueprint


async def inbox_queue(message: func.QueueMessage) -> None:
    """Take the turns that wait in the conversation that the message names.

    Raises:
        InvalidHintError: it names none; after some attempts the host moves it to the poison queue.
        StorageUnavailableError: the host tries again.
    """
    app = await get_app()
    try:
        await app.take_waiting(conversation_of(message.get_body()))
    except InvalidHintError as error:
        logger.error("inbox: message %s: %s", message.id, error)  # noqa: TRY400 - the host logs the traceback
        raise
