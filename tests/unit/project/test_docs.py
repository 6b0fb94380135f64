"""The docs name files that exist, link to pages and headings that exist, and have one short map."""

import re
from fnmatch import filter as matching
from pathlib import Path
from subprocess import run

import pytest

from scripts.processes import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# Two screens: the map of the project must be read at once.
MOST_LINES_OF_ARCHITECTURE = 100
MOST_ROWS_OF_WHERE = 13

# The author of a bot may delete the sample; then the docs of ours still name it.
SAMPLE = ("shared/bot/sample", "tests/sample")

# Files that a command makes, or that somebody makes by hand.
MADE = {
    "local.settings.json",
    "appPackage/build/appPackage.zip",
    "expiry_policy.toml",
    "expiry_policy.schema.json",
}

ENDINGS = "bicep|in|json|md|png|py|toml|txt|yml|zip"


def tracked() -> set[str]:
    """The project's files and folders, from its root on."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    files = {Path(name) for name in names if (ROOT / name).exists()}
    return {str(path) for file in files for path in (file, *file.parents)}


def paths_in(text: str, folders: set[str]) -> set[str]:
    """What stands in backticks and means a file or a folder of this project."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    tokens = re.findall(r"`([\w./*-]+?)/?`", prose)
    return {
        token
        for token in tokens
        if re.fullmatch(rf"[\w*-][\w./*-]*\.(?:{ENDINGS})", token)
        or re.fullmatch(r"\w+_function", token)
        or token.partition("/")[0] in folders
    }


def missing(page: Path) -> set[str]:
    """The paths of a page that nothing in the project answers to.

    A name without a folder may be a file anywhere. The table of moved files in docs/upgrade.md has
    old paths in its first column, so that column is left out.
    """
    text = page.read_text("utf-8")
    if page.name == "upgrade.md":
        text = re.sub(r"^\| `[^|]*\|", "|", text, flags=re.MULTILINE)
    known = tracked()
    deleted = tuple(folder for folder in SAMPLE if folder not in known)
    folders = {path for path in known if "/" not in path and (ROOT / path).is_dir()}
    return {
        path
        for path in paths_in(text, folders) - MADE
        if not matching(known, path)
        and ("/" in path or not matching(known, f"*/{path}"))
        and not path.startswith(deleted)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_the_docs_name_exists(page: Path) -> None:
    assert missing(page) == set()


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub makes them into anchors."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_map_fits_on_two_screens() -> None:
    lines = (ROOT / "docs/architecture.md").read_text("utf-8").splitlines()
    assert len(lines) <= MOST_LINES_OF_ARCHITECTURE
    start = lines.index("| To change | look in |") + 2
    rows = [line.startswith("|") for line in lines[start:]]
    assert rows.index(False) <= MOST_ROWS_OF_WHERE


def test_a_path_that_is_gone_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`shared/app.py`, `app.py`, `shared/gone.py`, `gone.toml`, `old_function`")
    assert missing(page) == {"shared/gone.py", "gone.toml", "old_function"}


def names_of_tests(folder: str) -> set[str]:
    """The names of the tests below a folder of tests/."""
    files = sorted((ROOT / "tests" / folder).rglob("test_*.py"))
    texts = "".join(map(Path.read_text, files))
    return set(re.findall(r"^(?:async )?def (test_\w+)", texts, re.MULTILINE))


def test_the_page_of_the_host_has_every_case_of_its_tests_and_no_other() -> None:
    page = (ROOT / "docs" / "host.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named <= names_of_tests("")
    assert names_of_tests("conformance") <= named
    rows = re.findall(r"^\| (?!The host|Core Tools)(?=\S).*$", page, re.MULTILINE)
    known = re.compile(r"\b(run|read|documented)\b")
    assert [row for row in rows if not known.search(row)] == []


def test_the_tests_that_show_what_holds_exist() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    named, defined = set(re.findall(r"`(test_\w+)`", page)), names_of_tests("")
    assert named <= defined, named - defined
    rows = page.partition("\n## What is not")[0].split("|---|---|---|---|\n")[1].splitlines()
    for row in filter(None, rows):
        assert "`test_" in row.split("|")[4], row
