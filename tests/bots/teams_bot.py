"""A bot for Teams: dialogs (task modules), a messaging extension, files, meetings and members."""

from typing import Any

from botbuilder.core import CardFactory, MessageFactory, TurnContext
from botbuilder.core.teams import TeamsActivityHandler, TeamsInfo
from botbuilder.schema import HeroCard, Mention
from botbuilder.schema.teams import (
    ChannelInfo,
    FileConsentCardResponse,
    MessagingExtensionAction,
    MessagingExtensionActionResponse,
    MessagingExtensionAttachment,
    MessagingExtensionQuery,
    MessagingExtensionResponse,
    MessagingExtensionResult,
    TaskModuleContinueResponse,
    TaskModuleMessageResponse,
    TaskModuleRequest,
    TaskModuleResponse,
    TaskModuleTaskInfo,
    TeamInfo,
    TeamsChannelAccount,
)

STATE_TYPES = ()


class TeamsBot(TeamsActivityHandler):
    """Answers each invoke with a body; says the rest."""

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        TurnContext.remove_recipient_mention(turn_context.activity)
        sender = turn_context.activity.from_property
        match turn_context.activity.text.strip():
            case "members":
                page: Any = await TeamsInfo.get_paged_members(turn_context)
                await turn_context.send_activity(f"{[each.id for each in page.members]}")
            case "me":
                member = await TeamsInfo.get_member(turn_context, sender.id)
                await turn_context.send_activity(f"You are {member.name}")
            case "team":
                team = await TeamsInfo.get_team_details(turn_context)
                await turn_context.send_activity(f"We are in {team.id}")
            case "mention":
                mention = Mention(mentioned=sender, text=f"<at>{sender.name}</at>", type="mention")
                reply = MessageFactory.text(f"Hello {mention.text}")
                reply.entities = [mention]
                await turn_context.send_activity(reply)
            case "update":
                changed = MessageFactory.text("Updated")
                changed.id = turn_context.activity.reply_to_id
                await turn_context.update_activity(changed)
            case "delete":
                await turn_context.delete_activity(turn_context.activity.reply_to_id)
            case text:
                await turn_context.send_activity(f"You said {text!r}")

    async def on_teams_task_module_fetch(
        self, turn_context: TurnContext, task_module_request: TaskModuleRequest
    ) -> TaskModuleResponse:
        card = CardFactory.hero_card(HeroCard(title=f"{task_module_request.data}"))
        info = TaskModuleTaskInfo(title="A form", height=200, width="medium", card=card)
        return TaskModuleResponse(task=TaskModuleContinueResponse(value=info))

    async def on_teams_task_module_submit(
        self, turn_context: TurnContext, task_module_request: TaskModuleRequest
    ) -> TaskModuleResponse:
        await turn_context.send_activity(f"You sent {task_module_request.data}")
        return TaskModuleResponse(task=TaskModuleMessageResponse(value="Thanks!"))

    async def on_teams_messaging_extension_query(
        self, turn_context: TurnContext, query: MessagingExtensionQuery
    ) -> MessagingExtensionResponse:
        hero = HeroCard(title=query.parameters[0].value)
        found = MessagingExtensionAttachment(
            content_type=CardFactory.content_types.hero_card,
            content=hero,
            preview=CardFactory.hero_card(hero),
        )
        return MessagingExtensionResponse(
            compose_extension=MessagingExtensionResult(
                type="result", attachment_layout="list", attachments=[found]
            )
        )

    async def on_teams_messaging_extension_submit_action(
        self, turn_context: TurnContext, action: MessagingExtensionAction
    ) -> MessagingExtensionActionResponse:
        info = TaskModuleTaskInfo(title=f"{action.command_id}", url="https://form.example")
        return MessagingExtensionActionResponse(task=TaskModuleContinueResponse(value=info))

    async def on_teams_file_consent_accept(
        self, turn_context: TurnContext, file_consent_card_response: FileConsentCardResponse
    ) -> None:
        await turn_context.send_activity(f"Into {file_consent_card_response.upload_info.name}")

    async def on_teams_meeting_start_event(self, meeting: Any, turn_context: TurnContext) -> None:
        await turn_context.send_activity(f"{meeting['Title']} begins")

    async def on_teams_members_added(
        self,
        teams_members_added: list[TeamsChannelAccount],
        team_info: TeamInfo,
        turn_context: TurnContext,
    ) -> None:
        for member in teams_members_added:
            await turn_context.send_activity(f"Welcome to the team {member.name}")

    async def on_teams_channel_renamed(
        self, channel_info: ChannelInfo, team_info: TeamInfo, turn_context: TurnContext
    ) -> None:
        await turn_context.send_activity(f"{channel_info.name} is the new name")


def create_bot(*_: object) -> TeamsBot:
    return TeamsBot()
