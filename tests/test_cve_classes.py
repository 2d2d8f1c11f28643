"""A test per class of vulnerability that servers and trainers of this field have had, named after an example of it.

docs/security.md lists the classes. Tests here look at the source as a whole, or at the one door that keeps a class out;
those that need a server are in test_cve_requests.py, and single routes and files are tested where they are.
"""

import ast
import asyncio
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import Response

from luthier.catalogue.compatibility import has_weights
from luthier.catalogue.file_filter import select_files
from luthier.catalogue.hubs import RemoteFile, Repository, open_client
from luthier.catalogue.model_spec import HubModel
from luthier.data.rendering.chat_template import Template
from luthier.runtime import LuthierServer
from luthier.server.http.key_ring import KeyRing
from luthier.server.http.upstream_client import create_upstream_client
from luthier.server.middleware.access_control import AccessControl
from luthier.settings import Settings
from luthier.store import Store
from luthier.types.allowed_hosts import AllowedHosts
from luthier.types.errors import BaseModelError, LuthierError, RenderError
from luthier.webhooks.delivery import DeliveryError, deliver
from luthier.weights import count_parameters
from source_tree import FILES, nodes, references, relative

pytestmark = pytest.mark.source

ROOT = Path(__file__).parents[1]
_METADATA_HOST = "169.254.169.254"  # where clouds keep the secrets of a machine


def _places(pattern: str) -> set[str]:
    """The files whose source refers to a full name that matches, in whatever way it was imported."""
    matches = re.compile(pattern).fullmatch
    return {place.split(":")[0] for name, places in references().items() if matches(name) for place in places}


def _arguments(name: str) -> list[str]:
    """Where a call has the keyword argument `name`, with its value."""
    return [
        f"{relative(path)}:{node.value.lineno} {ast.unparse(node.value)}"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.keyword) and node.arg == name
    ]


def _constants() -> Iterator[tuple[str, str]]:
    """(file, text) of each string of the source."""
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield relative(path), node.value


