"""The operations of the Bot Framework's connector API, as the SDK's asynchronous client has them.

Bot code that takes the connector client from `turn_context.turn_state` can use it as before. Every
operation raises ConnectorError and CredentialError as `Connector.request` does.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode

from botbuilder.schema import (
    Activity,
    AttachmentData,
    AttachmentInfo,
    ChannelAccount,
    ConversationParameters,
    ConversationResourceResponse,
    ConversationsResult,
    PagedMembersResult,
    ResourceResponse,
    Transcript,
)
from botbuilder.schema.teams import (
    ConversationList,
    MeetingInfo,
    MeetingNotificationBase,
    MeetingNotificationResponse,
    TeamDetails,
    TeamsMeetingParticipant,
    TeamsPagedMembersResult,
)
from msrest.serialization import Model

from shared.connector.answers import LONGEST_DETAIL, words
from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import BlockingCredentials
from shared.connector.outbound import wire_form
from shared.domain.placeholders import is_placeholder

_M = TypeVar("_M", bound=Model)

_CONVERSATIONS, _ATTACHMENTS, _TEAMS = "v3/conversations", "v3/attachments", "v3/teams"
_MEETINGS = "v1/meetings"


class Options(TypedDict, total=False):
    """What the SDK's operations take besides: headers that are added to the request."""

    custom_headers: Mapping[str, str] | None


