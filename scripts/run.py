"""A chat on this machine: `make run`, or `python -m scripts.run` without make.

Installs missing packages, starts Azurite (and a Cosmos DB if StateStore is cosmos), the functions
and the Agents Playground, prints the Playground's address and waits. Ctrl-C stops everything that
it started. Uses the standard library only, because it runs before anything is installed.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

from scripts import azurite, cosmos, install, local_settings, processes
from scripts.processes import ROOT

PLAYGROUND = ROOT / "node_modules" / "@microsoft" / "m365agentsplayground" / "cli.js"
POLICY_FILE = "expiry_policy.toml"
LOOPBACK_ONLY = ROOT / "scripts" / "loopback_only.js"  # the Playground has no option for it
PLAYGROUND_PORT = 26150
OLDEST_FUNC = (4, 15)
FIRST_EPHEMERAL_PORT = 32768  # from here on, any outgoing connection may hold a port


def main() -> None:
    """Runs until a signal, or until the functions or a store end."""
    processes.on_stop_signal(lambda: sys.exit(0))
    python = install.python_packages(ROOT / ".venv")
    install.node_packages()
    settings = read_settings()
    port = port_setting(settings, "PORT", 7071)
    if not is_free(port):
        sys.exit(f"Port {port} is taken: stop what uses it, or set PORT to another one.")
    with ExitStack() as started:
        stores = {"Azurite": start_azurite(settings), "Cosmos DB": start_cosmos(settings)}
        for store in stores.values():
            if store:
                started.callback(processes.stop, store)
        functions = start_functions(python, port)
        started.callback(processes.stop, functions)
        processes.wait_until(
            lambda: answers(port, "/admin/host/status"), functions, within_seconds=120
        )
        playground = None
        if functions.poll() is None:
            end_without_functions(port, functions)
            playground = start_playground(
                port, port_setting(settings, "PLAYGROUND_PORT", PLAYGROUND_PORT)
            )
        if playground:
            started.callback(processes.stop, playground)
        wait_for_an_end(functions, stores, playground)


def read_settings() -> dict[str, str]:
    """Reads local.settings.json, made from the example if missing; the environment wins.

    Raises:
        SystemExit: func could not use the file; in one line.
    """
    file = ROOT / local_settings.NAME
    if not file.exists():
        shutil.copyfile(ROOT / "local.settings.example.json", file)
    settings = local_settings.environment_with(local_settings.read_values(ROOT))
    if settings.get("FUNCTIONS_WORKER_RUNTIME") != "python":
        sys.exit(f'{local_settings.NAME} must have "FUNCTIONS_WORKER_RUNTIME": "python".')
    if (ROOT / POLICY_FILE).exists() and settings.get("ExpiryPolicy") not in (None, POLICY_FILE):
        print(f"{POLICY_FILE} is not used: ExpiryPolicy in {local_settings.NAME} says otherwise.")
    return settings


def end_without_functions(port: int, functions: subprocess.Popen[bytes]) -> None:
    """Ends the run if the app has not started: the host stays up all the same.

    Raises:
        SystemExit: it has not; the line says why.
    """
    status, body = 0, ""

    def has_answered() -> bool:
        nonlocal status, body
        status, body = processes.ask(port, "/api/health")
        return status != 0

    processes.wait_until(has_answered, functions, within_seconds=60)
    if status == HTTPStatus.NOT_FOUND:
        sys.exit("The app has no functions: the lines above say why.")
    try:
        reason = json.loads(body).get("reason")
    except (ValueError, AttributeError):
        reason = None
    if reason:
        sys.exit(f"The app has not started: {reason}.")


def port_setting(settings: dict[str, str], name: str, default: int) -> int:
    """Reads a port number."""
    value = settings.get(name) or str(default)
    if not value.isdecimal() or int(value) not in range(1, 65536):
        sys.exit(f"{name} must be a port number from 1 to 65535.")
    return int(value)


def answers(port: int, path: str) -> bool:
    """Says whether a server on this machine answers a path with 200."""
    answer = processes.get(port, path)
    return answer is not None and answer.status == HTTPStatus.OK


def start_azurite(settings: dict[str, str]) -> subprocess.Popen[bytes] | None:
    """Starts Azurite unless one is running or the settings name other storage."""
    if "UseDevelopmentStorage=true" not in settings.get("AzureWebJobsStorage", ""):
        print("Storage: as AzureWebJobsStorage says.", flush=True)
        return None
    if azurite.answers():
        print("Storage: the Azurite that is running already.", flush=True)
        return None
    print("Storage: starting Azurite, with its data in .azurite.", flush=True)
    return azurite.start(ROOT / ".azurite")


def start_cosmos(settings: dict[str, str]) -> subprocess.Popen[bytes] | None:
    """Starts a Cosmos DB in memory, if the settings name one on this machine and none runs."""
    if settings.get("StateStore") != "cosmos":
        return None
    port = cosmos.port_of(settings.get("CosmosDbEndpoint", ""))
    if port is None:
        print("Cosmos DB: as CosmosDbEndpoint says.", flush=True)
        return None
    if cosmos.answers(port):
        print("Cosmos DB: the one that is running already.", flush=True)
        return None
    print("Cosmos DB: starting one, which forgets everything when it stops.", flush=True)
    return cosmos.start(port)


def start_functions(python: Path, port: int) -> subprocess.Popen[bytes]:
    """Starts the functions. It sets VIRTUAL_ENV as an active environment does: func looks there."""
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "VIRTUAL_ENV": str(python.parent.parent), "PATH": path}
    return processes.start(functions_command(python, port), environment=environment)


def functions_command(python: Path, port: int) -> list[str]:
    """The command of Core Tools, if they work; or the local host's.

    Under a debugger always the local host: a debugger follows only from one Python into another.
    """
    func = None if "debugpy" in sys.modules else find_func()
    if func:
        return [func, "start", "--port", str(port)]
    return [str(python), "-m", "scripts.local_host", "--port", str(port)]


def find_func() -> str | None:
    """The program of Core Tools: the project's own or the machine's, the first that is usable."""
    for folder in (str(ROOT / "node_modules" / ".bin"), None):
        func = shutil.which("func", path=folder)
        if func and is_usable(func):
            return func
    return None


def is_usable(func: str) -> bool:
    """Says whether these are Core Tools that serve this app to this machine only.

    Before 4.14 they listen on every interface and ask for no keys. Version 5 is a preview with
    other commands. npm may have installed func without the program that it should have downloaded.
    """
    version = processes.output([func, "--version"])
    found = re.search(r"^(\d+)\.(\d+)\.", version or "", re.MULTILINE)
    if not found:
        return False
    usable = int(found[1]) == OLDEST_FUNC[0] and int(found[2]) >= OLDEST_FUNC[1]
    if not usable:
        wanted = ".".join(map(str, OLDEST_FUNC))
        print(
            f"func {(version or '').strip()} is not used: it must be {wanted} or newer, and not 5."
            " The project's local host runs instead.",
            flush=True,
        )
    return usable


def start_playground(bot_port: int, port: int) -> subprocess.Popen[bytes] | None:
    """Starts the Agents Playground; if it does not start, the bot still runs."""
    others = range(PLAYGROUND_PORT, FIRST_EPHEMERAL_PORT)
    free = next((p for p in (port, *others) if is_free(p)), port)
    if free != port:
        print(f"Port {port} is taken: the Playground uses {free}.", flush=True)
    bot = f"http://localhost:{bot_port}/api/messages"
    command = ["node", "--require", str(LOOPBACK_ONLY), str(PLAYGROUND), "start"]
    command += ["-e", bot, "-c", "msteams", "-p", str(free)]
    environment = {**os.environ, "TEAMSAPPTESTER_BROWSER": "none"}
    process = processes.start([*command, "--disable-telemetry"], environment=environment)
    try:
        if processes.wait_until(lambda: answers(free, "/_debug/ping"), process, within_seconds=60):
            print(f"\nOpen http://localhost:{free} and chat. Ctrl-C stops everything.", flush=True)
            return process
    except BaseException:
        processes.stop(process)
        raise
    processes.stop(process)
    print(f"The Playground did not start on port {free}. The bot runs at {bot}.", flush=True)
    return None


def is_free(port: int) -> bool:
    """Says whether a port is free on every interface: then localhost means our server only."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError:
        return False
    return True


def wait_for_an_end(
    functions: subprocess.Popen[bytes],
    stores: Mapping[str, subprocess.Popen[bytes] | None],
    playground: subprocess.Popen[bytes] | None,
) -> None:
    """Waits until there is nothing to chat with any more.

    Raises:
        SystemExit: The functions, or a store that was started here, have ended.
    """
    while True:
        if functions.poll() is not None:
            sys.exit(f"The functions have stopped with exit code {functions.returncode}.")
        for name, store in stores.items():
            if store and store.poll() is not None:
                sys.exit(f"{name} has stopped with exit code {store.returncode}.")
        if playground and playground.poll() is not None:
            print("The Playground has stopped; the bot runs on.", flush=True)
            playground = None
        time.sleep(0.5)


if __name__ == "__main__":
    main()
