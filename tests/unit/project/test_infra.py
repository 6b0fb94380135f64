"""The Bicep, the workbook and azure.yaml agree with each other and with the app.

There is no Bicep compiler here. pycep parses the files; what a compiler would say of names, of our
own modules' parameters and of their outputs is checked on its trees and on the text.
"""

import json
import re
from pathlib import Path

import pytest

from api_function import ROUTES
from api_function.route import STATE_ROLE, STATUS_ROLE
from scripts import check_parameters, package, wait_for_roles
from shared.settings.cosmos import TIME_TO_LIVE_MARGIN_SECONDS
from shared.settings.expiry import AFTER_BUDGET_SECONDS
from shared.settings.group import MAX_SECONDS
from shared.storage import cosmos_account
from tests.infra.sets import REFUSED, TAKEN, ParameterSet
from tests.unit.project.bicep import (
    INFRA,
    MAIN,
    ROOT,
    app_settings,
    config,
    decorator,
    mistakes_in,
    tree,
    value_of,
)

FILES = sorted(INFRA.rglob("*.bicep"))
WORKBOOK = (INFRA / "workbook.json").read_text(encoding="utf-8")
DEPLOY = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles and
# https://learn.microsoft.com/azure/cosmos-db/nosql/reference-data-plane-security
BUILT_IN_ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "00000000-0000-0000-0000-000000000002": "Cosmos DB Built-in Data Contributor",
}


def queries() -> list[str]:
    of_workbook = [
        item["content"]["query"]
        for item in json.loads(WORKBOOK)["items"]
        if "query" in item["content"]
    ]
    alerts = tree(INFRA / "app/monitoring.bicep")["variables"]["alerts"]["value"]
    return of_workbook + [alert["query"].strip("'\n") for alert in alerts]


def instruments() -> set[str]:
    return set(re.findall(r"\.create_\w+\(\s*\"([^\"]+)\"", source_of_shared()))


def source_of_shared() -> str:
    files = sorted((ROOT / "shared").rglob("*.py"))
    return "".join(file.read_text(encoding="utf-8") for file in files)


