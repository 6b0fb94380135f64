"""Checks of the configuration, each with advice for a failure. No secret is ever printed."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Literal

from aiohttp import ClientError, ClientSession, ClientTimeout

from shared.connector.credentials import CredentialError, TokenSource
from shared.domain.errors import StoreError
from shared.domain.times import CLOCK_SKEW, utc_now
from shared.expiry.status import Schedule, duration, is_recent
from shared.settings import Settings, SettingsError
from shared.settings.expiry import ExpirySettings
from shared.storage.stores import AzureStores


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and advice if it is not ok."""

    level: Literal["ok", "warn", "FAIL"]
    name: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.level:4}  {self.name}: {self.found}"
        return f"{line}\n      -> {self.advice}" if self.advice else line


async def examine(
    settings: Settings, stores: AzureStores, tokens: TokenSource, endpoint: str = ""
) -> AsyncIterator[Finding]:
    """Do all checks, one after the other; an `endpoint` (the messaging endpoint) is checked too."""
    now = utc_now()
    if settings.storage.state_store == "cosmos":
        yield await check_documents(stores)
    if not settings.expires_by_time_to_live_alone:
        yield check_schedule(settings.expiry, now)
        async for finding in _check_storage(settings, stores, now):
            yield finding
    yield await check_credentials(tokens)
    yield await check_endpoint(endpoint)


def check_schedule(settings: ExpirySettings, now: datetime) -> Finding:
    """The interval fits the timeout of conversations."""
    interval = Schedule.of(settings.schedule, now).longest_seconds
    budget = settings.sweep_budget_seconds
    found = f"a sweep every {duration(interval)} at most, each of up to {budget} s"
    shortest = settings.policy.shortest.total_seconds()
    if interval > shortest:
        return Finding(
            "warn",
            "schedule",
            f"{found}; conversations expire after {shortest:.0f} s",
            "make ExpirySchedule run more often: an expiry may be late by a whole interval",
        )
    return Finding("ok", "schedule", found)


async def _check_storage(
    settings: Settings, stores: AzureStores, now: datetime
) -> AsyncIterator[Finding]:
    try:
        probe = await stores.probe_tables()
        store = stores.for_sweeps()
        control, sweeps = await store.control(), await store.sweeps()
    except StoreError as error:
        yield Finding(
            "FAIL",
            "storage",
            str(error),
            "check AzureWebJobsStorage and that the account can be reached from here; an identity"
            " needs the role Storage Table Data Contributor",
        )
        return
    yield Finding("ok", "storage", "a row was written, read and deleted")
    shards, state_store = settings.storage.shards, settings.storage.state_store
    yield check_made_with("shards", "TableShards", shards, control.shard_count)
    yield check_made_with("state store", "StateStore", state_store, control.state_store)
    yield check_clock(probe.began, probe.answered_at, probe.ended)
    if settings.expiry.timer_disabled:
        advice = "fine if it is meant: conversations then expire at their next message only"
        yield Finding("warn", "last sweep", "the timer is off", advice)
        return
    schedule = Schedule.of(settings.expiry.schedule, now)
    if is_recent(sweeps, schedule, settings.expiry.sweep_budget_seconds, now):
        yield Finding("ok", "last sweep", f"{duration((now - sweeps[0].at).total_seconds())} ago")
    else:
        yield Finding(
            "warn",
            "last sweep",
            f"at {sweeps[0].at:%Y-%m-%d %H:%M:%S} UTC" if sweeps else "none is known",
            "see that the app runs, and that AzureWebJobs.expiry_timer.Disabled is not true",
        )


def check_made_with(name: str, setting: str, value: int | str, stored: int | str) -> Finding:
    """The setting has the value that the table was made with."""
    if value == stored:
        return Finding("ok", name, str(stored))
    found = f"{setting} is {value}, the table was made with {stored}"
    return Finding("FAIL", name, found, f"set {setting} to {stored}, or ConversationsTable anew")


def check_clock(began: datetime, answered_at: datetime, ended: datetime) -> Finding:
    """The storage's clock (whole seconds) agrees with ours, read before and after."""
    ahead = began - (answered_at + timedelta(seconds=1))
    behind = answered_at - ended
    off = max(ahead, behind, timedelta(0))
    found = f"{off.total_seconds():.1f} s from the storage's"
    if off <= CLOCK_SKEW:
        return Finding("ok", "clock", found)
    return Finding("FAIL", "clock", found, "set this machine's clock by NTP")


async def check_documents(stores: AzureStores) -> Finding:
    """The containers fit the settings, and a document can be written, read and deleted."""
    try:
        if not await stores.probe_documents():
            return Finding("FAIL", "cosmos", "a document that was written is not there")
    except SettingsError as error:
        return Finding("FAIL", "cosmos", str(error), "change the setting or the container")
    except StoreError as error:
        return Finding(
            "FAIL",
            "cosmos",
            str(error),
            "check CosmosDbEndpoint and CosmosDbAuthKey, and that the account can be reached from"
            " here; an identity needs the role Cosmos DB Built-in Data Contributor",
        )
    return Finding("ok", "cosmos", "documents were written, read and deleted")


async def check_credentials(tokens: TokenSource) -> Finding:
    """The login endpoint gives the bot a token."""
    if not tokens.has_identity:
        return Finding(
            "warn", "credentials", "none", "fine in development; else set MicrosoftAppId"
        )
    try:
        await tokens.token()
    except CredentialError as error:
        return Finding(
            "FAIL",
            "credentials",
            str(error),
            "check MicrosoftAppId, the secret or certificate (may have run out), MicrosoftAppType"
            " and MicrosoftAppTenantId",
        )
    return Finding("ok", "credentials", "a token was issued")


async def check_endpoint(url: str) -> Finding:
    """The messaging endpoint answers, and refuses a caller without a token."""
    name = "endpoint"
    if not url:
        return Finding("warn", name, "not asked", "give --endpoint https://<name>/api/messages")
    began = time.monotonic()
    try:
        timeout = ClientTimeout(total=30)  # a cold start may take a while
        async with (
            ClientSession(timeout=timeout) as http,
            http.post(url, json={}, allow_redirects=False) as answer,
        ):
            status = answer.status
    except (ClientError, TimeoutError, ValueError) as error:
        return Finding(
            "FAIL", name, type(error).__name__, "check the address and that the app runs"
        )
    found = f"{status} in {time.monotonic() - began:.1f} s without a token"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.BAD_REQUEST):
        return Finding("ok", name, found)
    return Finding("FAIL", name, found, "it must be 401 or 400: check the path and the app's log")
