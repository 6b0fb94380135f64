"""Starting, asking and stopping the processes of a local run."""

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def on_stop_signal(action: Callable[[], object]) -> None:
    """Does an action once, on Ctrl-C or the like: more signals must not interrupt the clean-up."""

    def stop_once(_number: int, _frame: FrameType | None) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        action()

    for number in STOP_SIGNALS:
        signal.signal(number, stop_once)


def run(command: Sequence[str | Path]) -> None:
    """Runs a command in the project's folder to its end.

    Raises:
        SystemExit: The command failed or could not be started, in one line.
    """
    line = " ".join(map(str, command))
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f"Could not start `{line}`: {error}")
    try:
        code = process.wait()
    except BaseException:
        stop(process)
        raise
    if code:
        sys.exit(f"`{line}` failed with exit code {code}: see above.")


def succeeds(command: Sequence[str | Path], *, within_seconds: float = 30) -> bool:
    """Says whether a command can be started and ends with exit code 0; its output is dropped."""
    return output(command, within_seconds=within_seconds) is not None


def output(command: Sequence[str | Path], *, within_seconds: float = 30) -> str | None:
    """What a command prints; None if it cannot be started or does not end with exit code 0."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=within_seconds,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def start(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    own_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts a process in the project's folder and returns at once.

    With own_session the process does not get the signals of our process group: neither Ctrl-C nor a
    kill of the group reaches it.
    """
    # Ctrl-C is for us, who stop the others in order: a Python that is still importing when it
    # comes would show a traceback.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=own_session,
        )
    finally:
        signal.signal(signal.SIGINT, handler)


def start_server(
    command: Sequence[str | Path], answers: Callable[[], bool], failure: str
) -> subprocess.Popen[bytes]:
    """Starts a server in a session of its own and waits until it answers.

    Raises:
        SystemExit: It did not within a minute; with the failure, in one line.
    """
    process = start(command, own_session=True)
    try:
        if not wait_until(answers, process, within_seconds=60):
            sys.exit(failure)
    except BaseException:
        stop(process)
        raise
    return process


def stop(process: subprocess.Popen[bytes], *, within_seconds: float = 30) -> None:
    """Asks a process to end, and kills it if it has not done so in time."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def get(port: int, path: str) -> http.client.HTTPResponse | None:
    """Asks an HTTP server on this machine; None means that there is no such server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ask(port: int, path: str) -> tuple[int, str]:
    """The status and the body that an HTTP server on this machine answers; 0 if none does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], *, within_seconds: float
) -> bool:
    """Waits for a started process to be ready; False means that it ended first or took too long."""
    give_up = time.monotonic() + within_seconds
    while process.poll() is None and time.monotonic() < give_up:
        if ready():
            return True
        time.sleep(0.2)
    return False
