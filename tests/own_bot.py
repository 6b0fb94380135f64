"""The project with another bot: `make test-own-bot` runs `python -m tests.own_bot`.

In a copy of the project it does what README.md ("Put your own dialog in") says: an echo bot stands
in shared/bot, and the sample is deleted with its tests. A folder of the author's own stands beside
shared. There, lint, types and tests must pass. The arguments are pytest's: they say which tests.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bots import echo_bot
from tests.clones import clone_into

SCRIPTS = Path(sys.executable).parent
LINT: list[list[str | Path]] = [
    [SCRIPTS / "ruff", "check", "."],
    [SCRIPTS / "ruff", "format", "--check", "."],
    [SCRIPTS / "mypy"],
    [SCRIPTS / "lint-imports"],
]


def put_own_bot_in(project: Path) -> None:
    """Replace the bot of a copy of the project."""
    shutil.rmtree(project / "shared" / "bot")
    shutil.rmtree(project / "tests" / "sample", ignore_errors=True)  # or its author deleted it
    (project / "shared" / "bot").mkdir()
    shutil.copy(echo_bot.__file__, project / "shared" / "bot" / "__init__.py")
    (project / "own_folder").mkdir()
    (project / "own_folder" / "__init__.py").write_text('"""What the bot\'s author adds."""\n')


def main() -> None:
    """Make the copy, and run everything in it; stops at the first command that fails.

    Raises:
        SystemExit: with the exit code of that command.
    """
    with TemporaryDirectory(prefix="own-bot-") as folder:
        project = Path(folder).resolve()
        clone_into(project)
        put_own_bot_in(project)
        subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
        # .gitignore means folders, and these are links.
        (project / ".git" / "info" / "exclude").write_text(".venv\nnode_modules\n")
        subprocess.run(["git", "add", "--all"], cwd=project, check=True)
        tests: list[str | Path] = [sys.executable, "-m", "pytest", *sys.argv[1:]]
        for command in [*LINT, tests]:
            done = subprocess.run(command, cwd=project, check=False)
            if done.returncode:
                sys.exit(done.returncode)


if __name__ == "__main__":
    main()
