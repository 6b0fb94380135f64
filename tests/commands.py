"""The commands of `shared.cli`, each in a process of its own.

These processes are forks of one that has imported the app already: the import takes more than a
second of a processor, and the commands themselves little. `tests/e2e/test_documented_commands.py`
starts them as the docs say.
"""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.cli.__main__ import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([main.__module__])


async def cli(settings: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Run `python -m shared.cli` with these settings alone; returns its exit code and output."""
    return await asyncio.to_thread(_completed, dict(settings), arguments)


def _completed(settings: Mapping[str, str], arguments: Sequence[str]) -> tuple[int, str]:
    with TemporaryDirectory() as folder:
        output = Path(folder, "output")
        process = _FORKS.Process(target=_run, args=(settings, arguments, output))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, output.read_text()


def _run(settings: Mapping[str, str], arguments: Sequence[str], output: Path) -> None:
    os.environ.clear()
    os.environ.update(settings)
    sys.argv = ["shared.cli", *arguments]
    with output.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    main()
