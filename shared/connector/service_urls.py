"""The address to use when a channel says that a conversation's own is wrong."""

from collections import OrderedDict

from botbuilder.schema import Activity
from botframework.connector import Channels

from shared.connector.references import reference_of
from shared.domain.reference import Reference

# The address of all conversations of Teams' government tenants (GCC), whatever the activity said.
# Source: Teams documentation, "Status codes retry guidance" and "Proactive messages".
TEAMS_GCC = "https://smba.infra.gcc.teams.microsoft.com/teams/"

_MOST = 1_000  # tenants


class ServiceUrls:
    """The newest service URL of each tenant of each channel that this process has seen.

    Only addresses of an authenticated activity or a delivered notice are used: the receiver gets
    the bot's token.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[str, str], str] = OrderedDict()

    def received(self, activity: Activity) -> None:
        """An activity of an authenticated caller came."""
        self._saw(reference_of(activity))

    def delivered(self, reference: Reference) -> None:
        """The channel took something that was sent to this reference."""
        self._saw(reference)

    def other_than(self, reference: Reference) -> str:
        """Another service URL for this reference; empty if there is none."""
        newest = self._newest.get((reference.channel, reference.tenant or ""))
        for url in (newest, TEAMS_GCC if reference.channel == Channels.ms_teams else None):
            if url and url.rstrip("/") != reference.service_url.rstrip("/"):
                return url
        return ""

    def _saw(self, reference: Reference) -> None:
        if not reference.tenant:
            return  # tenants have addresses of their own, and this might be anyone's
        key = reference.channel, reference.tenant
        self._newest[key] = reference.service_url
        self._newest.move_to_end(key)
        if len(self._newest) > _MOST:
            self._newest.popitem(last=False)
