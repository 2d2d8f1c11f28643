"""Webhooks: each message of the outbox is posted to its endpoint, and again later if that failed."""

import logging
from collections.abc import Collection

from luthier.store import Message
from luthier.types.allowed_hosts import AllowedHosts
from luthier.types.errors import NotFoundError
from luthier.webhooks import DeliveryError, deliver
from luthier.worker.application import LoopTask
from luthier.worker.context import WorkerContext
from luthier.worker.lane import Claim

_log = logging.getLogger(__name__)
_CHECK_S = 0.1  # between checks whether the worker is stopping


class WebhookHandler:
    """An attempt ends well before its lease, so the lease is not renewed."""

    name = "webhooks"
    concurrency = 4

    def __init__(self, context: WorkerContext) -> None:
        self._context, self._outbox = context, context.store.outbox
        self._allowed = AllowedHosts.parse(context.settings.webhook_hosts)

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        message = self._outbox.claim(owner, excluding)
        return Claim(message.id, lambda: self._send(message, owner)) if message else None

    def _send(self, message: Message, owner: str) -> None:
        try:
            stored = self._context.store.webhooks.retrieve(message.destination)
        except NotFoundError:  # deleted meanwhile, and the message with it
            return
        attempt = deliver(stored.endpoint.url, message.id, message.body, stored.secrets, self._allowed)
        task = LoopTask(self._context.application.loop, attempt)
        while not task.wait(_CHECK_S):
            if self._context.stop.is_set():
                task.cancel()
                self._outbox.queue.release(message.id, owner)
                return
        try:
            status_code = task.result()
        except DeliveryError as error:
            self._fail(message, owner, str(error))
            return
        if 200 <= status_code < 300:
            self._outbox.record_delivery(message, owner, status_code)
        else:
            self._fail(message, owner, f"The endpoint answered with status {status_code}.", status_code)

    def _fail(self, message: Message, owner: str, error: str, status_code: int | None = None) -> None:
        _log.warning("webhook %s to %s failed: %s", message.id, message.destination, error)
        self._outbox.record_failure(message, owner, error, status_code)
