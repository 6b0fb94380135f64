"""Makes the package for Teams: `python -m scripts.teams_package [--version 1.2.3]`.

Fills in the placeholders of appPackage/manifest.json and puts it, with the icons beside it, into
appPackage/build/appPackage.zip. The environment has the values; if azd is on PATH, missing ones
come from the selected azd environment. Uses the standard library only.
"""

import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from scripts.processes import ROOT

SOURCE = ROOT / "appPackage"
PACKAGE = SOURCE / "build" / "appPackage.zip"

# Pixels, as Teams demands. Source: learn.microsoft.com, "App icons" of Microsoft Teams.
ICONS = {"color.png": 192, "outline.png": 32}

GUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", re.IGNORECASE)
VERSION = re.compile(r"\d+\.\d+\.\d+")
VERSION_BEFORE_THE_FIRST_RELEASE = "0.1.0"


def main() -> None:
    """Reads the command line and writes the package.

    Raises:
        SystemExit: values are missing or wrong, or Teams does not take an icon; each is named.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.teams_package", description=__doc__)
    parser.add_argument("--version", help="by default that of CHANGELOG.md's newest release")
    given = parser.parse_args().version
    version = given or newest_release((ROOT / "CHANGELOG.md").read_text("utf-8"))
    values, mistakes = fill_ins({**azd_values(), **os.environ}, version)
    mistakes += wrong_icons(SOURCE)
    if mistakes:
        sys.exit("\n".join(mistakes))
    manifest = filled(json.loads((SOURCE / "manifest.json").read_text("utf-8")), values)
    write(PACKAGE, json.dumps(manifest, indent=2, ensure_ascii=False))
    print(f"{PACKAGE.relative_to(ROOT)}: version {version}, bot {values['BOT_ID']}.")
    if ".example.com" in json.dumps(manifest):
        print("Before others get it: put your own name and links under developer in manifest.json.")


def azd_values() -> dict[str, str]:
    """Reads the selected azd environment; empty if there is no azd or no environment."""
    azd = shutil.which("azd")
    if not azd:
        return {}
    command = [azd, "env", "get-values", "--cwd", str(ROOT), "--no-prompt"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: value.strip('"') for name, _, value in pairs}


def newest_release(changelog: str) -> str:
    """Reads the version of the first release in a changelog."""
    release = re.search(rf"^## \[?({VERSION.pattern})\b", changelog, re.MULTILINE)
    return release[1] if release else VERSION_BEFORE_THE_FIRST_RELEASE


def fill_ins(settings: Mapping[str, str], version: str) -> tuple[dict[str, str], list[str]]:
    """Finds the value of each placeholder; returns the values and the mistakes in them."""
    bot_id = settings.get("BOT_ID") or settings.get("MicrosoftAppId", "")
    values = {
        "BOT_ID": bot_id,
        # The bot's own id fits: it must be unique, and never change.
        "TEAMS_APP_ID": settings.get("TEAMS_APP_ID") or bot_id,
        "BOT_DOMAIN": settings.get("BOT_DOMAIN", ""),
        "VERSION": version,
    }
    wanted = {
        "BOT_ID": (GUID, "the bot's app id, a GUID (MicrosoftAppId will do)"),
        "TEAMS_APP_ID": (GUID, "the id of the app in Teams, a GUID; by default the bot's"),
        "BOT_DOMAIN": (DOMAIN, "the app's host name, as my-bot.azurewebsites.net"),
        "VERSION": (VERSION, "three numbers, as 1.2.3 (--version)"),
    }
    mistakes = []
    for name, (pattern, must_be) in wanted.items():
        value = values[name]
        if name == "TEAMS_APP_ID" and value == bot_id:
            continue  # said once
        if not pattern.fullmatch(value):
            was = f"is {value!r}" if value else "is missing"
            mistakes.append(f"{name} {was}; it must be {must_be}.")
    return values, mistakes


def wrong_icons(folder: Path) -> list[str]:
    """Names the icons that Teams would refuse for their size."""
    mistakes = []
    for name, side in ICONS.items():
        # A PNG's signature, then the header chunk with width and height.
        start = (folder / name).read_bytes()[:24]
        is_png = len(start) == 24 and start.startswith(b"\x89PNG\r\n\x1a\n")  # noqa: PLR2004 - see above
        if not is_png or struct.unpack(">II", start[16:]) != (side, side):
            mistakes.append(f"appPackage/{name} must be a PNG of {side} x {side} pixels.")
    return mistakes


def filled(part: object, values: Mapping[str, str]) -> object:
    """Fills in every ${{NAME}}, in the notation of the Microsoft 365 Agents Toolkit."""
    if isinstance(part, dict):
        return {name: filled(value, values) for name, value in part.items()}
    if isinstance(part, list):
        return [filled(value, values) for value in part]
    if isinstance(part, str):
        return re.sub(r"\$\{\{(\w+)\}\}", lambda match: values[match[1]], part)
    return part


def write(package: Path, manifest: str) -> None:
    """Writes the package: the same bytes for the same content."""
    package.parent.mkdir(exist_ok=True)
    files = {"manifest.json": manifest.encode()}
    files |= {name: (SOURCE / name).read_bytes() for name in ICONS}
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
