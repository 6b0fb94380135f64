"""Runs a command with the settings that `make run` has.

    python -m scripts.with_local_settings python -m shared.cli explain CHANNEL CONVERSATION

They are the values of local.settings.json. If the environment names a storage, that is meant, and
nothing is taken from the file: its tables would be those of another bot.
"""

import os
import subprocess
import sys
from collections.abc import Mapping

from scripts import local_settings
from scripts.processes import ROOT

STORAGE = "AzureWebJobsStorage"


def main() -> None:
    """Runs the command and ends with its exit code.

    Raises:
        SystemExit: at the end, or there are no settings.
    """
    command = sys.argv[1:]
    if not command:
        sys.exit("Name the command: python -m scripts.with_local_settings COMMAND...")
    if command[0] == "python":
        command[0] = sys.executable
    sys.exit(subprocess.run(command, env=environment(), check=False).returncode)


def environment() -> Mapping[str, str]:
    """The environment, with the values of local.settings.json if it names no storage.

    Raises:
        SystemExit: there is neither a storage nor a file, or the file cannot be used.
    """
    if any(value for name, value in os.environ.items() if name.startswith(STORAGE)):
        return os.environ
    values = local_settings.read_values(ROOT)
    if not values:
        sys.exit(
            f"No settings: {STORAGE} is not set, and there is no {local_settings.NAME}."
            " `make run` makes one."
        )
    return local_settings.environment_with({"AZURE_FUNCTIONS_ENVIRONMENT": "Development", **values})


if __name__ == "__main__":
    main()
