"""The command line: `python -m scripts.local_host [FOLDER] [--port PORT] ...`."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from scripts import local_host, local_settings
from scripts.local_host.host import Keys, LocalHost
from scripts.processes import ROOT, on_stop_signal


def main() -> None:
    """Reads the command line and runs the app of a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.local_host", description=local_host.__doc__
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="of function_app.py")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 7071))
    parser.add_argument(
        "--keys", nargs=2, metavar=("KEY", "MASTER"), help="ask callers for these keys"
    )
    parser.add_argument(
        "--like-flex",
        action="store_true",
        help="a process for each group of functions, as on Flex Consumption",
    )
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    on_stop_signal(lambda: sys.exit(0))  # until the host runs, and stops in order
    logging.basicConfig(level=logging.INFO, format=local_host.LOG_FORMAT, stream=sys.stdout)
    logging.getLogger("azure").setLevel(logging.WARNING)  # it logs every request
    values = local_settings.read_values(folder)
    os.environ.update(
        local_settings.environment_with({"AZURE_FUNCTIONS_ENVIRONMENT": "Development", **values})
    )
    keys = Keys(*arguments.keys) if arguments.keys else None
    asyncio.run(_run(folder, keys, arguments.port, like_flex=arguments.like_flex))


async def _run(folder: Path, keys: Keys | None, port: int, *, like_flex: bool) -> None:
    has_debugger = "debugpy" in sys.modules
    await LocalHost(folder, keys, like_flex=like_flex, has_debugger=has_debugger).run(port)


if __name__ == "__main__":
    main()
