"""Azurite, Microsoft's storage emulator, as a process of its own."""

import subprocess
from pathlib import Path

from scripts import processes

FIRST_PORT = 10000  # blobs; queues are on the next port, tables on the one after
AZURITE = processes.ROOT / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"

# Azurite's published account; nothing secret about it.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def connection_string(first_port: int) -> str:
    """The connection string of the Azurite on these three ports."""
    return ";".join(
        [
            "DefaultEndpointsProtocol=http",
            f"AccountName={_ACCOUNT}",
            f"AccountKey={_KEY}",
            f"BlobEndpoint=http://127.0.0.1:{first_port}/{_ACCOUNT}",
            f"QueueEndpoint=http://127.0.0.1:{first_port + 1}/{_ACCOUNT}",
            f"TableEndpoint=http://127.0.0.1:{first_port + 2}/{_ACCOUNT}",
        ]
    )


def answers(first_port: int = FIRST_PORT) -> bool:
    """Asks the table service whether an Azurite is running already."""
    answer = processes.get(first_port + 2, "/")
    return answer is not None and "Azurite-Table" in answer.headers.get("Server", "")


def start(data: Path, first_port: int = FIRST_PORT) -> subprocess.Popen[bytes]:
    """Starts Azurite with its data in a folder and waits until it answers.

    It gets a session of its own. It saves its data every few seconds and when it is stopped, so it
    must outlive a kill of the functions' process group.

    Raises:
        SystemExit: It did not start, in one line.
    """
    ports = {"blob": first_port, "queue": first_port + 1, "table": first_port + 2}
    command: list[str | Path] = ["node", AZURITE, "--silent", "--disableTelemetry"]
    # By default it drops connections that are idle for 5 s, and so fails a client's next write.
    command += ["--tableKeepAliveTimeout", "120", "--location", data]
    for service, port in ports.items():
        command += [f"--{service}Port", str(port)]
    return processes.start_server(
        command,
        lambda: answers(first_port),
        f"Azurite did not start. Are its ports taken: {ports}?",
    )
