"""A page with the real Web Chat client, and a stand-in for the Direct Line service behind it.

Web Chat comes from npm as one file: the package with all that it depends on has 485 MB.
"""

import subprocess
import time
from collections.abc import Awaitable, Callable
from hashlib import sha512
from pathlib import Path
from tarfile import TarFile
from typing import Any

from aiohttp import web

from tests.fake_channel import FakeChannel, Received

WEB_CHAT = "botframework-webchat@4.18.1"
SHA512 = (
    "ee3a44509ee8953eb65e6fbc7a1ec186121c5d57d4db10f8a590da781b7c2b85"
    "dc372e8affcdd4188c44f411645e61cc6788431153b3b3972b7b4ec65ae697ce"
)
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Web Chat</title>
<div id="chat" style="height: 90vh"></div>
<script src="/webchat.js"></script>
<script>
  const directLine = WebChat.createDirectLine({
    domain: location.origin + "/v3/directline",
    token: "a token",
    webSocket: false,
    pollingInterval: 300,
  })
  WebChat.renderWebChat({directLine, userID: "ada"}, document.getElementById("chat"))
</script>
"""


def download_web_chat(folder: Path) -> str:
    """Web Chat's script, of one version whose content is known."""
    subprocess.run(["npm", "pack", WEB_CHAT], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("*.tgz")
    assert sha512(package.read_bytes()).hexdigest() == SHA512
    with TarFile.open(package) as files:
        script = files.extractfile("package/dist/webchat.js")
        assert script
        return script.read().decode()


class DirectLine(FakeChannel):
    """Direct Line as far as Web Chat uses it without a WebSocket. `page` is the chat window.

    What users say is among the requests, at its place between the bot's messages.

    Args:
        to_bot: takes an activity to the bot.
        script: Web Chat's.
    """

    def __init__(self, to_bot: Callable[[Any], Awaitable[object]], script: str) -> None:
        super().__init__()
        self._to_bot = to_bot
        self._script = script

    @property
    def page(self) -> str:
        """The address of a page that begins a conversation."""
        return f"{self.url}/page"

    def add_routes(self, app: web.Application) -> None:
        """See the base class."""
        conversations = "/v3/directline/conversations"
        app.router.add_get("/page", self._page)
        app.router.add_get("/webchat.js", self._web_chat)
        app.router.add_post(conversations, self._begin)
        app.router.add_get(f"{conversations}/{{id}}/activities", self._shown)
        app.router.add_post(f"{conversations}/{{id}}/activities", self._said)
        super().add_routes(app)

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _web_chat(self, _: web.Request) -> web.Response:
        return web.Response(text=self._script, content_type="text/javascript")

    async def _begin(self, _: web.Request) -> web.Response:
        begun = {"conversationId": f"talk-{len(self.requests)}", "token": "a token"}
        return web.json_response({**begun, "expires_in": 3600}, status=201)

    async def _shown(self, request: web.Request) -> web.Response:
        conversation, after = request.match_info["id"], int(request.query.get("watermark") or 0)
        activities = self.sent_to(conversation)
        shown = [
            {"id": f"{conversation}|{number:07}", **activity}
            for number, activity in enumerate(activities)
        ]
        body = {"activities": shown[after:], "watermark": str(len(activities))}
        return web.json_response(body)

    async def _said(self, request: web.Request) -> web.Response:
        conversation = request.match_info["id"]
        number = len(self.sent_to(conversation))
        activity = {
            **await request.json(),
            "id": f"{conversation}|{number:07}",
            "channelId": "webchat",
            "serviceUrl": self.service_url,
            "conversation": {"id": conversation},
            "recipient": {"id": "the-bot", "role": "bot"},
        }
        self.requests.append(
            Received(time.monotonic(), "POST", request.path, conversation, None, activity)
        )
        await self._to_bot(activity)
        return web.json_response({"id": activity["id"]})
