"""The queue: sweeps one shard for each message, if the setting ExpiryFanOut is on."""

import logging

import azure.functions as func

from shared.app import get_app
from shared.expiry.fan_out import InvalidMessageError, shard_of
from shared.settings.expiry import ExpirySettings

logger = logging.getLogger(__name__)


def make_blueprint(settings: ExpirySettings) -> func.Blueprint:
    """The queue trigger; nothing if fan-out is off, so that the host polls no queue."""
    blueprint = func.Blueprint()
    if settings.fan_out == "on":
        trigger = blueprint.queue_trigger(
            arg_name="message",
            queue_name=settings.queue,
            connection="AzureWebJobsStorage",
        )
        blueprint.function_name("expiry_queue")(trigger(expiry_queue))
    return blueprint


async def expiry_queue(message: func.QueueMessage) -> None:
    """Sweep the shard that the message names.

    Raises:
        InvalidMessageError: it names no shard; after some attempts the host moves it to the poison
            queue.
        StorageUnavailableError: the host tries again.
    """
    app = await get_app()
    try:
        shard = shard_of(message.get_body())
        report = await app.sweeps.run_shard(shard)
    except InvalidMessageError as error:
        logger.error("fan-out: message %s: %s", message.id, error)  # noqa: TRY400 - the host logs the traceback
        raise
    if report is None:
        logger.info("sweep of %s: later; this process sweeps others already", shard)
    else:
        logger.info("sweep of %s: %s", shard, report)
