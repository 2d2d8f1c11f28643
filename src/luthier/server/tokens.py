"""The one bridge from engines, which are threads, to the server, which is async."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from luthier.inference import Token, TokenStream


async def tokens_of(streams: Sequence[TokenStream]) -> AsyncIterator[tuple[int, Token | None]]:
    """(which stream, its token) as they come; None once that stream has ended. Raises what an engine raises.

    Whoever stops listening, or is cancelled while waiting, cancels the streams, which frees their slots.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[int, Token | Exception | None]] = asyncio.Queue()

    def hand_over(index: int, item: Token | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has ended and nobody listens
            loop.call_soon_threadsafe(arrived.put_nowait, (index, item))

    def listen(index: int, stream: TokenStream) -> None:
        try:
            for token in stream:
                hand_over(index, token)
            hand_over(index, None)
        except Exception as error:
            hand_over(index, error)

    # A thread for each answer, at most as many as the engine's queue holds: they wait, and starve nobody else.
    for index, stream in enumerate(streams):
        threading.Thread(target=listen, args=(index, stream), name="luthier-tokens", daemon=True).start()
    try:
        under_way = len(streams)
        while under_way:
            index, item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            under_way -= item is None
            yield index, item
    finally:
        for stream in streams:
            stream.cancel()
