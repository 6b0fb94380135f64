"""A worker on the Microsoft 365 Agents SDK and its dialogs: the sample, with its imports renamed.

Its states are made anew for each turn: an AgentState keeps the state of the current turn on itself,
and with one for all turns, conversations at the same time write each other's rows.
"""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from microsoft_agents.activity import Activity
from microsoft_agents.authentication.msal import MsalConnectionManager
from microsoft_agents.hosting.core import (
    AgentAuthConfiguration,
    ChannelServiceAdapter,
    ClaimsIdentity,
    ConversationState,
    MemoryStorage,
    RestChannelServiceClientFactory,
    TurnContext,
    UserState,
)
from microsoft_agents.hosting.core.authorization._entra_issuers import BOTFRAMEWORK_JWKS_URIS
from microsoft_agents.hosting.core.authorization.jwt._authorize_request import (
    _authorize_request,
)

from benchmarks.peers.login import ask_nobody_about_the_login_service
from benchmarks.peers.work import Setting, TakeTurn, work


@asynccontextmanager
async def _app(setting: Setting) -> AsyncIterator[TakeTurn]:
    logging.disable(logging.WARNING)
    ask_nobody_about_the_login_service()
    BOTFRAMEWORK_JWKS_URIS["https://api.botframework.com"] = setting.keys_url
    configuration = AgentAuthConfiguration(
        client_id=setting.app_id,
        client_secret=setting.app_password,
        tenant_id=setting.login_tenant,
        authority=f"{setting.login_url}/{setting.login_tenant}",
        scopes=["https://api.botframework.com/.default"],
        anonymous_allowed=not setting.app_id,
    )
    connections = MsalConnectionManager({"SERVICE_CONNECTION": configuration})
    adapter = ChannelServiceAdapter(RestChannelServiceClientFactory(connections))
    storage = MemoryStorage()
    # By name: where another bot is in shared/bot, the sample is gone.
    bots = import_module("shared.bot.sample.dialog_bot")
    dialogs = import_module("shared.bot.sample.profile_dialog")

    async def on_turn(context: TurnContext) -> None:
        conversation_state, user_state = ConversationState(storage), UserState(storage)
        dialog = dialogs.ProfileDialog(user_state)
        bot = bots.DialogBot(dialog, conversation_state, user_state)
        await bot.on_turn(context)

    async def take(body: bytes, bearer: str) -> object:
        activity: Any = Activity.model_validate(json.loads(body))
        claims = await _authorize_request(bearer, configuration)
        assert isinstance(claims, ClaimsIdentity), claims
        return await adapter.process_activity(claims, activity, on_turn)

    yield take


if __name__ == "__main__":
    work(_app)
