"""The engine `echo` behind the API, and fairness between API keys."""

import threading
from pathlib import Path

import pytest
from openai import RateLimitError

from luthier.data.rendering.renderer import Renderer
from through_api import client_of, running_server

HELLO = [{"role": "user", "content": "Hello"}]


def test_keys_do_not_take_one_anothers_places(tiny_base: Path, tmp_path: Path) -> None:
    keys = "key-of-one,key-of-another"
    with running_server(tmp_path, tiny_base, engine="echo", api_keys=keys, queue_limit=2) as running:
        first, another = (client_of(running, api_key=key) for key in keys.split(","))
        prompt = Renderer(tiny_base).prompt(HELLO)
        text = first.chat.completions.create(model="gpt-4o", messages=HELLO, temperature=0)
        assert text.usage.prompt_tokens == len(prompt)
        assert "Hello" in text.choices[0].message.content

        complete = {
            "model": "gpt-3.5-turbo-instruct",
            "prompt": "a" * 1000,
            "max_tokens": 1000,
            "stream": True,
            "temperature": 0,
        }
        busy = [first.completions.create(**complete) for _ in range(2)]
        for stream in busy:
            next(iter(stream))

        def fill_queue() -> None:
            while len(busy) < 100:  # a stream may end before the next request arrives
                busy.append(first.completions.create(**complete))

        with pytest.raises(RateLimitError) as refused:
            fill_queue()
        assert refused.value.response.headers["retry-after"] == "1"
        answered = threading.Thread(
            target=another.chat.completions.create, kwargs={"model": "gpt-4o", "messages": HELLO}
        )
        answered.start()
        answered.join(300)
        assert not answered.is_alive()
        for stream in busy:
            stream.close()
