"""The Functions app: registers the blueprint of each function folder.

If it cannot start (a wrong setting, a missing package, a mistake in the bot), it registers only
what says why: the host would stay up and answer 404 to everything.
"""

import gc

import azure.functions as func

from startup_error_function import make_blueprint as make_startup_error


def _blueprints() -> list[func.Blueprint]:
    """All functions. The imports are here because each of them may fail.

    Raises:
        SettingsError: a setting is missing or wrong.
        BotError: the bot is wrong, or a hook.
        Exception: an import failed.
    """
    from api_function import make_blueprint as make_api
    from expiry_queue_function import make_blueprint as make_expiry_queue
    from expiry_timer_function import blueprint as expiry_timer
    from inbox_queue_function import make_blueprint as make_inbox_queue
    from messages_function import blueprint as messages
    from shared import telemetry
    from shared.connector.limits_file import read_limits
    from shared.loaded_bot import load_bot, load_hooks
    from shared.settings import read_settings
    from shared.texts.texts_file import read_texts

    settings = read_settings()  # a wrong setting is found here, not at a user's first message
    read_limits(settings.sending)  # the same for the files that they name
    read_texts(settings.texts.file)
    telemetry.configure(settings.telemetry)
    if settings.host.takes_turns:
        load_bot()  # and so is a mistake in the bot
    load_hooks()
    return [
        messages,
        expiry_timer,
        make_expiry_queue(settings.expiry),
        make_inbox_queue(settings.long_turns),
        make_api(settings.api),
    ]


def _make_app() -> func.FunctionApp:
    gc.disable()  # imports leave no garbage: looking for it takes an eighth of a cold start
    try:
        blueprints = _blueprints()
    except (Exception, SystemExit) as error:
        blueprints = [make_startup_error(error)]
    finally:
        gc.freeze()  # or the first look would walk through all of it
        gc.enable()
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)  # the bot's tokens are checked
    for blueprint in blueprints:
        app.register_functions(blueprint)
    return app


app = _make_app()
