"""Every KQL query of infra and docs, parsed and bound by Kusto's own language service.

It comes with npm, runs on this machine and asks nobody. The tables are those of Application
Insights; only columns that a query may use are listed.
"""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence

import pytest

from tests.unit.project.bicep import INFRA, ROOT, tree

# learn.microsoft.com, "Application Insights telemetry data model", "Azure Monitor Logs reference"
_OF_ALL = {
    "timestamp": "datetime",
    "itemType": "string",
    "itemCount": "int",
    "customDimensions": "dynamic",
    "operation_Id": "string",
    "operation_Name": "string",
    "cloud_RoleName": "string",
    "cloud_RoleInstance": "string",
}
_OF_CALLS = {
    "id": "string",
    "name": "string",
    "duration": "real",
    "success": "string",
    "resultCode": "string",
}
SCHEMA = {
    "customMetrics": {
        **_OF_ALL,
        "name": "string",
        "value": "real",
        "valueCount": "int",
        "valueSum": "real",
        "valueMin": "real",
        "valueMax": "real",
    },
    "dependencies": {**_OF_ALL, **_OF_CALLS, "target": "string", "type": "string"},
    "requests": {**_OF_ALL, **_OF_CALLS, "url": "string"},
    "traces": {**_OF_ALL, "message": "string", "severityLevel": "int"},
    "exceptions": {
        **_OF_ALL,
        "type": "string",
        "outerMessage": "string",
        "severityLevel": "int",
    },
    "Usage": {"TimeGenerated": "datetime", "DataType": "string", "Quantity": "real"},
}
_IN_TEXT = re.compile(rf"`((?:{'|'.join(SCHEMA)}|union) ?\\?\|? [^`]*\|[^`]*)`")


def of_workbook() -> dict[str, str]:
    items = json.loads((INFRA / "workbook.json").read_text(encoding="utf-8"))["items"]
    # The portal fills in what the reader chose.
    return {
        f"workbook {item['name']}": re.sub(r"\{\w+:grain\}", "5m", item["content"]["query"])
        for item in items
        if "query" in item["content"]
    }


def of_alerts() -> dict[str, str]:
    alerts = tree(INFRA / "app/monitoring.bicep")["variables"]["alerts"]["value"]
    return {f"alert {alert['name']}": alert["query"].strip("'\n") for alert in alerts}


def of_docs() -> dict[str, str]:
    found = {}
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^ *```kusto\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
        prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
        spans = [span.replace(r"\|", "|") for span in _IN_TEXT.findall(prose)]  # in a table
        for number, query in enumerate([*blocks, *spans], 1):
            found[f"{page.name} {number}"] = query
    return found


def mistakes_in(queries: Sequence[str]) -> Sequence[list[str]]:
    """What the language service says of each query."""
    done = subprocess.run(
        ["node", str(ROOT / "tests" / "kusto.js")],
        input=json.dumps({"schema": SCHEMA, "queries": queries}),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_every_query_is_one_that_kusto_takes_and_mistakes_are_found() -> None:
    queries: Mapping[str, str] = {**of_workbook(), **of_alerts(), **of_docs()}
    for kind, least in {
        "workbook": 12,
        "alert": 6,
        "deploy.md": 2,
        "first-sub": 4,
        "policy": 1,
    }.items():
        assert sum(name.startswith(kind) for name in queries) >= least, kind
    # One process for all: the language service takes 4 s of a processor to load.
    said = mistakes_in([*queries.values(), *MISTAKEN])
    of_queries, of_mistaken = said[: len(queries)], said[len(queries) :]
    found = dict(zip(queries, of_queries, strict=True))
    assert {name: mistakes for name, mistakes in found.items() if mistakes} == {}
    for expected, mistakes in zip(MISTAKEN.values(), of_mistaken, strict=True):
        assert expected in " ".join(mistakes)


MISTAKEN = {
    "customMetrics | where nam == 'a'": "The name 'nam' does not refer to any known column",
    "customMetric | count": "The name 'customMetric' does not refer to any known table",
    "customMetrics | wher name == 'a'": "Query operator expected.",
    "customMetrics | summarize nosuch(value)": "The name 'nosuch' does not refer to any",
    "customMetrics | where timestamp > 'a'": "operand types datetime and string",
    "traces | summarize sum(message)": "must be summable",
}
