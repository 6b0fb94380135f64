"""A stand-in for the Bot Framework's token service, at the address of a fake channel."""

from aiohttp import web

from tests.fake_channel import FakeChannel

CODE, CLIENTS_TOKEN, USERS_TOKEN = "123456", "a-token-of-the-client", "a-token-of-the-user"

# What `running_bot` changes, so that a bot with an identity asks this channel.
WITH_IDENTITY = """
from botframework.connector.auth import AuthenticationConstants
from tests.offline_login import log_in_offline
AuthenticationConstants.TO_BOT_FROM_CHANNEL_OPENID_METADATA_URL = {channel.channel_keys_url!r}
AuthenticationConstants.OAUTH_URL = {channel.url!r}
log_in_offline()
"""


class FakeSignIn(FakeChannel):
    """A channel whose users sign in with CODE, or by the exchange of CLIENTS_TOKEN.

    Attributes:
        asked: what was asked of the token service, in order: method, path and query.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._signed_in: set[str] = set()

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/api/botsignin/GetSignInResource", self._resource)
        app.router.add_get("/api/usertoken/GetToken", self._users_token)
        app.router.add_post("/api/usertoken/exchange", self._exchange)
        app.router.add_delete("/api/usertoken/SignOut", self._sign_out)
        super().add_routes(app)

    def _note(self, request: web.Request) -> str:
        """Note what is asked; returns the user. The state holds ids of the turn."""
        query = {name: value for name, value in request.query.items() if name != "state"}
        self.asked.append((request.method, request.path, query))
        return query.get("userId", "")

    async def _resource(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        exchange = {"id": "an exchange", "uri": "api://the-app", "providerId": "a provider"}
        return web.json_response(
            {"signInLink": "https://sign-in.example/", "tokenExchangeResource": exchange}
        )

    async def _users_token(self, request: web.Request) -> web.StreamResponse:
        user = self._note(request)
        if request.query.get("code") == CODE:
            self._signed_in.add(user)
        return self._answer_token(request, user)

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        user = self._note(request)
        if (await request.json()).get("token") == CLIENTS_TOKEN:
            self._signed_in.add(user)
        return self._answer_token(request, user)

    def _answer_token(self, request: web.Request, user: str) -> web.StreamResponse:
        if user not in self._signed_in:
            return web.json_response({}, status=404)
        connection = request.query["connectionName"]
        return web.json_response({"connectionName": connection, "token": USERS_TOKEN})

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        self._signed_in.discard(self._note(request))
        return web.json_response({})
