"""`webhook_endpoint`: an address that is told of events, and the log of what was sent there."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from luthier.types.common import Request, Response

EventType = Literal[
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "response.completed",
    "response.failed",
    "response.cancelled",
    "response.incomplete",
    "eval.run.succeeded",
    "eval.run.failed",
    "eval.run.canceled",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
MessageStatus = Literal["pending", "delivered", "failed"]

_EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=len(EVENT_TYPES))]
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Url = Annotated[str, Field(min_length=1, max_length=2048)]


class CreateWebhookEndpointRequest(Request):
    event_types: _EventTypes
    name: _Name
    url: _Url


class UpdateWebhookEndpointRequest(Request):
    """Fields that are absent keep their value."""

    event_types: _EventTypes | None = None
    name: _Name | None = None
    url: _Url | None = None


class RotateSecretRequest(Request):
    keep_old_secret_active_for_24_hours: bool = False


class TestWebhookEndpointRequest(Request):
    event_type: EventType


class WebhookEndpoint(Response):
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int
    event_types: list[str]
    name: str
    url: str
    signing_secret_hint: str


class WebhookEndpointWithSecret(WebhookEndpoint):
    """The answer to creation and rotation, the only ones that show the secret."""

    signing_secret: str


class WebhookEndpointDeleted(Response):
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: bool = True


class WebhookEndpointTestResult(Response):
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_type: str
    status_code: int
    success: Literal[True] = True
    webhook_endpoint_id: str


class WebhookEventTypes(Response):
    object: Literal["list"] = "list"
    data: list[EventType] = Field(default_factory=lambda: list(EVENT_TYPES))


class EventData(Response):
    """`id`: of the job, batch, response or run."""

    id: str


class WebhookEvent(Response):
    """The body that an endpoint receives. It tells no more than an id; the receiver fetches the rest."""

    id: str
    object: Literal["event"] = "event"
    created_at: int
    type: EventType
    data: EventData


class WebhookDelivery(Response):
    """One event on its way to one endpoint. `id` is the header `webhook-id`, the same for each attempt.

    `status_code` and `error` are those of the last attempt; `next_attempt_at` is null when no attempt follows.
    """

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str
    event: WebhookEvent
    status: MessageStatus
    attempts: int
    created_at: int
    last_attempt_at: int | None
    next_attempt_at: int | None
    status_code: int | None
    error: str | None
