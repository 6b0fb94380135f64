"""Hosts that get the bot's token: the channels' own, and those that the settings add."""

import ipaddress
from collections.abc import Iterable

# Teams, and all channels that Microsoft runs. Sources: Teams documentation, "Proactive messages"
# (service URLs by cloud); learn.microsoft.com, "Configure Bot Framework apps behind a firewall",
# and the articles on US Government and 21Vianet. Anybody can have a name under trafficmanager.net.
PUBLIC_HOSTS = (
    "*.botframework.com",
    "smba.trafficmanager.net",
    "*.teams.microsoft.com",
)
US_GOVERNMENT_HOSTS = (
    "*.botframework.azure.us",
    "*.teams.microsoft.us",
    "smba.infra.gcc.teams.microsoft.com",
)
CHINA_HOSTS = ("*.botframework.azure.cn", "*.teams.microsoftonline.cn")


class KnownHosts:
    """The hosts that may have the bot's token.

    Args:
        patterns: names of hosts, in lower case; `*.` stands for one or more labels.
        loopback: whether this machine itself is one (development).
    """

    def __init__(self, patterns: Iterable[str], *, loopback: bool = False) -> None:
        names = tuple(patterns)
        self._names = frozenset(name for name in names if not name.startswith("*."))
        self._endings = tuple(name[1:] for name in names if name.startswith("*."))
        self._loopback = loopback

    def has(self, host: str) -> bool:
        """Whether the host may have the token."""
        name = host.lower().rstrip(".")
        return (
            name in self._names
            or name.endswith(self._endings)
            or (self._loopback and is_loopback(name))
        )


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
