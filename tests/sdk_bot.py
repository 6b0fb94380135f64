"""A bot of tests/bots on the SDK's own adapters, wired up as the SDK's samples do it.

The samples' CloudAdapter (botbuilder-integration-aiohttp) is CloudAdapterBase with a web front. The
front is ours: the SDK's cannot write some of the answers that its adapters give.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from threading import Thread
from types import ModuleType
from typing import Any

from aiohttp import web
from botbuilder.core import (
    BotFrameworkAdapter,
    BotFrameworkAdapterSettings,
    ConversationState,
    MemoryStorage,
    PrivateConversationState,
    UserState,
)
from botbuilder.core.cloud_adapter_base import CloudAdapterBase
from botbuilder.schema import Activity
from botframework.connector.auth import (
    AuthenticationConfiguration,
    BotFrameworkAuthenticationFactory,
    PasswordServiceClientCredentialFactory,
)

from tests.fake_channel import FakeChannel

PASSWORD = "no secret"


def cloud_adapter(channel: FakeChannel, app_id: str) -> CloudAdapterBase:
    """The SDK's adapter of today; without an app id, everyone may call."""
    addresses: dict[str, Any] = {
        "to_channel_from_bot_login_url": channel.cloud.authority,
        "to_channel_from_bot_oauth_scope": channel.cloud.scope,
        "to_bot_from_channel_token_issuer": channel.cloud.token_issuer,
        "to_bot_from_channel_open_id_metadata_url": channel.channel_keys_url,
        "to_bot_from_emulator_open_id_metadata_url": channel.emulator_keys_url,
        "oauth_url": channel.url,
        "caller_id": channel.cloud.caller_id,
    }
    return CloudAdapterBase(
        BotFrameworkAuthenticationFactory.create(
            **(addresses if app_id else {}),
            credential_factory=PasswordServiceClientCredentialFactory(app_id, PASSWORD),
            auth_configuration=AuthenticationConfiguration(),
        )
    )


def older_adapter(channel: FakeChannel, app_id: str) -> BotFrameworkAdapter:
    """The one before it, which the samples for Teams have.

    It keeps the address of the channel's keys in ChannelValidation, for the whole process.
    """
    return BotFrameworkAdapter(
        BotFrameworkAdapterSettings(
            app_id,
            PASSWORD if app_id else "",
            oauth_endpoint=channel.url,
            open_id_metadata=channel.channel_keys_url,
        )
    )


@asynccontextmanager
async def sdk_bot(
    bot: ModuleType, adapter: CloudAdapterBase | BotFrameworkAdapter
) -> AsyncIterator[str]:
    """Runs a module of tests/bots; gives its address, without the path.

    It has a thread and a loop of its own: some of the SDK's clients stop their loop until the
    channel answers, and the channel is on the test's.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()

    async def there(work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    runner = web.AppRunner(_app(bot, adapter), access_log=None)
    try:
        await there(runner.setup())
        await there(web.TCPSite(runner, "127.0.0.1", 0).start())
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await there(runner.cleanup())
        await there(loop.shutdown_default_executor())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _app(module: ModuleType, adapter: Any) -> web.Application:
    storage = MemoryStorage()
    states = [kind(storage) for kind in (ConversationState, UserState, PrivateConversationState)]
    bot = module.create_bot(*states)
    for each in getattr(module, "MIDDLEWARE", ()):
        adapter.use(each)
    if hasattr(module, "on_turn_error"):
        adapter.on_turn_error = module.on_turn_error

    async def messages(request: web.Request) -> web.StreamResponse:
        reader: Any = Activity  # msrest's deserialize has no types
        given = [request.headers.get("Authorization", ""), reader.deserialize(await request.json())]
        if isinstance(adapter, BotFrameworkAdapter):
            given.reverse()
        response = await adapter.process_activity(*given, bot.on_turn)
        if response is None:
            return web.Response()
        return web.json_response(response.body, status=int(response.status), dumps=_dumps)

    app = web.Application()
    app.router.add_post("/api/messages", messages)
    return app


_dumps = partial(json.dumps, default=lambda model: model.serialize())
