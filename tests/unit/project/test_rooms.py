"""What import-linter does not see: which top folder imports which."""

import pytest

from scripts.processes import ROOT
from tests.unit.project.imports import not_linted, packages_imported

FUNCTIONS = [path.name for path in ROOT.glob("*_function")]
OURS = {"function_app", *(path.parent.name for path in ROOT.glob("*/__init__.py"))}


def imported_by(folder: str) -> set[tuple[str, str]]:
    """Each module of the folder with each other top folder of ours that it imports."""
    return {
        (str(file.relative_to(ROOT)), package)
        for file in (ROOT / folder).rglob("*.py")
        for package in packages_imported(file) & (OURS - {folder})
    }


def test_shared_imports_no_other_folder_of_ours() -> None:
    assert {"shared", "scripts", *FUNCTIONS} < OURS
    # The bot's author may have folders beside shared, which only what is theirs imports.
    assert {
        (module, package)
        for module, package in imported_by("shared")
        if not (module.startswith(("shared/bot/", "shared/hooks.py")) and package in not_linted())
    } == set()


@pytest.mark.parametrize("folder", FUNCTIONS)
def test_a_function_folder_imports_shared_and_of_the_others_only_how_to_answer(
    folder: str,
) -> None:
    allowed = {"shared", "api_function"} if folder == "messages_function" else {"shared"}
    assert {package for _, package in imported_by(folder)} <= allowed