def code_of(text: str) -> str:
    """The text without comments and literals; what is interpolated into literals stays."""
    text = re.sub(r"'''.*?'''", " ", text, flags=re.DOTALL)
    text = re.sub(r"(?<!:)//.*", " ", text)
    literal = re.compile(r"'((?:[^'\\\n]|\\.)*)'")
    return literal.sub(lambda found: " ".join(re.findall(r"\$\{(.*?)\}", found[1])), text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_parses_and_describes_its_parameters(file: Path) -> None:
    for name, parameter in tree(file)["parameters"].items():
        assert decorator(parameter, "description"), name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_name_that_is_used_is_declared(file: Path) -> None:
    parts = tree(file)
    declared = {name for part in parts.values() for name in part}
    code = code_of(file.read_text(encoding="utf-8"))
    declared |= set(re.findall(r"\bfor (\w+) in\b", code))
    declared |= {"true", "false", "null", "if", "for", "in", "existing", "array", "object"}
    declared |= {"string", "int", "bool", "targetScope"}
    code = re.sub(r"^\s*#disable-next-line .*", " ", code, flags=re.MULTILINE)
    statement = r"^(?:param|var|resource|module|output|type) \w+(?: \w+(?:\[\])?)?|^@\w+"
    code = re.sub(statement, " ", code, flags=re.MULTILINE)
    used = set(re.findall(r"(?<![\w.?@])(?<!!\.)([A-Za-z_]\w*)\b(?!\s*[(:])", code))
    assert used <= declared


def test_our_own_modules_get_the_parameters_they_have_and_are_asked_for_outputs_they_have() -> None:
    for file in FILES:
        text = code_of(file.read_text(encoding="utf-8"))
        for name, module in tree(file)["modules"].items():
            if module["type"] != "local":
                continue
            callee = tree(file.parent / module["detail"]["path"])
            given = set(config(module)["params"])
            required = {p for p, it in callee["parameters"].items() if it["default"] is None}
            assert required <= given <= set(callee["parameters"]), name
            asked = set(re.findall(rf"\b{name}!?\.outputs\.(\w+)", text))
            assert asked <= set(callee["outputs"]), name


def test_modules_of_the_registry_are_pinned() -> None:
    modules = [module for file in FILES for module in tree(file)["modules"].values()]
    registry = [module["detail"] for module in modules if module["type"] != "local"]
    assert len(registry) >= 8
    for detail in registry:
        assert re.fullmatch(r"avm/res/[\w/-]+", detail["path"])
        assert re.fullmatch(r"\d+\.\d+\.\d+", detail["tag"])


def test_numbers_have_a_least_and_a_most() -> None:
    for name, parameter in tree(MAIN)["parameters"].items():
        if parameter["type"] == "int" and decorator(parameter, "allowed") is None:
            assert decorator(parameter, "min_value") is not None, name
            assert decorator(parameter, "max_value") is not None, name


def test_each_parameter_is_taken_from_a_variable_of_azd_that_the_docs_explain() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    assert set(given) == set(tree(MAIN)["parameters"])
    for name, parameter in given.items():
        variable = re.fullmatch(r"\$\{([A-Z_]+)\}", parameter["value"])
        assert variable, name
        assert f"`{variable[1]}`" in DEPLOY, name


SWITCHES = ({"on", "off"}, {"key", "entra", "off"})


def test_no_parameter_is_one_that_azd_could_take_for_its_default() -> None:
    for name, parameter in tree(MAIN)["parameters"].items():
        assert parameter["type"] in {"string", "int"}, name  # a bool: "on" would be false
        allowed = decorator(parameter, "allowed")
        if allowed and "off" in allowed:
            assert set(allowed) in SWITCHES, name


def test_an_instance_serves_several_requests_at_once() -> None:
    functions = config(tree(MAIN)["modules"]["app"])["params"]["functionAppConfig"]
    http = functions["scaleAndConcurrency"]["triggers"]["http"]
    assert http == {"perInstanceConcurrency": "httpConcurrency"}
    assert tree(MAIN)["parameters"]["httpConcurrency"]["default"] == 16
    assert tree(MAIN)["parameters"]["rollingUpdates"]["default"] == "off"  # a preview


def test_mistakes_stop_everything_before_anything_is_made() -> None:
    group = config(tree(MAIN)["resources"]["group"])["name"]
    assert {"mistakes", "fail"} <= set(re.findall(r"\w+", json.dumps(group)))
    assert mistakes_in() == []


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_parameters_that_cannot_work_together_are_refused(case: ParameterSet) -> None:
    [mistake] = mistakes_in(**case.parameters)
    assert case.refused_with in mistake
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", mistake))
    parameters = json.loads((INFRA / "main.parameters.json").read_text(encoding="utf-8"))
    assert named <= {each["value"].strip("${}") for each in parameters["parameters"].values()}


@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_parameters_that_work_together_are_taken(case: ParameterSet) -> None:
    assert mistakes_in(**case.parameters) == []
    assert set(case.parameters) <= set(tree(MAIN)["parameters"])


def test_a_secret_is_fetched_anew_after_its_rotation() -> None:
    text = MAIN.read_text(encoding="utf-8")
    for name in ("Password", "Certificate"):
        given = f"bot{name}SecretUri"
        expected = f"var {name.lower()}Uri = endsWith({given}, '/') ? {given} : '${{{given}}}/'\n"
        assert expected in text
        assert f"SecretUri=${{{name.lower()}Uri}})" in text


def test_no_module_reports_its_use() -> None:
    for file in FILES:
        for name, module in tree(file)["modules"].items():
            if module["type"] != "local":
                assert config(module)["params"]["enableTelemetry"] is False, name


def test_no_alert_waits_for_a_sweep_that_never_was() -> None:
    alerts = tree(INFRA / "app/monitoring.bicep")["variables"]["alerts"]["value"]
    [missed] = [alert for alert in alerts if alert["name"] == "sweep-missed"]
    assert missed["operator"] == "GreaterThan"  # no row is no alert, so the query has none then
    assert "| where isnotnull(Last)" in missed["query"]
    longest = max(decorator(tree(MAIN)["parameters"]["sweepMissedMinutes"], "allowed"))
    assert missed["range"] == "P2D"
    assert longest < 2 * 24 * 60
    assert all(alert["operator"] == "GreaterThan" for alert in alerts)


def test_roles_are_built_in_ones_and_are_assigned() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    guid = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert set(re.findall(guid, text)) == set(BUILT_IN_ROLES)
    for name, role in tree(MAIN)["variables"]["roles"]["value"].items():
        assert name.lower() == BUILT_IN_ROLES[role].replace(" ", "").lower()
        assert f"roles.{name}" in text


def test_nothing_is_reached_by_a_key() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    assert not re.search(r"list\w*Keys|listConnection|AccountKey|SharedAccess|MasterKey", text)
    assert config(tree(MAIN)["modules"]["storage"])["params"]["allowSharedKeyAccess"] is False
    assert config(tree(MAIN)["modules"]["insights"])["params"]["disableLocalAuth"] is True
    cosmos = config(tree(INFRA / "app/cosmos.bicep")["resources"]["account"])["properties"]
    assert cosmos["disableLocalAuth"] is True
    for name in ("MicrosoftAppPassword", "MicrosoftAppCertificate"):
        assert app_settings()[name].startswith("@Microsoft.KeyVault(SecretUri=${")


def test_the_containers_are_as_the_app_expects_them() -> None:
    parts = tree(INFRA / "app/cosmos.bicep")
    containers = {
        name: config(parts["resources"][name])["properties"]["resource"]
        for name in ("conversations", "users")
    }
    assert parts["variables"]["partitionKey"]["value"]["paths"] == [cosmos_account.PARTITION_KEY]
    indexing = parts["variables"]["indexingPolicy"]["value"]
    assert {name: indexing[name] for name in cosmos_account.INDEXING} == cosmos_account.INDEXING
    for container in containers.values():
        assert container["partitionKey"] == "partitionKey"
        assert container["indexingPolicy"] == "indexingPolicy"
    assert containers["conversations"]["defaultTtl"] == "timeToLive"
    assert "defaultTtl" not in containers["users"]
    assert config(tree(MAIN)["modules"]["cosmos"])["params"]["timeToLive"] == "cosmosTimeToLive"
    assert value_of(app_settings()["CosmosDbTimeToLive"]) != ""
    text = MAIN.read_text(encoding="utf-8")
    default = re.search(r"int = min\(expireAfterSeconds \+ (\d+), (\d+)\)\n", text)
    assert default
    assert int(default[1]) >= TIME_TO_LIVE_MARGIN_SECONDS
    # A default that is computed from another parameter must not leave its own limits.
    most = decorator(tree(MAIN)["parameters"]["cosmosTimeToLive"], "max_value")
    assert int(default[2]) == most == MAX_SECONDS
    assert f"cosmosTimeToLive < expireAfterSeconds + {TIME_TO_LIVE_MARGIN_SECONDS}" in text


def test_the_plan_runs_what_is_packaged_for_as_long_as_a_sweep_may_take() -> None:
    runtime = config(tree(MAIN)["modules"]["app"])["params"]["functionAppConfig"]["runtime"]
    assert runtime == {"name": "python", "version": package.PYTHON}
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = (int(part) for part in host["functionTimeout"].split(":"))
    most = decorator(tree(MAIN)["parameters"]["sweepBudgetSeconds"], "max_value")
    assert most == hours * 3600 + minutes * 60 + seconds - AFTER_BUDGET_SECONDS
    assert host["version"] == "2.0"  # what version 4 of the host reads
    assert host["telemetryMode"] == "OpenTelemetry"
    # Core Tools take a default for the host's own categories, too: some 600 lines at each start.
    assert "default" not in host["logging"]["logLevel"]


def test_azd_deploys_what_the_package_script_builds() -> None:
    text = (ROOT / "azure.yaml").read_text(encoding="utf-8")
    assert f"dist: {(package.BUILD / 'app').relative_to(ROOT).as_posix()}\n" in text
    for script in (package, check_parameters, wait_for_roles):
        assert text.count(f"run: python3 -m {script.__name__}\n") == 1
        assert text.count(f"run: python -m {script.__name__}\n") == 1
    service = re.search(r"^services:\n  (\w+):$", text, flags=re.MULTILINE)
    assert service
    assert f"'azd-service-name': '{service[1]}'" in MAIN.read_text(encoding="utf-8")


def test_queries_name_metrics_and_attributes_that_exist_and_the_workbook_shows_all() -> None:
    named = {name for query in queries() for name in re.findall(r'"(expiry\.[\w.]+)"', query)}
    assert named <= instruments()
    assert {name for name in instruments() if f'\\"{name}\\"' in WORKBOOK} == instruments()
    attributes = {name for q in queries() for name in re.findall(r"customDimensions\.(\w+)", q)}
    assert attributes == {"ended", "outcome", "status", "up_to"}
    sources = source_of_shared()
    for query in queries():
        for value in re.findall(r"(?:[Ee]nded|outcome) (?:==|in) \(?((?:\"\w+\"(?:, )?)+)", query):
            for word in re.findall(r'"(\w+)"', value):
                assert f'"{word}"' in sources, word


def test_queries_name_spans_that_exist() -> None:
    tables = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8").split("| Metric |")[0]
    spans = set(re.findall(r"^\| `(\w+)` \|", tables, flags=re.MULTILINE))
    lists = re.findall(r"Span in \(([^)]*)\)", "".join(queries()))
    assert lists
    for listed in lists:
        assert set(re.findall(r'"(\w+)"', listed)) == spans


def test_the_workbook_is_one_that_the_portal_can_show() -> None:
    items = json.loads(WORKBOOK)["items"]
    names = [item["name"] for item in items]
    assert len(set(names)) == len(names)
    parameters = [item["content"]["parameters"] for item in items if item["type"] == 9]
    assert [p["name"] for group in parameters for p in group] == ["TimeRange"]
    for item in items:
        if item["type"] == 3:
            assert item["content"]["timeContextFromParameter"] == "TimeRange"
            assert item["content"]["resourceType"] == "microsoft.insights/components"
    monitoring = (INFRA / "app/monitoring.bicep").read_text(encoding="utf-8")
    placeholder = re.search(r"loadTextContent\('\.\./workbook\.json'\), '(\w+)'", monitoring)
    assert placeholder
    assert json.loads(WORKBOOK)["fallbackResourceIds"] == [placeholder[1]]


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    runbook = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## Alert: (.+)$", runbook, re.MULTILINE)
    alerts = tree(INFRA / "app/monitoring.bicep")["variables"]["alerts"]["value"]
    assert sorted(sections) == sorted(each["name"].replace("-", " ") for each in alerts)


def test_every_alert_yields_the_column_that_is_compared_and_is_in_the_docs() -> None:
    alerts = tree(INFRA / "app/monitoring.bicep")["variables"]["alerts"]["value"]
    assert len(alerts) == 6
    for alert in alerts:
        assert re.search(r"\b(summarize|project) Value = ", alert["query"]), alert["name"]
        assert f"`{alert['name']}`" in DEPLOY


def test_who_signs_in_needs_a_role_that_the_registration_defines() -> None:
    roles = json.loads((INFRA / "app_roles.json").read_text(encoding="utf-8"))
    assert [role["value"] for role in roles] == [STATE_ROLE, STATUS_ROLE]
    assert len({role["id"] for role in roles}) == len(roles)
    for role in roles:
        assert role["isEnabled"]
        assert role["allowedMemberTypes"] == ["User", "Application"]


def test_each_provisioning_sets_app_service_authentication_and_leaves_channels_alone() -> None:
    configs = config(tree(MAIN)["modules"]["app"])["params"]["configs"]
    assert [each["name"] for each in configs] == ["appsettings", "authsettingsV2"]
    assert configs[1]["properties"] == "authentication"
    text = MAIN.read_text(encoding="utf-8")
    assert "var hasEasyAuth = stateApi == 'entra' || statusPage == 'entra'\n" in text
    authentication = text.partition("var authentication = hasEasyAuth\n")[2].partition("module ")[0]
    excluded = re.search(r"excludedPaths: \[([^\]]*)\]", authentication)
    assert excluded
    is_open = {f"/api/{route.path}" for route in ROUTES if route.is_open}
    assert set(re.findall(r"'([^']+)'", excluded[1])) == is_open | {"/api/messages"}
    assert "requireAuthentication: false" in authentication
    on, _, off = authentication.partition("\n  : {")
    assert ("enabled: true" in on, "enabled: false" in off) == (True, True)


def test_nobody_gets_stored_data_unasked_and_no_client_another_users_id_if_asked() -> None:
    parameters = tree(MAIN)["parameters"]
    assert parameters["stateApi"]["default"] == "off"
    assert {*decorator(parameters["stateApi"], "allowed")} == {"off", "key", "entra"}
    assert {*decorator(parameters["statusPage"], "allowed")} == {"off", "key", "entra"}
    bot = tree(INFRA / "app/bot.bicep")["resources"]
    for name in ("webChat", "directLine"):
        (site,) = config(bot[name])["properties"]["properties"]["sites"]
        assert site["isSecureSiteEnabled"] == "enhancedAuthentication"
        assert site["trustedOrigins"] == "trustedOrigins"
