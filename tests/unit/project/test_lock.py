"""Pins agree with what is asked for. No network: it is about a forgotten `make lock`."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import FILES
from scripts.processes import ROOT

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def asked_for(file: Path) -> list[Requirement]:
    """The requirements in a file that a person writes."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [
        Requirement(line) for line in lines if line and not line.startswith(("#", "-r ", "-c "))
    ]


def pinned(file: Path) -> list[tuple[Requirement, str]]:
    """The pins in a file that uv writes, each with the rest of its entry: hashes and origin."""
    text = file.read_text()
    entries = re.findall(r"^(\w[^\n\\]*) \\\n((?:    [^\n]*\n?)*)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\w", text, re.MULTILINE)), "an entry has no hash"
    return [(Requirement(pin), rest) for pin, rest in entries]


def stale(source: Path, lock: Path) -> list[str]:
    """Names what a lock file does not have as its source says."""
    entries = pinned(lock)
    mistakes = []
    requirements = asked_for(source)
    for wanted in requirements:
        name = canonicalize_name(wanted.name)
        for python in PYTHONS:
            environment = {"python_version": python, "python_full_version": f"{python}.0"}
            if wanted.marker and not wanted.marker.evaluate(environment):
                continue
            versions = [
                next(iter(pin.specifier)).version
                for pin, _ in entries
                if canonicalize_name(pin.name) == name
                and (not pin.marker or pin.marker.evaluate(environment))
            ]
            if len(versions) != 1 or versions[0] not in wanted.specifier:
                mistakes.append(f"{wanted} on {python}: {versions}")
    names = {canonicalize_name(wanted.name) for wanted in requirements}
    direct = {canonicalize_name(pin.name) for pin, rest in entries if f"-r {source.name}" in rest}
    return mistakes + [f"{name} is not asked for" for name in sorted(direct - names)]


@pytest.mark.parametrize("name", FILES)
def test_the_pins_are_what_is_asked_for_so_make_lock_was_run(name: str) -> None:
    assert stale(ROOT / f"{name}.in", ROOT / f"{name}.txt") == []


def test_development_runs_on_the_pins_that_are_deployed() -> None:
    deployed, development = (
        {(str(pin), re.sub(r"\n    #.*", "", rest)) for pin, rest in pinned(ROOT / f"{name}.txt")}
        for name in ("requirements", "requirements-dev")
    )
    assert deployed <= development


def test_the_package_is_built_by_the_uv_of_development() -> None:
    uv = [
        {str(pin) for pin, _ in pinned(ROOT / f"{name}.txt") if pin.name == "uv"}
        for name in ("requirements-dev", "requirements-build")
    ]
    assert uv[0] == uv[1] != set()


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (("aiohttp~=3.14", "aiohttp~=3.99"), "aiohttp~=3.99 on 3.11: ['3."),
        (("tenacity~=9.1\n", ""), "tenacity is not asked for"),
        (("urllib3>=2\n", "urllib3>=2\ntrustme\n"), "trustme on 3.11: []"),
    ],
)
def test_a_forgotten_make_lock_is_noticed(
    tmp_path: Path, change: tuple[str, str], mistake: str
) -> None:
    source = tmp_path / "requirements.in"
    source.write_text((ROOT / "requirements.in").read_text().replace(*change))
    assert any(found.startswith(mistake) for found in stale(source, ROOT / "requirements.txt"))
