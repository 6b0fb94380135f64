"""`python -m shared.cli doctor` and `status`, and what the running app says of its health."""

from pathlib import Path
from uuid import uuid4

from aiohttp import ClientSession

from tests.commands import cli
from tests.e2e.running_bot import RunningBot, in_cosmos, running_bot


async def test_a_good_configuration_passes_every_check(
    bot: RunningBot, settings: dict[str, str]
) -> None:
    code, output = await cli(settings, "doctor", "--endpoint", f"{bot.url}/api/messages")
    assert code == 0, output
    levels = {
        line[6:].split(":")[0]: line[:4].strip() for line in output.splitlines() if line[0] != " "
    }
    assert levels == {
        "settings": "ok",
        "schedule": "warn",  # the bot of these tests sweeps by hand
        "storage": "ok",
        "shards": "ok",
        "state store": "ok",
        "clock": "ok",
        "last sweep": "warn",
        "credentials": "warn",
        "endpoint": "ok",
    }


async def test_cosmos_is_checked_too_and_alone_without_the_tables(
    settings: dict[str, str], cosmos_endpoint: str
) -> None:
    changed = settings | in_cosmos(cosmos_endpoint, ConversationsTable=f"c{uuid4().hex}")
    code, output = await cli(changed, "doctor")
    assert (code, "ok    cosmos: documents were written" in output) == (0, True)
    assert "ok    storage" in output
    code, output = await cli(
        changed
        | in_cosmos("https://127.0.0.1:9/")
        | {"AzureWebJobs.expiry_timer.Disabled": "true", "CosmosDbAuthKey": "c2VjcmV0"},
        "doctor",
    )
    assert code == 1
    assert "FAIL  cosmos" in output
    assert "check CosmosDbEndpoint" in output
    assert "storage" not in output
    assert "c2VjcmV0" not in output


async def test_each_failure_comes_with_advice_and_no_secret(settings: dict[str, str]) -> None:
    port = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;"
    nowhere = f"{port}TableEndpoint=http://127.0.0.1:1/a;"
    code, output = await cli({**settings, "AzureWebJobsStorage": nowhere}, "doctor")
    assert code == 1
    assert "FAIL  storage" in output
    assert "check AzureWebJobsStorage" in output
    assert "c2VjcmV0" not in output
    code, output = await cli({**settings, "TableShards": "x"}, "doctor")
    assert (code, "FAIL  settings: TableShards" in output) == (1, True)
    for name in ("Texts", "SendingLimits"):  # the files that they name are read, too
        code, output = await cli({**settings, name: "nowhere.toml"}, "doctor")
        assert (code, f"FAIL  settings: {name} is" in output) == (1, True)


async def test_the_app_is_ready_once_a_sweep_has_run_and_status_says_so(
    bot: RunningBot, settings: dict[str, str]
) -> None:
    await bot.sweep()
    async with ClientSession(bot.url) as http:
        async with http.get("/api/health/live") as answer:
            assert answer.status == 200
        async with http.get("/api/health") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        async with http.get("/api/expiry", headers={"Accept": "application/json"}) as answer:
            facts = await answer.json()
    assert (facts["headline"], len(facts["sweeps"])) == ("Everything expires on time", 1)
    code, output = await cli(settings, "status")
    assert (code, output.splitlines()[0]) == (0, "Everything expires on time")


async def test_an_app_whose_timer_is_off_is_ready_without_a_sweep(
    settings: dict[str, str], tmp_path: Path
) -> None:
    changed = settings | {"AzureWebJobs.expiry_timer.Disabled": "true"}
    async with running_bot(changed, tmp_path) as bot, ClientSession(bot.url) as http:
        async with http.get("/api/health") as answer:
            assert answer.status == 200
        async with http.get("/api/expiry", params={"format": "json"}) as answer:
            facts = await answer.json()
    assert (facts["health"], facts["timer"]) == ("warn", "off")
