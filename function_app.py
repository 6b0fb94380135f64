"""The Functions app: registers the blueprint of each function folder."""

import azure.functions as func

from api_function import make_blueprint as make_api
from expiry_queue_function import make_blueprint as make_expiry_queue
from expiry_timer_function import blueprint as expiry_timer
from messages_function import blueprint as messages
from shared import telemetry
from shared.app import close_app as shutdown  # the local host calls it when it stops
from shared.connector.limits_file import read_limits
from shared.settings import read_settings

__all__ = ["app", "shutdown"]

settings = (
    read_settings()
)  # a wrong setting stops the app here, with its name, not at a user's first message

read_limits(settings.sending)  # the same for the file that it names
telemetry.configure(settings.telemetry)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)  # the bot's tokens are checked
app.register_functions(messages)
app.register_functions(expiry_timer)
app.register_functions(make_expiry_queue(settings.expiry))
app.register_functions(make_api(settings.api))
