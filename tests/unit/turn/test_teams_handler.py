"""Teams' activities, as they come over the wire: which method of a handler gets them, and what is
answered."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.core.teams import TeamsActivityHandler
from botbuilder.schema.teams import (
    MessagingExtensionResponse,
    MessagingExtensionResult,
    TaskModuleContinueResponse,
    TaskModuleResponse,
    TaskModuleTaskInfo,
)
from msrest.serialization import Model

from shared.connector.inbound import activity_of, json_object
from tests.bot_in_memory import SERVICE_URL, BotInMemory, anonymous

TASK = TaskModuleResponse(task=TaskModuleContinueResponse(value=TaskModuleTaskInfo(title="A form")))
FOUND = MessagingExtensionResponse(compose_extension=MessagingExtensionResult(text="found"))


class Recorder(TeamsActivityHandler):
    """Notes which of its methods are called, and with what; a task or a search gets a result."""

    def __init__(self) -> None:
        self.called: list[tuple[str, list[Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        is_own = name in {"on_turn", "on_invoke_activity"} or name.endswith(
            ("_dispatch", "_activity")
        )
        if not name.startswith("on_") or is_own or name in _DISPATCHERS:
            return super().__getattribute__(name)
        return self._noting(name)

    def _noting(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def note(*given: Any) -> Any:
            self.called.append(
                (name, [each for each in given if not isinstance(each, TurnContext)])
            )
            if name in {"on_teams_file_consent_accept", "on_teams_card_action_invoke"}:
                return InvokeResponse(status=HTTPStatus.OK)
            if "task_module" in name:
                return TASK
            return FOUND if name.endswith("_query") else None

        return note


_DISPATCHERS = {
    "on_turn",
    "on_sign_in_invoke",
    "on_teams_file_consent",
    "on_installation_update",
}


async def given(**fields: Any) -> tuple[list[tuple[str, list[Any]]], InvokeResponse | None]:
    """What a handler was called with for an activity of Teams; and the answer."""
    handler = Recorder()
    body = {
        "id": "1",
        "channelId": "msteams",
        "serviceUrl": SERVICE_URL,
        "timestamp": "2026-11-26T12:00:00Z",
        "conversation": {"id": "19:talk@thread.tacv2"},
        "from": {"id": "29:ann", "aadObjectId": "ann"},
        "recipient": {"id": "28:bot"},
        **fields,
    }
    inbound = activity_of(json_object(json.dumps(body).encode()))
    response = await BotInMemory(handler).turns.take(inbound, anonymous())
    return handler.called, response


def invoke(name: str | None, value: Any = None) -> dict[str, Any]:
    return {"type": "invoke", "name": name, "value": value}


CONSENT = {"action": "accept", "context": {"n": 1}, "uploadInfo": {"name": "a.txt"}}


@pytest.mark.parametrize(
    ("fields", "method", "body"),
    [
        (invoke(None, {"a": 1}), "on_teams_card_action_invoke", None),
        (invoke("fileConsent/invoke", CONSENT), "on_teams_file_consent_accept", None),
        (
            invoke("actionableMessage/executeAction", {"actionId": "7"}),
            "on_teams_o365_connector_card_action",
            None,
        ),
        (
            invoke("composeExtension/queryLink", {"url": "x"}),
            "on_teams_app_based_link_query",
            FOUND,
        ),
        (
            invoke("composeExtension/anonymousQueryLink", {"url": "x"}),
            "on_teams_anonymous_app_based_link_query",
            FOUND,
        ),
        (
            invoke("composeExtension/query", {"commandId": "find"}),
            "on_teams_messaging_extension_query",
            FOUND,
        ),
        (
            invoke("composeExtension/selectItem", {"n": 1}),
            "on_teams_messaging_extension_select_item",
            None,
        ),
        (
            invoke("composeExtension/submitAction", {"commandId": "new"}),
            "on_teams_messaging_extension_submit_action",
            None,
        ),
        (
            invoke(
                "composeExtension/submitAction",
                {"commandId": "n", "botMessagePreviewAction": "edit"},
            ),
            "on_teams_messaging_extension_bot_message_preview_edit",
            None,
        ),
        (
            invoke(
                "composeExtension/submitAction",
                {"commandId": "n", "botMessagePreviewAction": "send"},
            ),
            "on_teams_messaging_extension_bot_message_preview_send",
            None,
        ),
        (
            invoke("composeExtension/fetchTask", {"commandId": "new"}),
            "on_teams_messaging_extension_fetch_task",
            None,
        ),
        (
            invoke("composeExtension/setting", {"state": "x"}),
            "on_teams_messaging_extension_configuration_setting",
            None,
        ),
        (
            invoke("composeExtension/onCardButtonClicked", {"n": 1}),
            "on_teams_messaging_extension_card_button_clicked",
            None,
        ),
        (invoke("task/fetch", {"data": {"n": 1}}), "on_teams_task_module_fetch", TASK),
        (invoke("task/submit", {"data": {"n": 1}}), "on_teams_task_module_submit", TASK),
        (invoke("tab/fetch", {}), "on_teams_tab_fetch", None),
        (invoke("tab/submit", {}), "on_teams_tab_submit", None),
        (invoke("config/fetch", {}), "on_teams_config_fetch", None),
        (invoke("config/submit", {}), "on_teams_config_submit", None),
        (invoke("signin/verifyState", {"state": "123"}), "on_teams_signin_verify_state", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_invoke_reaches_its_method_and_gets_its_result(
    fields: dict[str, Any], method: str, body: Model | None
) -> None:
    called, response = await given(**fields)
    assert [name for name, _ in called] == [method]
    assert response is not None
    assert response.status == HTTPStatus.OK
    assert response.body == (body.serialize() if body else None)


async def test_the_values_of_invokes_come_as_models() -> None:
    (_, (consent,)), *_ = (await given(**invoke("fileConsent/invoke", CONSENT)))[0]
    assert (consent.action, consent.upload_info.name) == ("accept", "a.txt")
    query = {"commandId": "find", "parameters": [{"name": "q", "value": "x"}]}
    (_, (asked,)), *_ = (await given(**invoke("composeExtension/query", query)))[0]
    assert (asked.command_id, asked.parameters[0].value) == ("find", "x")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (invoke("nobody/knows"), HTTPStatus.NOT_IMPLEMENTED),
        (invoke("fileConsent/invoke", {"action": "perhaps"}), HTTPStatus.BAD_REQUEST),
    ],
)
async def test_an_invoke_that_the_handler_refuses_gets_its_status(
    fields: dict[str, Any], status: HTTPStatus
) -> None:
    _, response = await given(**fields)
    assert response is not None
    assert response.status == status


TEAM, CHANNEL = {"id": "19:team"}, {"id": "19:channel", "name": "News"}


def update(event: str) -> dict[str, Any]:
    return {
        "type": "conversationUpdate",
        "channelData": {"eventType": event, "team": TEAM, "channel": CHANNEL},
    }


def event(name: str) -> dict[str, Any]:
    value = {"Id": "m1", "Title": "Stand-up", "lastReadMessageId": "5"}
    return {"type": "event", "name": f"application/vnd.microsoft.{name}", "value": value}


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        (update("channelCreated"), "on_teams_channel_created"),
        (update("channelDeleted"), "on_teams_channel_deleted"),
        (update("channelRenamed"), "on_teams_channel_renamed"),
        (update("channelRestored"), "on_teams_channel_restored"),
        (update("teamArchived"), "on_teams_team_archived"),
        (update("teamDeleted"), "on_teams_team_deleted"),
        (update("teamHardDeleted"), "on_teams_team_hard_deleted"),
        (update("teamRenamed"), "on_teams_team_renamed"),
        (update("teamRestored"), "on_teams_team_restored"),
        (update("teamUnarchived"), "on_teams_team_unarchived"),
        (event("readReceipt"), "on_teams_read_receipt_event"),
        (event("meetingStart"), "on_teams_meeting_start_event"),
        (event("meetingEnd"), "on_teams_meeting_end_event"),
        (event("meetingParticipantJoin"), "on_teams_meeting_participants_join_event"),
        (event("meetingParticipantLeave"), "on_teams_meeting_participants_leave_event"),
        ({"type": "event", "name": "tokens/response"}, "on_token_response_event"),
        ({"type": "event", "name": "orderPlaced"}, "on_event"),
        (
            {"type": "messageUpdate", "channelData": {"eventType": "editMessage"}},
            "on_teams_message_edit",
        ),
        (
            {"type": "messageUpdate", "channelData": {"eventType": "undeleteMessage"}},
            "on_teams_message_undelete",
        ),
        (
            {"type": "messageDelete", "channelData": {"eventType": "softDeleteMessage"}},
            "on_teams_message_soft_delete",
        ),
        ({"type": "messageReaction", "reactionsAdded": [{"type": "like"}]}, "on_reactions_added"),
        (
            {"type": "messageReaction", "reactionsRemoved": [{"type": "like"}]},
            "on_reactions_removed",
        ),
        ({"type": "installationUpdate", "action": "add"}, "on_installation_update_add"),
        ({"type": "installationUpdate", "action": "remove"}, "on_installation_update_remove"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_happens_in_teams_reaches_its_method(
    fields: dict[str, Any], method: str
) -> None:
    called, response = await given(**fields)
    assert [name for name, _ in called] == [method]
    assert response is None


async def test_teams_and_channels_come_as_models() -> None:
    ((_, (channel, team)),), _ = await given(**update("channelCreated"))
    assert (channel.name, team.id) == ("News", "19:team")
    ((_, (reactions,)),), _ = await given(
        type="messageReaction", reactionsAdded=[{"type": "like"}, {"type": "heart"}]
    )
    assert [each.type for each in reactions] == ["like", "heart"]
