"""The status of a response, for middleware that reports on requests."""

from starlette.types import Message, Send


class StatusRecorder:
    """Passes messages on to `send`; `status` is 0 until the response has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
