"""`make audit`: the real pip-audit and npm on the real pins, databases of ours."""

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import audit

FINDING = "GHSA-aaaa-bbbb-cccc"
NODE_FINDING = "GHSA-dddd-eeee-ffff"


class NodeRegistry(BaseHTTPRequestHandler):
    """Answers as npm's registry does; it knows of one vulnerability, in every Azurite."""

    def do_POST(self) -> None:
        asked = json.loads(gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))))
        assert "azurite" in asked
        url = f"https://github.com/advisories/{NODE_FINDING}"
        found = {"id": 1, "url": url, "title": "Made up.", "severity": "low"}
        self._answer({"azurite": [{**found, "vulnerable_versions": "*", "cwe": [], "cvss": {}}]})

    def do_GET(self) -> None:
        self._answer({"name": "azurite", "versions": {}})

    def _answer(self, body: object) -> None:
        answer = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class VulnerabilityDatabase(BaseHTTPRequestHandler):
    """Answers as OSV does; it knows of one vulnerability, in every version of tenacity."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        package = json.loads(body)["package"]
        affected = [{"package": package, "ranges": [], "versions": [json.loads(body)["version"]]}]
        found = {"id": FINDING, "summary": "Made up.", "affected": affected}
        answer = json.dumps({"vulns": [found]} if package["name"] == "tenacity" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The registry, named in npm's environment."""
    with ThreadingHTTPServer(("127.0.0.1", 0), NodeRegistry) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
        yield
        server.shutdown()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The database, named on the command line."""
    with ThreadingHTTPServer(("127.0.0.1", 0), VulnerabilityDatabase) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/query"
        monkeypatch.setattr(sys, "argv", ["audit", "--osv-url", url, "--progress-spinner", "off"])
        yield
        server.shutdown()


@pytest.mark.usefixtures("database", "registry")
def test_a_finding_fails_the_audit_until_it_is_accepted_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    accepted = tmp_path / "accepted_findings.toml"
    monkeypatch.setattr(audit, "ACCEPTED", accepted)

    def run() -> tuple[object, str]:
        with pytest.raises(SystemExit) as stopped:
            audit.main()
        output = capfd.readouterr()
        return stopped.value.code, output.out + output.err

    accepted.write_text("[accepted]\n")
    code, output = run()
    assert code == 1
    assert FINDING in output
    assert f"azurite: {NODE_FINDING}: Made up." in output
    accepted.write_text(f'[accepted]\n"{FINDING}" = " "\n')
    assert run()[0] == f"accepted_findings.toml: {FINDING} has no reason."
    findings = f'"{FINDING}" = "It is made up."\n"{NODE_FINDING}" = "This, too."\n'
    accepted.write_text(f"[accepted]\n{findings}")
    code, output = run()
    assert code == 0, output
    assert f"Accepted: {FINDING}: It is made up." in output


def test_an_audit_of_node_that_gets_no_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    (mistake,) = audit.audit_node({})
    assert mistake.startswith("npm audit got no answer")


def test_every_finding_that_is_accepted_has_a_reason() -> None:
    audit.accepted(audit.ACCEPTED)