class _Hostile:
    """Pickled, it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._path,)


def test_cve_2025_32434_and_2025_50472_pickle(tmp_path: Path) -> None:
    """Nothing that is read may run code: no pickle in any dress, neither of a file nor of a socket."""
    modules = r"(_?pickle|cPickle|cloudpickle|dill|joblib|shelve|yaml|ruamel|multiprocessing)(\..*)?"
    assert _places(modules) == set()
    assert _places(r"torch\.((hub|package|jit|multiprocessing)(\..*)?|(serialization\.)?load)") == set()
    assert (
        _places(r".*\.(read_pickle|recv_pyobj|(broadcast|all_gather|gather|scatter|send|recv)_object(_list)?)") == set()
    )
    # `check` reads back what it has written itself, in the same process.
    assert _places(r"marshal\.loads?") == {"data/check/quality/batch.py"}
    assert [place for place in _arguments("allow_pickle") if not place.endswith(" False")] == []
    assert [place for place in _arguments("weights_only") if not place.endswith(" True")] == []
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(_Hostile(tmp_path / "executed")))
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    assert not has_weights(tmp_path)
    with pytest.raises(BaseModelError):
        count_parameters(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_cve_2026_4372_and_unsloth_4274_code_of_a_model() -> None:
    """Code that comes with a model is never run, and no caller can ask for it; configs: tests/arch."""
    assert [place for place in _arguments("trust_remote_code") if not place.endswith(" False")] == []
    in_dictionaries = [
        f"{relative(path)}: {ast.unparse(value)}"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "trust_remote_code"
    ]
    assert in_dictionaries
    assert [place for place in in_dictionaries if not place.endswith(" False")] == []
    assert len(in_dictionaries) == sum(text == "trust_remote_code" for _, text in _constants())
    assert not any("remote_code" in name for name in Settings.model_fields)
    assert _places(r"importlib\.import_module") == {  # names of this package
        "__init__.py", "cli/__init__.py", "cli/click_texts.py", "worker/trackers/tracker.py",
    }  # fmt: skip
    assert _places(r"(runpy|imp)(\..*)?|importlib\..*(spec_from_file_location|SourceFileLoader|exec_module)") == set()


def test_cve_2024_52803_and_localai_9394_commands() -> None:
    """No shell is started, and programs only where it is listed here: by a fixed list of words."""
    assert _arguments("shell") == []
    assert _places(r"os\.(system|popen|posix_spawnp?|spawn\w+)|subprocess\.get(status)?output|pty(\..*)?"
                   r"|asyncio\.create_subprocess_shell") == set()  # fmt: skip
    shells = {"sh", "bash", "zsh", "cmd", "cmd.exe", "powershell", "/bin/sh", "/bin/bash"}
    assert {file for file, text in _constants() if text in shells} == {"cli/completion.py"}  # writes a script for it
    assert _places(
        r"subprocess\.(Popen|run|call|check_call|check_output)|os\.exec\w+|asyncio\.create_subprocess_exec"
    ) == {
        "catalogue/bundled_base.py",  # pip, for a package that is named there
        "cli/throughput.py",  # this program
        "evaluation/graders/sandbox.py",  # the sandboxed child
        "export/runtimes/llama_cpp.py",
        "inference/engines/vllm/server.py",  # settings of the operator
        "native/__init__.py",  # the compiler
        "server/model_exports.py",  # this program
        "training/__main__.py",  # itself
        "training/rank_environment.py",  # itself
        "worker/trackers/live.py",  # this program
        "worker/trainer_process.py",  # this program
    }


def test_localai_11015_and_cve_2025_55178_code_in_requests() -> None:
    """Only the sandboxed child compiles what a request brings, and only where the operator allows it."""
    assert _places(r"(builtins\.)?(eval|exec|compile|__import__)|code\..*") == {"evaluation/graders/sandbox_child.py"}
    assert Settings().python_graders == "off"


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages['__class__'] }}",
        "{{ messages|attr('__class__') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages.append(1) }}{{ messages.clear() }}",
        "{{ messages[0].update(role='system') }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
    ],
)
def test_cve_2024_34359_template_injection(template: str) -> None:
    """A chat template comes with a model, from somebody else: it reaches no object but what it is given."""
    messages = [{"role": "user", "content": "hi"}]
    try:
        text = Template(template, {}).render(messages, None)
    except RenderError:
        text = ""
    assert not re.search(r"class|root:|uid=|subclasses|module", text)
    assert messages == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1"])
def test_cve_2023_48022_open_to_the_network_without_a_key(host: str, tmp_path: Path) -> None:
    """The fast ring fails if the server goes on and listens."""
    with pytest.raises(LuthierError, match="no keys are set"), LuthierServer(Settings(host=host, data=tmp_path)):
        pass
    assert Settings().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "status"),
    [("192.168.1.5", 403), ("::ffff:10.0.0.1", 403), ("fe80::1%eth0", 403), ("::ffff:127.0.0.1", 200), ("::1", 200)],
)
def test_cve_2023_48022_a_request_from_another_machine(address: str, status: int, tmp_path: Path) -> None:
    """Another ASGI server may listen on every address; without keys, this machine alone is answered."""
    with closing(Store(tmp_path)) as store:
        guarded = AccessControl(Response(), Settings(), KeyRing({}, store.api_keys))
        transport = httpx.ASGITransport(guarded, client=(address, 5))

        async def ask(path: str) -> int:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return (await client.get(path)).status_code

        assert [asyncio.run(ask(path)) for path in ("/v1/files", "/")] == [status, status]
        assert asyncio.run(ask("/health")) == 200


def test_cve_2025_53002_files_of_a_repository() -> None:
    """Of a repository nothing is fetched but safetensors, configuration, tokenizer and template."""
    names = ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
    hostile = ["modeling_x.py", "pytorch_model.bin", "../../.bashrc", "a/../../config.json", "/etc/cron.d/x", "x.pkl"]
    files = [RemoteFile(name, f"https://hub/{name}", 10) for name in (*names, *hostile)]
    model = HubModel("huggingface", "hub/model")
    configuration, weights = select_files(Repository(model, "main", "Apache-2.0", files))
    assert {file.path for file in (*configuration, *weights)} == set(names)


def test_cve_2025_61784_places_that_connect() -> None:
    """Where the server sends requests to is listed here: a new place must say why no request can choose the address."""
    clients = (
        r"httpx\.(AsyncClient|Client|get|post|put|stream|request)|urllib\.request\..*|http\.client\..*|aiohttp(\..*)?"
        r"|requests\.(get|post|request)|socket\.create_connection|asyncio\.open_connection"
    )
    rooms = {file for file in _places(clients) if file.startswith(("server/", "webhooks/", "worker/", "evaluation/"))}
    assert rooms == {
        "server/background/loopback_client.py",  # the application itself, without a socket
        "server/http/upstream_client.py",  # the setting upstream_base_url
        "server/http/upstream_models.py",  # uses that client, as does the state that holds it
        "server/state.py",
        "webhooks/delivery.py",  # hosts of the setting webhook_hosts, addresses checked
    }


class _Redirecting:
    """Stands for the network: each request is kept and redirected to an address inside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[httpx.Request] = []
        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: self._redirect(request))
        monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", self._redirect_async)

    async def _redirect_async(self, request: httpx.Request) -> httpx.Response:
        return self._redirect(request)

    def _redirect(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = 302 if len(self.requests) == 1 else 200
        return httpx.Response(status, headers={"location": f"http://{_METADATA_HOST}/latest"})


def test_cve_2026_25960_and_llama_factory_10646_checked_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook's connection goes to the address that was checked, and not where an answer redirects it."""
    network, addresses = _Redirecting(monkeypatch), iter(["93.184.215.14", _METADATA_HOST, "::ffff:169.254.169.254"])

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(None, None, None, "", (next(addresses), 80))]

    async def post() -> int:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        return await deliver("http://hook.example/x", "m", {}, [], AllowedHosts.parse(["hook.example"]))

    assert asyncio.run(post()) == 302
    assert [(request.url.host, request.headers["host"]) for request in network.requests] == [
        ("93.184.215.14", "hook.example")
    ]
    for _ in range(2):
        with pytest.raises(DeliveryError, match="not a public address"):
            asyncio.run(post())
    assert len(network.requests) == 1


