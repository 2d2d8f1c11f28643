"""A network of this run's own: loopback and one cable to a second namespace, which can be cut."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

HOST, _FAR_HOST = "10.99.0.1", "10.99.0.2"
_INSIDE = "LUTHIER_TESTS_INSIDE"


def enter_own_network() -> None:
    """Restarts this program in a new network namespace with loopback alone; returns there.

    Ray would take an outer address of the machine for its driver, while its nodes listen on loopback.
    """
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself
    _ip("link", "set", "lo", "up")


class Cable:
    """Between here (`HOST`) and the other namespace, in which the command `inside` runs programs."""

    def __init__(self, namespace: str) -> None:
        self.inside = ("ip", "netns", "exec", namespace)

    def cut(self) -> None:
        _ip("link", "set", "near", "down")

    def mend(self) -> None:
        _ip("link", "set", "near", "up")


@contextmanager
def cable() -> Iterator[Cable]:
    namespace = f"luthier-{os.getpid()}"
    _ip("netns", "add", namespace)
    try:
        _ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", namespace)
        _ip("addr", "add", f"{HOST}/24", "dev", "near")
        _ip("-n", namespace, "addr", "add", f"{_FAR_HOST}/24", "dev", "far")
        for words in (
            ("link", "set", "near"),
            ("-n", namespace, "link", "set", "far"),
            ("-n", namespace, "link", "set", "lo"),
        ):
            _ip(*words, "up")
        yield Cable(namespace)
    finally:
        _ip("netns", "delete", namespace)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
