"""`/v1/webhook_endpoints` and `/v1/webhook_event_types`; Luthier's own: `/deliveries`, the log of an endpoint."""

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.concurrency import run_in_threadpool

from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import list_page
from luthier.server.state import StateDep
from luthier.store import Message, Page, StoredEndpoint
from luthier.types.allowed_hosts import AllowedHosts
from luthier.types.common import ListPage, now
from luthier.types.errors import BadRequestError
from luthier.types.ids import new_id
from luthier.types.webhooks import (
    CreateWebhookEndpointRequest,
    EventData,
    RotateSecretRequest,
    TestWebhookEndpointRequest,
    UpdateWebhookEndpointRequest,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointDeleted,
    WebhookEndpointTestResult,
    WebhookEndpointWithSecret,
    WebhookEvent,
    WebhookEventTypes,
)
from luthier.webhooks import DeliveryError, check_url, deliver

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=StrictRoute)
_Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/webhook_event_types")
def event_types() -> WebhookEventTypes:
    return WebhookEventTypes()


@router.post("/webhook_endpoints")
def create(body: CreateWebhookEndpointRequest, state: StateDep) -> WebhookEndpointWithSecret:
    check_url(body.url, _allowed_hosts(state))
    return _with_secret(state.store.webhooks.create(name=body.name, url=body.url, event_types=body.event_types))


@router.get("/webhook_endpoints")
def list_endpoints(state: StateDep, limit: _Limit = 20, after: str | None = None) -> ListPage[WebhookEndpoint]:
    return list_page(state.store.webhooks.list(limit=limit, after=after))


@router.get("/webhook_endpoints/{webhook_endpoint_id}")
def retrieve(webhook_endpoint_id: str, state: StateDep) -> WebhookEndpoint:
    return state.store.webhooks.retrieve(webhook_endpoint_id).endpoint


@router.post("/webhook_endpoints/{webhook_endpoint_id}")
def update(webhook_endpoint_id: str, body: UpdateWebhookEndpointRequest, state: StateDep) -> WebhookEndpoint:
    if body.url is not None:
        check_url(body.url, _allowed_hosts(state))
    return state.store.webhooks.update(webhook_endpoint_id, **body.model_dump(exclude_none=True)).endpoint


@router.delete("/webhook_endpoints/{webhook_endpoint_id}")
def delete(webhook_endpoint_id: str, state: StateDep) -> WebhookEndpointDeleted:
    state.store.webhooks.delete(webhook_endpoint_id)
    return WebhookEndpointDeleted(id=webhook_endpoint_id)


@router.post("/webhook_endpoints/{webhook_endpoint_id}/rotate_secret")
def rotate_secret(
    webhook_endpoint_id: str,
    state: StateDep,
    body: Annotated[RotateSecretRequest, Body(default_factory=RotateSecretRequest)],
) -> WebhookEndpointWithSecret:
    keep_old = body.keep_old_secret_active_for_24_hours
    return _with_secret(state.store.webhooks.rotate_secret(webhook_endpoint_id, keep_old=keep_old))


@router.post("/webhook_endpoints/{webhook_endpoint_id}/test")
async def send_test(
    webhook_endpoint_id: str, body: TestWebhookEndpointRequest, state: StateDep
) -> WebhookEndpointTestResult:
    """Sends a sample event once, bypassing the outbox. Raises BadRequestError if there is no response."""
    stored = await run_in_threadpool(state.store.webhooks.retrieve, webhook_endpoint_id)
    sample = EventData(id=f"{body.event_type.rpartition('.')[0].replace('.', '_')}_test")
    event = WebhookEvent(id=new_id("evt_", 32), created_at=now(), type=body.event_type, data=sample)
    try:
        status_code = await deliver(
            stored.endpoint.url, new_id("wh_", 32), event.model_dump(), stored.secrets, _allowed_hosts(state)
        )
    except DeliveryError as error:
        message = f"The test event could not be sent to {stored.endpoint.url}. {error}"
        raise BadRequestError(message, param="url", code="webhook_not_sent") from error
    return WebhookEndpointTestResult(
        event_type=body.event_type, status_code=status_code, webhook_endpoint_id=webhook_endpoint_id
    )


@router.get("/webhook_endpoints/{webhook_endpoint_id}/deliveries")
def list_deliveries(
    webhook_endpoint_id: str, state: StateDep, limit: _Limit = 20, after: str | None = None
) -> ListPage[WebhookDelivery]:
    """Events that were sent to the endpoint, or wait to be, newest first."""
    endpoint = state.store.webhooks.retrieve(webhook_endpoint_id).endpoint
    page = state.store.outbox.list(endpoint.id, limit=limit, after=after)
    return list_page(Page([_delivery(message) for message in page.data], page.has_more))


def _allowed_hosts(state: StateDep) -> AllowedHosts:
    return AllowedHosts.parse(state.settings.webhook_hosts)


def _with_secret(stored: StoredEndpoint) -> WebhookEndpointWithSecret:
    return WebhookEndpointWithSecret(**stored.endpoint.model_dump(), signing_secret=stored.secrets[0])


def _delivery(message: Message) -> WebhookDelivery:
    shared = {name: getattr(message, name) for name in WebhookDelivery.model_fields if hasattr(message, name)}
    return WebhookDelivery(**shared, webhook_endpoint_id=message.destination, event=WebhookEvent(**message.body))
