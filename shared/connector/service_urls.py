"""Which address to send to when a channel says that a conversation's own is the wrong one."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from botbuilder.schema import Activity, ConversationAccount
from botframework.connector import Channels

# Where the conversations of Teams' government tenants (GCC) are, whatever the activity said.
# Source: Teams documentation, "Status codes retry guidance" and "Proactive messages".
TEAMS_GCC = "https://smba.infra.gcc.teams.microsoft.com/teams/"

_MOST = 1_000  # tenants


class ServiceUrls:
    """The newest service URL of each tenant of each channel, as far as this process has seen any.

    Only what an authenticated activity or a delivered notice has used is ever given: whoever is
    sent to gets the bot's token.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[str, str], str] = OrderedDict()

    def received(self, activity: Activity) -> None:
        """An activity of an authenticated caller came."""
        tenant = tenant_of(activity.conversation)
        self._saw(activity.channel_id, tenant, activity.service_url)

    def delivered(self, reference: Mapping[str, Any]) -> None:
        """The channel took something that was sent to this conversation reference."""
        tenant = reference["conversation"].get("tenantId")
        self._saw(reference["channelId"], tenant, reference["serviceUrl"])

    def other_than(self, reference: Mapping[str, Any]) -> str:
        """Another service URL for this conversation reference; empty if there is none."""
        channel, refused = reference["channelId"], reference["serviceUrl"]
        newest = self._newest.get((channel, reference["conversation"].get("tenantId") or ""))
        for url in (newest, TEAMS_GCC if channel == Channels.ms_teams else None):
            if url and url.rstrip("/") != refused.rstrip("/"):
                return url
        return ""

    def _saw(self, channel: str, tenant: str | None, url: str) -> None:
        if not tenant:
            return  # tenants have addresses of their own, and this might be anyone's
        self._newest[channel, tenant] = url
        self._newest.move_to_end((channel, tenant))
        if len(self._newest) > _MOST:
            self._newest.popitem(last=False)


def tenant_of(where: ConversationAccount) -> str | None:
    """The conversation's tenant: the SDK knows it by another name than Teams sends it by."""
    return where.tenant_id or (where.additional_properties or {}).get("tenantId")