class _Operations:
    """Operations below one service URL."""

    def __init__(
        self, connector: Connector, service_url: str, *, is_anonymous: bool = False
    ) -> None:
        self._connector = connector
        self._service_url = service_url
        self._options = {"is_anonymous": True} if is_anonymous else {}

    async def _request(
        self,
        method: str,
        segments: tuple[str, ...],
        model: Model | None = None,
        query: Mapping[str, object] | None = None,
        *,
        custom_headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make a request; the first segment is the beginning of the path, the others are ids."""
        try:
            path = "/".join((segments[0], *map(_segment, segments[1:])))
            body = None if model is None else wire_form(model)
        except (ValueError, TypeError, AttributeError) as error:  # msrest's errors are ValueErrors
            reason = ascii(str(error)[:LONGEST_DETAIL])
            raise ConnectorError(f"{method}: this cannot be sent: {reason}") from error
        given = {name: item for name, item in (query or {}).items() if item is not None}
        if given:
            path += f"?{urlencode(given)}"
        options: Any = self._options | ({"headers": custom_headers} if custom_headers else {})
        return await self._connector.request(method, self._service_url, path, body, **options)


class Conversations(_Operations):
    """What can be done in conversations."""

    async def create_conversation(
        self, parameters: ConversationParameters, **options: Unpack[Options]
    ) -> ConversationResourceResponse:
        """Start a conversation."""
        answer = await self._request("POST", (_CONVERSATIONS,), parameters, **options)
        return _model(ConversationResourceResponse, answer if isinstance(answer, dict) else {})

    async def send_to_conversation(
        self, conversation_id: str, activity: Activity, **options: Unpack[Options]
    ) -> ResourceResponse:
        """Add an activity at the end of the conversation."""
        return _resource(
            await self._request(
                "POST", (_CONVERSATIONS, conversation_id, "activities"), activity, **options
            )
        )

    async def reply_to_activity(
        self, conversation_id: str, activity_id: str, activity: Activity, **options: Unpack[Options]
    ) -> ResourceResponse:
        """Add an activity as a reply to another, if the channel supports replies."""
        segments = (_CONVERSATIONS, conversation_id, "activities", activity_id)
        return _resource(await self._request("POST", segments, activity, **options))

    async def update_activity(
        self, conversation_id: str, activity_id: str, activity: Activity, **options: Unpack[Options]
    ) -> ResourceResponse:
        """Replace an activity that was sent before."""
        segments = (_CONVERSATIONS, conversation_id, "activities", activity_id)
        return _resource(await self._request("PUT", segments, activity, **options))

    async def delete_activity(
        self, conversation_id: str, activity_id: str, **options: Unpack[Options]
    ) -> None:
        """Delete an activity that was sent before."""
        await self._request(
            "DELETE", (_CONVERSATIONS, conversation_id, "activities", activity_id), **options
        )

    async def get_conversation_members(
        self, conversation_id: str, **options: Unpack[Options]
    ) -> list[ChannelAccount]:
        """All members of the conversation."""
        return _accounts(
            await self._request("GET", (_CONVERSATIONS, conversation_id, "members"), **options)
        )

    async def get_conversation_member(
        self, conversation_id: str, member_id: str, **options: Unpack[Options]
    ) -> ChannelAccount:
        """One member of the conversation."""
        answer = await self._request(
            "GET", (_CONVERSATIONS, conversation_id, "members", member_id), **options
        )
        return _model(ChannelAccount, answer)

    async def get_conversation_paged_members(
        self,
        conversation_id: str,
        page_size: int | None = None,
        continuation_token: str | None = None,
        **options: Unpack[Options],
    ) -> PagedMembersResult:
        """One page of the conversation's members, and the token of the next page."""
        answer = await self._page(conversation_id, page_size, continuation_token, **options)
        return _model(PagedMembersResult, answer)

    async def get_teams_conversation_paged_members(
        self,
        conversation_id: str,
        page_size: int | None = None,
        continuation_token: str | None = None,
        **options: Unpack[Options],
    ) -> TeamsPagedMembersResult:
        """The same with what Teams knows of its users."""
        answer = await self._page(conversation_id, page_size, continuation_token, **options)
        return _model(TeamsPagedMembersResult, answer)

    async def _page(
        self, conversation_id: str, size: int | None, token: str | None, **options: Unpack[Options]
    ) -> Any:
        segments = (_CONVERSATIONS, conversation_id, "pagedmembers")
        query = {"pageSize": size, "continuationToken": token}
        return await self._request("GET", segments, query=query, **options)

    async def delete_conversation_member(
        self, conversation_id: str, member_id: str, **options: Unpack[Options]
    ) -> None:
        """Take a member out of the conversation."""
        segments = (_CONVERSATIONS, conversation_id, "members", member_id)
        await self._request("DELETE", segments, **options)

    async def get_conversations(
        self, continuation_token: str | None = None, **options: Unpack[Options]
    ) -> ConversationsResult:
        """The conversations that the bot takes part in, a page of them."""
        query = {"continuationToken": continuation_token}
        answer = await self._request("GET", (_CONVERSATIONS,), query=query, **options)
        return _model(ConversationsResult, answer)

    async def send_conversation_history(
        self,
        conversation_id: str,
        activities: Sequence[Activity] = (),
        **options: Unpack[Options],
    ) -> ResourceResponse:
        """Add earlier activities to the conversation."""
        segments = (_CONVERSATIONS, conversation_id, "activities", "history")
        history = Transcript(activities=list(activities))
        return _resource(await self._request("POST", segments, history, **options))

    async def upload_attachment(
        self,
        conversation_id: str,
        attachment_upload: AttachmentData,
        **options: Unpack[Options],
    ) -> ResourceResponse:
        """Keep a file in the channel's own storage; returns its id."""
        segments = (_CONVERSATIONS, conversation_id, "attachments")
        return _resource(await self._request("POST", segments, attachment_upload, **options))

    async def get_activity_members(
        self, conversation_id: str, activity_id: str, **options: Unpack[Options]
    ) -> list[ChannelAccount]:
        """The members that an activity went to."""
        segments = (_CONVERSATIONS, conversation_id, "activities", activity_id, "members")
        return _accounts(await self._request("GET", segments, **options))


class Attachments(_Operations):
    """Files in the channel's own storage."""

    async def get_attachment_info(
        self, attachment_id: str, **options: Unpack[Options]
    ) -> AttachmentInfo:
        """Name, type and views of a file."""
        answer = await self._request("GET", (_ATTACHMENTS, attachment_id), **options)
        return _model(AttachmentInfo, answer)

    async def get_attachment(
        self, attachment_id: str, view_id: str, **options: Unpack[Options]
    ) -> AsyncIterator[bytes]:
        """One view of a file, in chunks, as they come; nothing is read ahead."""
        path = "/".join((_ATTACHMENTS, _segment(attachment_id), "views", _segment(view_id)))
        headers = options.get("custom_headers") or {}
        return self._connector.download(self._service_url, path, headers=headers, **self._options)


class Teams(_Operations):
    """What Teams alone has: teams, channels and meetings.

    `TeamsInfo` uses the SDK's own client for these, which blocks the event loop.
    """

    async def get_team_details(self, team_id: str, **options: Unpack[Options]) -> TeamDetails:
        """Name, group and size of a team."""
        return _model(TeamDetails, await self._request("GET", (_TEAMS, team_id), **options))

    async def get_teams_channels(
        self, team_id: str, **options: Unpack[Options]
    ) -> ConversationList:
        """The channels of a team."""
        answer = await self._request("GET", (_TEAMS, team_id, "conversations"), **options)
        return _model(ConversationList, answer)

    async def fetch_meeting(self, meeting_id: str, **options: Unpack[Options]) -> MeetingInfo:
        """A meeting, its organizer and its conversation."""
        return _model(MeetingInfo, await self._request("GET", (_MEETINGS, meeting_id), **options))

    async def fetch_participant(
        self, meeting_id: str, participant_id: str, tenant_id: str, **options: Unpack[Options]
    ) -> TeamsMeetingParticipant:
        """Somebody's role in a meeting."""
        segments = (_MEETINGS, meeting_id, "participants", participant_id)
        query = {"tenantId": tenant_id}
        answer = await self._request("GET", segments, query=query, **options)
        return _model(TeamsMeetingParticipant, answer)

    async def send_meeting_notification(
        self, meeting_id: str, notification: MeetingNotificationBase, **options: Unpack[Options]
    ) -> MeetingNotificationResponse:
        """Tell participants of a meeting; returns who could not be told."""
        segments = (_MEETINGS, meeting_id, "notification")
        answer = await self._request("POST", segments, notification, **options)
        return _model(MeetingNotificationResponse, answer if isinstance(answer, dict) else {})


class Config(NamedTuple):
    """What the SDK's own clients are made from.

    Attributes:
        credentials: the bot's token, for the channels' hosts only.
        base_url: the service URL.
    """

    credentials: BlockingCredentials
    base_url: str


class ConnectorClient:
    """The SDK's connector client, for one service URL: cheap, made anew for every turn or notice.

    If the service URL cannot be used, each operation raises a ConnectorError; this does not.

    Args:
        connector: sends.
        service_url: the channel's address.
        is_anonymous: whether nobody vouches for the address; it gets no token.
    """

    def __init__(
        self, connector: Connector, service_url: str, *, is_anonymous: bool = False
    ) -> None:
        self.service_url = service_url
        self.conversations = Conversations(connector, service_url, is_anonymous=is_anonymous)
        self._connector = connector
        self._is_anonymous = is_anonymous

    @property
    def attachments(self) -> Attachments:
        """Files in the channel's own storage."""
        return Attachments(self._connector, self.service_url, is_anonymous=self._is_anonymous)

    @property
    def teams(self) -> Teams:
        """What Teams alone has."""
        return Teams(self._connector, self.service_url, is_anonymous=self._is_anonymous)

    @property
    def config(self) -> Config:
        """What the SDK's own clients are made from."""
        return Config(self._connector.credentials, self.service_url)

    async def send(self, activity: Activity) -> ResourceResponse:
        """Send as the SDK's CloudAdapter does: a reply if `reply_to_id` is set, or a new activity.

        Raises:
            ConnectorError: the channel refused, or did not answer.
            CredentialError: there is no token to send with.
        """
        if activity.reply_to_id:
            return await self.conversations.reply_to_activity(
                activity.conversation.id, activity.reply_to_id, activity
            )
        return await self.conversations.send_to_conversation(activity.conversation.id, activity)


def _segment(value: str) -> str:
    """An id as one segment of a path: `.` and `..` too, which would else be steps in it.

    Raises:
        ConnectorError: it is empty, or stands for an id that is not known yet.
    """
    if not value or is_placeholder(value):
        raise ConnectorError(f"not sent: {value!a} is no id of a conversation, message or member")
    return value.replace(".", "%2E") if value in {".", ".."} else quote(value, safe="")


def _resource(answer: Any) -> ResourceResponse:
    """The id that a channel gave; empty if it gave none, which is still a success."""
    given = answer.get("id") if isinstance(answer, dict) else None
    return ResourceResponse(id=words(given))


def _model(kind: type[_M], answer: Any) -> _M:
    """Read an answer as one of the SDK's models; an answer that is none is an error."""
    problem = ConnectorError(f"the channel's answer is no {kind.__name__}")
    if not isinstance(answer, dict):
        raise problem
    reader: Any = kind  # msrest's deserialize has no types
    try:
        model: _M = reader.deserialize(answer)
    except (ValueError, RecursionError) as error:  # msrest's DeserializationError is one
        raise problem from error
    return model


def _accounts(answer: Any) -> list[ChannelAccount]:
    if not isinstance(answer, list):
        raise ConnectorError("the channel's answer is no list of members")
    return [_model(ChannelAccount, account) for account in answer]
