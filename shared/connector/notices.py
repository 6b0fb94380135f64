"""The notice of an expiry, and its sending."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta

from botbuilder.schema import Activity, ActivityTypes, InputHints

from shared import telemetry
from shared.connector.buttons import add_button, add_resume_button
from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import CredentialError
from shared.connector.limits import SendingLimits
from shared.connector.operations import ConnectorClient
from shared.connector.references import channel_account, conversation_of
from shared.connector.service_urls import ServiceUrls
from shared.domain.buttons import STAY
from shared.domain.conversation import Conversation
from shared.domain.policy import Policy
from shared.domain.reference import Reference
from shared.domain.times import utc_now
from shared.domain.timing import Timing
from shared.expiry.notice import NoticeResult, Slot, Verdict
from shared.texts.durations import rounded_down
from shared.texts.languages import Key, Said, Texts
from shared.texts.texts_file import read_texts

# What each answer means. Source: Teams documentation, "Status codes from bot conversational APIs".
# No answer at all is retried. Every other status, 500 included, is final, as Teams asks.
_VERDICTS = {
    None: Verdict.TRY_LATER,
    401: Verdict.STOP,  # our own credentials: every other notice would fail the same way
    403: Verdict.REFUSED,  # blocked, uninstalled, not in the conversation; with an error code only
    404: Verdict.REFUSED,
    408: Verdict.TRY_LATER,
    410: Verdict.REFUSED,
    412: Verdict.TRY_LATER,
    429: Verdict.TRY_LATER,
    502: Verdict.TRY_LATER,
    503: Verdict.TRY_LATER,
    504: Verdict.TRY_LATER,
}
# With a 403: the conversation is fine, but lives at another address.
_WRONG_SERVICE_URL = "InvalidBotApiHost"

# The bot's own words, in place of ours.
OwnWords = Activity | str

# Channels whose clients get channelData unchanged. Elsewhere it is the channel's own format: Slack
# answers 400 "Invalid ChannelData" to fields that it does not know.
_CHANNEL_DATA_IS_OURS = {"directline", "webchat", "emulator", "test", "msteams"}
# So late may a notice be, and still name all the time that it offers: not "23 hours" of 24.
_BEING_SENT = timedelta(seconds=10)


def notice_for(
    conversation: Conversation,
    to: Reference,
    texts: Texts,
    timing: Timing | None = None,
    now: datetime | None = None,
    *,
    own: OwnWords | None = None,
) -> Activity:
    """The notice as an activity, in the language of whoever wrote last, or in the bot's own words.

    It says why: with its timing it is known whether the session has reached its greatest age. If
    the session may be resumed after `now`, it has a button for that.

    If clients can read channelData, it has the session's id: a client that gets the same notice
    twice can recognise it.
    """
    is_too_old = timing is not None and conversation.ends_by_age(timing)
    key: Key = "expired_max_age" if is_too_old else "expired"
    until = conversation.resume_until
    if isinstance(own, Activity):
        notice = _addressed(own, to)
    elif until and now and until > now:
        left = until - now + _BEING_SENT
        remaining = rounded_down(min(left, until - (conversation.expired_at or now)))
        said = texts.say("expired_resumable", conversation.locale, remaining=remaining)
        notice = _message(to, _own(own) or said)
        add_resume_button(notice, to.channel, conversation.session, texts, conversation.locale)
    else:
        notice = _message(to, _own(own) or texts.say(key, conversation.locale))
    _add_session(notice, to, "expiredSession", conversation)
    return notice


def warning_for(
    conversation: Conversation,
    to: Reference,
    texts: Texts,
    left: timedelta,
    own: OwnWords | None = None,
) -> Activity:
    """A warning as an activity, with a button that keeps the conversation.

    Its text says all, for channels without buttons.
    """
    if isinstance(own, Activity):
        warning = _addressed(own, to)
    else:
        said = texts.say("warning", conversation.locale, remaining=rounded_down(left))
        warning = _message(to, _own(own) or said)
        add_button(warning, to.channel, texts.say("stay", conversation.locale).text, STAY)
    _add_session(warning, to, "warnedSession", conversation)
    return warning


def _own(text: str | None) -> Said | None:
    return Said(text, language="") if text else None  # nobody says in which language it is


def _message(to: Reference, said: Said) -> Activity:
    message = Activity(
        type=ActivityTypes.message,
        text=said.text,
        input_hint=InputHints.accepting_input,
    )
    if said.language:
        message.locale = said.language
    return _addressed(message, to)


def _addressed(message: Activity, to: Reference) -> Activity:
    """A copy that goes there, whatever address it had; the bot may send one object to many."""
    addressed = copy(message)
    addressed.type = message.type or ActivityTypes.message
    addressed.channel_id = to.channel
    addressed.service_url = to.service_url
    addressed.conversation = conversation_of(to)
    addressed.from_property = channel_account(to.bot)
    addressed.recipient = channel_account(to.user)
    return addressed


def _add_session(message: Activity, to: Reference, name: str, conversation: Conversation) -> None:
    if to.channel in _CHANNEL_DATA_IS_OURS and message.channel_data is None:
        message.channel_data = {name: conversation.session}


class NoticeSender:
    """Sends notices through the connector, and knows when: a `SendNotice` and a `Pace`.

    Args:
        connector: speaks to channels.
        service_urls: the known addresses of tenants.
        limits: how fast the channels take notices.
        texts: the words; None: ours.
        policy: which timing holds for which conversation; None: no session has a greatest age.
        now: the clock, in aware UTC.
    """

    def __init__(
        self,
        connector: Connector,
        service_urls: ServiceUrls,
        limits: SendingLimits,
        texts: Texts | None = None,
        policy: Policy | None = None,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._now = now
        self._connector = connector
        self._policy = policy
        self._service_urls = service_urls
        self._limits = limits
        self._texts = texts or read_texts()

    def reserve(self, conversation: Conversation, within_seconds: float) -> Slot:
        """See `Pace.reserve`."""
        if not conversation.reference:
            return Slot(0)
        return self._limits.reserve(conversation.reference, within_seconds)

    def confirm(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """See `Pace.confirm`."""
        if not conversation.reference:
            return slot
        return self._limits.confirm(conversation.reference, slot, within_seconds)

    def begin(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """See `Pace.begin`."""
        if not conversation.reference:
            return slot
        return self._limits.begin(conversation.reference, slot, within_seconds)

    def stay(self, conversation: Conversation) -> None:
        """Keep this process among those that send, while what is to go is still made."""
        if conversation.reference:
            self._limits.stay(conversation.reference)

    async def __call__(
        self, conversation: Conversation, own: OwnWords | None = None
    ) -> NoticeResult:
        """Send one notice; `own` are the bot's words, if it has some."""
        timing = self._policy.of(conversation) if self._policy else None
        return await self._tell(
            "notice",
            conversation,
            lambda to: notice_for(conversation, to, self._texts, timing, self._now(), own=own),
        )

    async def warn(
        self, conversation: Conversation, left: timedelta, own: OwnWords | None = None
    ) -> NoticeResult:
        """Send one warning; `left` is the time until the conversation expires."""
        return await self._tell(
            "warning",
            conversation,
            lambda to: warning_for(conversation, to, self._texts, left, own),
        )

    async def _tell(
        self, span: str, conversation: Conversation, message_to: Callable[[Reference], Activity]
    ) -> NoticeResult:
        reference = conversation.reference
        if reference is None:  # there is no address to send it to
            return NoticeResult(Verdict.NOT_WANTED)
        with telemetry.tracer.start_as_current_span(
            span,
            links=telemetry.links_to(conversation.trace),
            attributes={"conversation": conversation.address.key},
        ):
            return await self._send(message_to(reference), conversation, reference)

    async def _send(
        self, notice: Activity, conversation: Conversation, reference: Reference
    ) -> NoticeResult:
        sent_at = self._limits.clock()
        # Nobody vouched for the address when the row was written: it gets no token, also now.
        is_anonymous = reference.is_anonymous and self._connector.has_identity
        client = ConnectorClient(self._connector, reference.service_url, is_anonymous=is_anonymous)
        try:
            await client.send(notice)
        except ConnectorError as error:
            self._limits.answered(reference, sent_at, error)
            result = await _failure(conversation, error, self._service_urls)
            if is_anonymous and result.verdict is Verdict.STOP:
                return replace(result, verdict=Verdict.DEAD)  # it says nothing about the others
            return result
        except CredentialError as error:
            return NoticeResult(Verdict.STOP, detail=f"no token to send with: {error}")
        self._limits.answered(reference, sent_at)
        if not is_anonymous:
            self._service_urls.delivered(reference)
        return NoticeResult(Verdict.DELIVERED, 200)


async def say_nothing(_: Conversation) -> NoticeResult:
    """The `SendNotice` for ExpiryNotice=off."""
    return NoticeResult(Verdict.NOT_WANTED)


async def _failure(
    conversation: Conversation, error: ConnectorError, service_urls: ServiceUrls
) -> NoticeResult:
    verdict, service_url = _VERDICTS.get(error.status, Verdict.DEAD), ""
    is_signed = verdict is not Verdict.REFUSED or bool(error.code)
    if not is_signed:
        verdict = Verdict.TRY_LATER  # a firewall's word, perhaps: the user is not to lose by it
    if verdict is Verdict.REFUSED and error.code == _WRONG_SERVICE_URL:
        # Never take the address from the answer: it would get the bot's token.
        if conversation.reference and not conversation.moved:
            service_url = await service_urls.other_than(conversation.reference)
        verdict = Verdict.TRY_LATER if service_url else Verdict.DEAD
    return NoticeResult(
        verdict,
        error.status,
        error.retry_after_seconds,
        code=error.code or "",
        service_url=service_url,
        detail=str(error),
        is_signed=is_signed,
    )
