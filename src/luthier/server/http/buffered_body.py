"""Reads a request body ahead of the application and replays it, for middleware that has to see it."""

from starlette.types import Message, Receive


async def buffer_body(receive: Receive) -> tuple[bytes, Receive]:
    """The complete body, and a `receive` that replays it and continues with the messages after it."""
    body, messages = bytearray(), list[Message]()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            messages.append(message)
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            messages.append({"type": "http.request", "body": bytes(body), "more_body": False})
            break
    return bytes(body), _replay(messages, receive)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    async def replay() -> Message:
        return messages.pop(0) if messages else await receive()

    return replay
