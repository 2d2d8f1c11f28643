"""The one bridge from engines, which are threads, to the server, which is async."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from functools import partial

from luthier.inference import Token, TokenStream


async def tokens_of(streams: Sequence[TokenStream]) -> AsyncGenerator[tuple[int, Token | None]]:
    """(which stream, its token) as they come; None once that stream has ended. Raises what an engine raises.

    Whoever stops listening, or is cancelled while waiting, cancels the streams, which frees their slots.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[int, Token | Exception | None]] = asyncio.Queue()

    def hand_over(index: int, item: Token | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has ended and nobody listens
            loop.call_soon_threadsafe(arrived.put_nowait, (index, item))

    # A thread for each answer, at most as many as the engine's queue holds: they wait, and starve nobody else.
    for index, stream in enumerate(streams):
        threading.Thread(
            target=_listen, args=(stream, partial(hand_over, index)), name="luthier-tokens", daemon=True
        ).start()
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


def _listen(stream: TokenStream, hand_over: Callable[[Token | Exception | None], None]) -> None:
    try:
        for token in stream:
            hand_over(token)
        hand_over(None)
    except Exception as error:
        hand_over(error)
