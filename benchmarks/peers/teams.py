"""A worker on the Teams SDK and its LocalStorage. It has no dialogs: the dialog is by hand."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from microsoft_teams.api import MessageActivity, MessageActivityInput, SuggestedActions
from microsoft_teams.api.auth.cloud_environment import PUBLIC, with_overrides
from microsoft_teams.apps import ActivityContext, App

from benchmarks.peers import profile
from benchmarks.peers.login import ask_nobody_about_the_login_service
from benchmarks.peers.work import Setting, TakeTurn, work


class _NoServer:
    """In place of FastAPI: no row of the table has a web front."""

    def register_route(self, _method: str, _path: str, handler: Any) -> None:
        self.handle = handler

    def serve_static(self, _path: str, _directory: str) -> None:
        pass


@asynccontextmanager
async def _app(setting: Setting) -> AsyncIterator[TakeTurn]:
    logging.disable(logging.WARNING)
    ask_nobody_about_the_login_service()
    server = _NoServer()
    app = App(
        client_id=setting.app_id,
        client_secret=setting.app_password,
        cloud=with_overrides(
            PUBLIC,
            login_endpoint=setting.login_url,
            login_tenant=setting.login_tenant,
            openid_metadata_url=setting.keys_url,  # taken for the keys' address as it is
        ),
        http_server_adapter=server,
        dangerously_allow_unauthenticated_requests=not setting.app_id,
        state=True,
    )

    @app.on_message  # type: ignore[untyped-decorator] # its types are not installed here
    async def on_message(context: ActivityContext[MessageActivity]) -> None:
        for reply in profile.answer(context.state.conversation, context.activity.text):
            message = MessageActivityInput(text=reply["text"], input_hint=reply["inputHint"])
            if "textFormat" in reply:
                message.with_text_format(reply["textFormat"])
            if "suggestedActions" in reply:
                suggested = SuggestedActions(to=[], **reply["suggestedActions"])
                message.with_suggested_actions(suggested)
            await context.send(message)

    await app.initialize()

    async def take(body: bytes, bearer: str) -> object:
        headers = {"content-type": "application/json", "authorization": bearer}
        answer = await server.handle({"body": json.loads(body), "headers": headers})
        assert answer["status"] == 200, answer
        return answer

    yield take


if __name__ == "__main__":
    work(_app)