def test_localai_3mj3_a_key_that_follows_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever header."""
    network, key = _Redirecting(monkeypatch), SecretStr("sk-secret-of-the-operator")
    with open_client(Settings(hub_endpoint="https://hub.example", hub_token=key), "huggingface") as hub:
        hub.get("/x")
    header_texts = [" ".join(request.headers.values()) for request in network.requests]
    assert [key.get_secret_value() in headers for headers in header_texts] == [True, False]

    async def ask_upstream() -> int:
        settings = Settings(upstream_base_url="https://upstream.example", upstream_api_key=key)
        async with create_upstream_client(settings) as upstream:  # type: ignore[union-attr]
            return (await upstream.get("/models")).status_code

    network.requests.clear()
    assert asyncio.run(ask_upstream()) == 302
    assert [request.url.host for request in network.requests] == ["upstream.example"]


def test_unsloth_4554_packages_of_known_versions() -> None:
    """Everything is installed by the versions of constraints.txt, which names each package that is required."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.+]+", pin)] == []
    pinned = {_normal(pin.partition("==")[0]) for pin in pins}
    requirements = re.findall(r'"([\w-]+)(?:\[\w+\])?>=', (ROOT / "pyproject.toml").read_text())
    assert {_normal(name) for name in requirements} - pinned <= {"setuptools", "ray"}
    for name in ("Makefile", "deploy/Dockerfile"):
        commands = (ROOT / name).read_text().replace("\\\n", "").splitlines()
        installs = [line for line in commands if "pip install" in line and "pip-audit" not in line]
        assert installs
        assert [line for line in installs if "constraints.txt" not in line and "==" not in line] == []


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_every_class_is_on_the_page() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_cve_*.py"))]
    names = re.findall(r"^def (test_(?:cve|localai|llama_factory|unsloth)_\w+)", "\n".join(texts), re.M)
    assert len(names) > 14
    assert [name for name in names if f"`{name}`" not in page] == []
