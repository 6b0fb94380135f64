"""The HTTP API beside the bot's own route: state, status and health.

Each module lists its routes. access.py alone decides who may call them.
"""

import azure.functions as func

from api_function import health, state, status
from api_function.access import protected
from shared.settings.api import ApiSettings

ROUTES = (*state.ROUTES, *status.ROUTES, *health.ROUTES)


def make_blueprint(settings: ApiSettings) -> func.Blueprint:
    """The routes, each protected by access.py."""
    blueprint = func.Blueprint()
    for route in ROUTES:
        level, handler = protected(route, settings)
        trigger = blueprint.route(route.path, methods=route.methods, auth_level=level)
        blueprint.function_name(route.name)(trigger(handler))
    return blueprint
