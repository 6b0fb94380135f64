"""What the workflow with the real compiler finds, shown on a stand-in of the compiler.

The stand-in formats by leaving a file as it is, and evaluates a set to what its script says.
"""

import json
import os
from pathlib import Path

import pytest

from tests.infra.__main__ import bicepparam, in_file, in_set, in_snapshot
from tests.infra.sets import ParameterSet

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")

FINE = """#!/bin/sh
case "$1" in
  lint) ;;
  format) cat "$2" ;;
  snapshot) grep -q "param location = 'westeurope'" "$2" || exit 3
    echo '{"predictedResources": [{"type": "a", "n": 1}]}' > "${2%.bicepparam}.snapshot.json" ;;
esac
"""
REFUSES = "#!/bin/sh\necho 'Error: BOT_APP_ID must be its client id.' >&2; exit 1\n"
WARNS = "#!/bin/sh\n[ $1 = lint ] && echo 'a.bicep(1,2) : Warning BCP037: no' >&2 || cat $2\n"
UNFORMATTED = "#!/bin/sh\n[ $1 = lint ] || { cat $2; echo more; }\n"
FAILS = "#!/bin/sh\nexit 1\n"


def stand_in(folder: Path, script: str) -> str:
    file = folder / "bicep"
    file.write_text(script)
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (FINE, []),
        (WARNS, ["a.bicep(1,2) : Warning BCP037: no"]),
        (UNFORMATTED, ["a.bicep: it is not formatted (bicep format)"]),
        (
            FAILS,
            [
                "a.bicep: bicep lint ended with 1",
                "a.bicep: it is not formatted (bicep format)",
            ],
        ),
    ],
    ids=["fine", "warning", "unformatted", "failure"],
)
def test_a_file_is_linted_and_formatted(tmp_path: Path, script: str, said: list[str]) -> None:
    file = tmp_path / "a.bicep"
    file.write_text("param a string\n")
    assert list(in_file(stand_in(tmp_path, script), file)) == said


@pytest.mark.parametrize(
    ("script", "refused_with", "said"),
    [
        (FINE, "", ""),
        (FINE, "BOT_APP_ID", "it is not refused with"),
        (REFUSES, "BOT_APP_ID must be", ""),
        (REFUSES, "AUTH_CLIENT_ID", "it is not refused with"),
        (REFUSES, "", "it cannot be evaluated: Error: BOT_APP_ID"),
    ],
)
def test_a_set_is_evaluated_or_refused(
    tmp_path: Path, script: str, refused_with: str, said: str
) -> None:
    given = ParameterSet("a set", {}, refused_with)
    found = " ".join(in_set(stand_in(tmp_path, script), given))
    assert said in found
    assert bool(said) == bool(found)


def test_what_is_missing_or_too_much_is_named() -> None:
    given = ParameterSet("a set", {}, has=("a", "b|c", "d|e"), has_not=("f", "c"))
    resources = json.dumps(["a", "c"])
    assert list(in_snapshot(given, resources)) == ["a set: d|e is missing", "a set: c is there"]


def test_any_text_is_a_parameter_as_it_is() -> None:
    assert bicepparam({"a": "it's ${b} \\", "n": 5}) == (
        "using './main.bicep'\nparam a = 'it\\'s \\${b} \\\\'\nparam n = 5\n"
    )
