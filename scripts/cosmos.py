"""A Cosmos DB on this machine, as a process of its own: `@vercel/cosmosdb-server`, in memory."""

import re
import ssl
import subprocess
from http.client import HTTPException, HTTPSConnection

from scripts import processes

# The server accepts any key. The SDK does not check the certificate of a server on localhost.
KEY = "bm90IGEgc2VjcmV0"
SERVER = processes.ROOT / "scripts" / "cosmos_server.js"


def endpoint(port: int) -> str:
    """The address of its account."""
    return f"https://127.0.0.1:{port}/"


def port_of(endpoint: str) -> int | None:
    """The port of an account's address, if it is on this machine."""
    found = re.match(r"https://(?:127\.0\.0\.1|localhost):(\d+)", endpoint)
    return int(found[1]) if found else None


def answers(port: int) -> bool:
    """Says whether a Cosmos DB is running already."""
    unchecked = ssl.create_default_context()  # its certificate is self-signed
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection("127.0.0.1", port, timeout=2, context=unchecked)
    try:
        connection.request("GET", "/")
        return "x-ms-activity-id" in connection.getresponse().headers
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def start(port: int) -> subprocess.Popen[bytes]:
    """Starts it and waits until it answers.

    Raises:
        SystemExit: It did not start, in one line.
    """
    return processes.start_server(
        ["node", SERVER, str(port)],
        lambda: answers(port),
        f"The Cosmos DB server did not start. Is port {port} taken?",
    )
