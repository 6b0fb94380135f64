"""Runs the compiler: `python -m tests.infra`. See the package."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.infra.sets import REFUSED, TAKEN, ParameterSet

INFRA = Path(__file__).parents[2] / "infra"
# Where `az bicep install` puts it.
_PLACES = (shutil.which("bicep"), Path.home() / ".azure" / "bin" / "bicep")
_SOMEWHERE = {
    "subscription-id": "33333333-3333-3333-3333-333333333333",
    "tenant-id": "44444444-4444-4444-4444-444444444444",
    "location": "westeurope",
}


def main() -> None:
    """Prints each mistake.

    Raises:
        SystemExit: 1 if there is a mistake, or no compiler.
    """
    bicep = next((str(place) for place in _PLACES if place and Path(place).exists()), "")
    if not bicep:
        sys.exit("There is no bicep: az bicep install.")
    files = sorted(INFRA.rglob("*.bicep"))
    mistakes = [mistake for file in files for mistake in in_file(bicep, file)]
    for each in (*TAKEN, *REFUSED):
        mistakes += in_set(bicep, each)
    counted = f"{len(files)} files, {len(TAKEN) + len(REFUSED)} sets, {len(mistakes)} mistakes"
    sys.stdout.write("\n".join([*mistakes, counted, ""]))
    sys.exit(1 if mistakes else 0)


def in_file(bicep: str, file: Path) -> Iterator[str]:
    """What the compiler, the linter and the formatter say of a file."""
    linted = subprocess.run([bicep, "lint", file], capture_output=True, text=True, check=False)
    said = re.findall(r"^.*\b(?:Error|Warning)\b.*$", linted.stdout + linted.stderr, re.MULTILINE)
    yield from said
    if linted.returncode and not said:
        yield f"{file.name}: bicep lint ended with {linted.returncode}"
    formatted = subprocess.run(
        [bicep, "format", file, "--stdout"], capture_output=True, text=True, check=False
    )
    if formatted.stdout.strip() != file.read_text(encoding="utf-8").strip():
        yield f"{file.name}: it is not formatted (bicep format)"


def in_set(bicep: str, given: ParameterSet) -> Iterator[str]:
    """What is wrong with what a set of parameters makes, or with how it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "infra"
        shutil.copytree(INFRA, copy)
        parameters = {"environmentName": "test", "location": "westeurope", **given.parameters}
        (copy / "set.bicepparam").write_text(bicepparam(parameters), encoding="utf-8")
        options = [part for name, value in _SOMEWHERE.items() for part in (f"--{name}", value)]
        done = subprocess.run(
            [bicep, "snapshot", copy / "set.bicepparam", "--mode", "overwrite", *options],
            capture_output=True,
            text=True,
            check=False,
        )
        made = copy / "set.snapshot.json"
        snapshot = json.loads(made.read_text(encoding="utf-8")) if made.exists() else None
    said = done.stdout + done.stderr
    if given.refused_with:
        if not done.returncode or given.refused_with not in said:
            yield f"{given}: it is not refused with {given.refused_with!r}: {said}"
    elif done.returncode or snapshot is None:
        yield f"{given}: it cannot be evaluated: {said}"
    else:
        yield from in_snapshot(given, json.dumps(snapshot["predictedResources"], indent=1))


def in_snapshot(given: ParameterSet, resources: str) -> Iterator[str]:
    """What the resources lack, or have too much. A word with | is one of several."""
    for word in given.has:
        if not any(each in resources for each in word.split("|")):
            yield f"{given}: {word} is missing"
    for word in given.has_not:
        if word in resources:
            yield f"{given}: {word} is there"


def bicepparam(parameters: dict[str, str | int]) -> str:
    """A file of parameters."""
    lines = ["using './main.bicep'"]
    for name, value in parameters.items():
        text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
        literal = text if isinstance(value, int) else f"'{text}'"
        lines.append(f"param {name} = {literal}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
