import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from PIL import Image

from scripts import processes, teams_package

BOT_ID = "3f1c2b70-6d0e-4c3a-9a53-0d5a0f6c1b2e"
TEAMS_APP_ID = "9b7d4e16-2a55-4f0b-8f0e-6a1c3d2e4f50"
SCHEMAS = processes.ROOT / "node_modules" / "@microsoft" / "app-manifest" / "build" / "json-schemas"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the package is written; the environment names nothing, and there is no azd."""
    package = tmp_path / "build" / "appPackage.zip"
    monkeypatch.setattr(teams_package, "ROOT", tmp_path)
    monkeypatch.setattr(teams_package, "PACKAGE", package)
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n## [1.4.2] - 2026-11-01\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("BOT_ID", "MicrosoftAppId", "BOT_DOMAIN", "TEAMS_APP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["teams_package"])
    return package


@pytest.fixture
def values(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the manifest needs, in the environment that `package` has emptied."""
    monkeypatch.setenv("BOT_ID", BOT_ID)
    monkeypatch.setenv("BOT_DOMAIN", "my-bot.azurewebsites.net")


def manifest_in(package: Path) -> dict[str, Any]:
    with zipfile.ZipFile(package) as archive:
        assert archive.namelist() == ["manifest.json", "color.png", "outline.png"]
        manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
        return manifest


def put_azd_on_path(folder: Path, script: str) -> None:
    azd = folder / "azd"
    azd.write_text(f"#!/bin/sh\n{script}\n")
    azd.chmod(0o755)


def test_the_package_holds_icons_and_the_manifest_filled_in(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MicrosoftAppId", BOT_ID)
    monkeypatch.setenv("BOT_DOMAIN", "my-bot.azurewebsites.net")
    teams_package.main()
    manifest = manifest_in(package)
    assert (manifest["version"], manifest["id"]) == ("1.4.2", BOT_ID)
    assert manifest["validDomains"] == ["my-bot.azurewebsites.net"]
    (bot,) = manifest["bots"]
    assert (bot["botId"], set(bot["scopes"])) == (BOT_ID, {"personal", "team", "groupChat"})
    assert "${{" not in json.dumps(manifest)


@pytest.mark.usefixtures("values")
def test_the_same_content_gives_the_same_bytes(package: Path) -> None:
    teams_package.main()
    first = package.read_bytes()
    teams_package.main()
    assert package.read_bytes() == first


@pytest.mark.usefixtures("values")
def test_an_id_and_a_version_of_its_own_can_be_given(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAMS_APP_ID", TEAMS_APP_ID)
    monkeypatch.setattr(sys, "argv", ["teams_package", "--version", "2.0.0"])
    teams_package.main()
    manifest = manifest_in(package)
    assert (manifest["version"], manifest["id"]) == ("2.0.0", TEAMS_APP_ID)


def test_what_the_environment_lacks_comes_from_azd(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = f'BOT_ID="{BOT_ID}"\nBOT_DOMAIN="from-azd.azurewebsites.net"\nCOUNT=1'
    put_azd_on_path(package.parent.parent, f"/bin/cat <<'END'\n{values}\nEND")
    monkeypatch.setenv("BOT_DOMAIN", "bot.example.org")
    teams_package.main()
    manifest = manifest_in(package)
    assert (manifest["id"], manifest["validDomains"]) == (BOT_ID, ["bot.example.org"])


def test_everything_that_is_missing_or_wrong_is_named_at_once(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_azd_on_path(package.parent.parent, "echo no environment >&2; exit 1")
    monkeypatch.setenv("BOT_DOMAIN", "https://my-bot.azurewebsites.net/api")
    monkeypatch.setattr(sys, "argv", ["teams_package", "--version", "1.0"])
    with pytest.raises(SystemExit) as stopped:
        teams_package.main()
    bot_id, domain, version = str(stopped.value).splitlines()
    assert bot_id.startswith("BOT_ID is missing; it must be the bot's app id")
    assert domain.startswith("BOT_DOMAIN is 'https://my-bot.azurewebsites.net/api'; it must be")
    assert version.startswith("VERSION is '1.0'; it must be")
    assert not package.exists()


@pytest.mark.parametrize(
    ("changelog", "version"),
    [
        ("## Unreleased\n\n## 1.2.3 - 2026-11-25\n\n## 1.2.2\n", "1.2.3"),
        ("## Unreleased\n\n### Added\n\n- 1.0.0 of something.\n", "0.1.0"),
    ],
)
def test_the_version_is_that_of_the_newest_release(changelog: str, version: str) -> None:
    assert teams_package.newest_release(changelog) == version


def test_an_icon_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (96, 96)).save(tmp_path / "color.png")
    (tmp_path / "outline.png").write_bytes(b"GIF89a")
    assert teams_package.wrong_icons(tmp_path) == [
        "appPackage/color.png must be a PNG of 192 x 192 pixels.",
        "appPackage/outline.png must be a PNG of 32 x 32 pixels.",
    ]
    assert teams_package.wrong_icons(teams_package.SOURCE) == []


def test_the_outline_icon_is_white_on_transparent() -> None:
    with Image.open(teams_package.SOURCE / "outline.png") as icon:
        assert icon.mode == "RGBA"
        *colours, alpha = icon.getextrema()
    assert colours == [(255, 255)] * 3
    assert alpha == (0, 255)


@pytest.mark.usefixtures("values")
def test_the_manifest_is_valid_by_the_schema_that_microsoft_publishes(package: Path) -> None:
    teams_package.main()
    manifest = manifest_in(package)
    schema = SCHEMAS / "teams" / f"v{manifest['manifestVersion']}" / "MicrosoftTeams.schema.json"
    validator = Draft4Validator(json.loads(schema.read_text("utf-8-sig")))
    assert [error.message for error in validator.iter_errors(manifest)] == []
    # The schema does refuse: a scope that there is none of.
    manifest["bots"] = [{"botId": BOT_ID, "scopes": ["channel"]}]
    assert not validator.is_valid(manifest)
