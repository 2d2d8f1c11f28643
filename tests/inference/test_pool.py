"""The engine pool: one engine per base, loaded once."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from engines import OPTIONS

from luthier.inference import EnginePool
from luthier.inference.options import EngineOptions
from luthier.types.errors import BaseModelError


def test_the_engine_of_a_deleted_base_is_evicted(tmp_path: Path) -> None:
    closed = []
    bases = [tmp_path / name for name in ("one", "two")]
    for base in bases:
        base.mkdir()

    def start(base: Path, _: EngineOptions):
        return SimpleNamespace(idle=True, close=lambda: closed.append(base))

    pool = EnginePool(OPTIONS, start)
    pool.engine(bases[0])
    bases[0].rmdir()
    pool.engine(bases[1])
    assert closed == bases[:1]
    pool.close()


def test_a_base_is_loaded_once(tiny_base: Path) -> None:
    started = []

    class Slow:
        context_tokens = 1

        def close(self) -> None:
            started.append("closed")

    def start(base: Path, _: EngineOptions):
        started.append(base)
        time.sleep(0.1)
        return Slow()

    pool = EnginePool(OPTIONS, start)
    threads = [threading.Thread(target=pool.engine, args=(tiny_base,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert started == [tiny_base, "closed"]
    with pytest.raises(RuntimeError, match="closed"):
        pool.engine(tiny_base)


def test_a_loaded_engine_is_available_while_another_loads(tmp_path: Path) -> None:
    going, may_go_on = threading.Event(), threading.Event()
    for name in ("first", "slow"):
        (tmp_path / name).mkdir()

    def start(base: Path, _: EngineOptions):
        if base.name == "slow":
            going.set()
            assert may_go_on.wait(300)
        return SimpleNamespace(idle=True, close=lambda: None)

    pool = EnginePool(OPTIONS, start)
    first = pool.engine(tmp_path / "first")
    thread = threading.Thread(target=pool.engine, args=(tmp_path / "slow",))
    thread.start()
    assert going.wait(300)
    assert pool.engine(tmp_path / "first") is first
    may_go_on.set()
    thread.join()
    pool.close()


def test_a_base_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="cannot be read") as refused:
        EnginePool(OPTIONS).engine(tmp_path)
    assert str(tmp_path) not in str(refused.value)
