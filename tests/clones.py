"""A copy of the project, as somebody who clones it has it."""

import shutil
import subprocess
import sys
from pathlib import Path

from scripts.processes import ROOT


def clone_into(folder: Path) -> None:
    """Copy the project's files to `folder`, with links to what `make install` installs."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, files.decode().split("\0")):
        if (ROOT / name).exists():  # or it was deleted, and that is not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    (folder / ".venv").symlink_to(sys.prefix)
