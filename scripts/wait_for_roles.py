"""Waits until Azure knows a new identity's roles: `python3 -m scripts.wait_for_roles`.

The first upload of a package is refused (403) until the role on the storage has spread, and nothing
but the upload shows that it has. So azd calls this before a deployment, and the first one of an
environment waits. Uses the standard library only.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

# More than 30 s were seen.
WAIT_SECONDS = 120
MARK = "ROLES_WAITED_FOR"


def main() -> None:
    """Waits if this is the first deployment of the app that the environment names."""
    wait(os.environ, time.sleep, run)


def run(command: Sequence[str]) -> None:
    """Runs a command of azd."""
    subprocess.run(command, check=True)


def wait(
    variables: Mapping[str, str],
    sleep: Callable[[float], None],
    run: Callable[[Sequence[str]], None],
) -> None:
    """Waits once for each app, and has azd note that.

    A workflow has no environment that is kept, so it tries again instead of waiting each time.
    """
    app = variables.get("AZURE_FUNCTION_NAME", "")
    if variables.get("CI") or variables.get(MARK) == app:
        return
    print(f"First deployment: {WAIT_SECONDS} s until the storage knows the app's role.", flush=True)
    sleep(WAIT_SECONDS)
    run(["azd", "env", "set", MARK, app])


if __name__ == "__main__":
    main()
