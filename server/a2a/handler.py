"""Messages in and messages out: every command is answered at once, so no task is ever kept."""

import json
import uuid
from collections.abc import AsyncGenerator
from typing import NoReturn

from a2a.helpers import new_text_message
from a2a.server.context import ServerCallContext
from a2a.server.events.event_queue import Event
from a2a.server.request_handlers.request_handler import RequestHandler, validate_request_params
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict

from server.a2a.card import MEDIA_TYPES
from server.caco.agent import Agent


class Handler(RequestHandler):
    """Hands the one part of a message to an agent, and its answer back."""

    def __init__(self, agent: Agent) -> None:
        """Serve an agent."""
        self._agent = agent

    @validate_request_params
    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task | Message:
        """Answer a command with a message whose text is JSON."""
        if params.message.task_id:
            raise TaskNotFoundError(f"no task {params.message.task_id[:100]!r}; every message here is answered at once")
        if params.configuration.HasField("task_push_notification_config"):
            raise PushNotificationNotSupportedError
        accepted = params.configuration.accepted_output_modes
        if accepted and not set(accepted) & set(MEDIA_TYPES):
            raise ContentTypeNotSupportedError(f"answers are {' or '.join(MEDIA_TYPES)}; accept one of them")
        text = await self._agent.answer(_command(params.message))
        return new_text_message(text, context_id=params.message.context_id or str(uuid.uuid4()))

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        """Answers do not stream."""
        raise UnsupportedOperationError("answers do not stream; send SendMessage")
        yield

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        """Answers do not stream."""
        raise UnsupportedOperationError("answers do not stream; send SendMessage")
        yield

    @validate_request_params
    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task | None:
        """There are no tasks."""
        raise TaskNotFoundError

    @validate_request_params
    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task | None:
        """There are no tasks."""
        raise TaskNotFoundError

    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """There are no tasks."""
        return ListTasksResponse()

    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Nothing is pushed."""
        _no_push()

    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Nothing is pushed."""
        _no_push()

    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """Nothing is pushed."""
        _no_push()

    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Nothing is pushed."""
        _no_push()

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """The public card says everything."""
        raise UnsupportedOperationError("there is no extended card; the public one says everything")


def _no_push() -> NoReturn:
    raise PushNotificationNotSupportedError


def _command(message: Message) -> str:
    """The command that a message carries as text or as data, as JSON text."""
    if len(message.parts) != 1:
        raise InvalidParamsError(f"{len(message.parts)} parts came; send one command as one text or data part")
    part = message.parts[0]
    if part.media_type and part.media_type not in MEDIA_TYPES:
        raise ContentTypeNotSupportedError(f"{part.media_type[:100]!r} is not read; allowed are {MEDIA_TYPES}")
    match part.WhichOneof("content"):
        case "text":
            return part.text
        case "data":
            try:
                return json.dumps(MessageToDict(part.data))
            except ValueError as error:  # infinity, which JSON cannot carry
                raise InvalidParamsError(str(error)) from error
        case other:
            raise ContentTypeNotSupportedError(f"a part of kind {other} is not read; send text or data")
