"""Runs a command with the settings that the app has in Azure, on your machine.

    python -m scripts.with_app_settings python -m shared.cli doctor

azd says which app it is, az what its settings are: sign in to both. The storage is then read with
your own sign-in, as the app's identity exists in Azure only. No setting is shown or stored.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

# They name the app's own identity.
LEFT_OUT = {"AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId"}


def main() -> None:
    """Runs the command and ends with its exit code.

    Raises:
        SystemExit: at the end, or azd or az is missing or fails.
    """
    command = sys.argv[1:]
    if not command:
        sys.exit("Name the command: python -m scripts.with_app_settings COMMAND...")
    if command[0] == "python":
        command[0] = sys.executable
    environment = {**os.environ, **app_settings()}
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


def app_settings() -> Mapping[str, str]:
    """The settings of the app of the chosen azd environment.

    Raises:
        SystemExit: azd or az is missing or fails.
    """
    group, name = (
        output_of("azd", "env", "get-value", each).strip()
        for each in ("AZURE_RESOURCE_GROUP", "AZURE_FUNCTION_NAME")
    )
    listed = ["functionapp", "config", "appsettings", "list", "-g", group, "-n", name, "-o", "json"]
    settings = json.loads(output_of("az", *listed))
    return {each["name"]: each["value"] for each in settings if each["name"] not in LEFT_OUT}


def output_of(program: str, *arguments: str) -> str:
    """What a program prints. What it says of an error is shown.

    Raises:
        SystemExit: it is missing or fails.
    """
    found = shutil.which(program)  # on Windows it may be a .cmd
    if not found:
        sys.exit(f"{program} is missing: docs/deploy.md says where it is to be had.")
    command: Sequence[str] = [found, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{program} {' '.join(arguments)}: it failed, see above.")
    return done.stdout


if __name__ == "__main__":
    main()
