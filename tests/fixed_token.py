"""A bot's token that nobody has to fetch."""

from shared.connector.credentials import TokenSource

TOKEN = "the-bots-token"


class FixedToken(TokenSource):
    """A bot that has an identity, and its token."""

    def __init__(self) -> None:
        super().__init__(app_id="some-app")

    async def token(self) -> str | None:
        return TOKEN

    def token_blocking(self) -> str | None:
        return TOKEN
