"""For authors of bots: a conversation that expires soon or has expired, as hooks see it.

::

    from shared.authors.ending import EndingConversation


    async def on_expired(conversation: EndingConversation) -> str | None:
        await conversation.sign_out("my-connection")
        return None
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from botbuilder.schema import ConversationReference


class Services(Protocol):
    """What a hook can do; see the methods of `EndingConversation` that call these."""

    async def read_user(self, channel_id: str, user_id: str) -> dict[str, Any]:
        """The user's bag as JSON data."""

    async def change_user(
        self, channel_id: str, user_id: str, change: Callable[[dict[str, Any]], None]
    ) -> None:
        """Change the user's bag."""

    async def sign_out(self, channel_id: str, user_id: str, connection_name: str) -> None:
        """Sign the user out of a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingConversation:
    """A conversation whose users are warned, or that has expired.

    State is JSON data: no class of the bot is loaded for it. A value that JSON does not know is an
    object with a `$type`, such as `{"$type": "decimal", "value": "1.5"}`. An instance of a class
    from STATE_TYPES has the name of its class there, and its attributes beside it.

    Attributes:
        reference: where it is; `reference.user` is None in a group.
        locale: of whoever wrote last, as the channel says it, such as "de-DE".
        deadline: when it expires, or did, in aware UTC.
        last_accessed: when it was used last, in aware UTC.
        state: the conversation's bag, as its last turn has left it.
        can_resume: whether its user may still resume it.
    """

    reference: ConversationReference
    locale: str | None
    deadline: datetime
    last_accessed: datetime
    state: Mapping[str, Any]
    can_resume: bool
    services: Services = field(repr=False, compare=False)

    async def user_state(self) -> dict[str, Any]:
        """The user's bag, which outlives the conversation. A change of the result saves nothing.

        Raises:
            LookupError: it is a group.
            Exception: the storage does not answer, or the bag is damaged.
        """
        return await self.services.read_user(*self._user())

    async def update_user_state(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the user's bag and save it, over the version that was read.

        Args:
            change: changes the bag that it is given, at once and in place. It may run again, if a
                turn has changed the bag meanwhile.

        Raises:
            LookupError: it is a group.
            TypeError: `change` has returned something.
            Exception: `change` raised it, or the bag cannot be kept; nothing was saved.
        """

        def checked(bag: dict[str, Any]) -> None:
            returned: object = change(bag)  # type: ignore[func-returns-value] # an author's may
            if returned is not None:
                raise TypeError(
                    f"change has returned a {type(returned).__name__}; it must change the bag in"
                    " place, and return nothing"
                )

        await self.services.change_user(*self._user(), checked)

    async def sign_out(self, connection_name: str) -> None:
        """Sign the user out of an OAuth connection, whose token outlives the conversation.

        Raises:
            LookupError: it is a group.
            Exception: the token service has refused, or does not answer.
        """
        await self.services.sign_out(*self._user(), connection_name)

    def _user(self) -> tuple[str, str]:
        user = self.reference.user
        if user is None:
            raise LookupError("this conversation is a group: there is no one user of it")
        return self.reference.channel_id, user.id
