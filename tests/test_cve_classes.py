"""A test per class of vulnerability that servers and trainers of this field have had, named after an example of it.

docs/security.md lists the classes. Tests here look at the source as a whole, or at the one door that keeps a class out;
single routes and files are tested where they are.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.catalogue.file_filter import select_files
from luthier.catalogue.hubs import RemoteFile, Repository
from luthier.catalogue.model_spec import HubModel
from luthier.data.rendering.chat_template import Template
from luthier.runtime import require_keys
from luthier.settings import Settings
from luthier.store import Store
from luthier.types.errors import LuthierError, RenderError
from source_tree import FILES, nodes, relative

PAGE = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.Call):
                yield f"{relative(path)}:{node.lineno} {ast.unparse(node.func)}", node


def _keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


def test_cve_2025_32434_and_2025_50472_pickle() -> None:
    """Nothing that is read may run code: no pickle in any dress."""
    modules = r"\b(pickle|cPickle|dill|joblib|shelve|marshal)\.(load|loads|open|Unpickler)$"
    readers = re.compile(rf"{modules}|\b(torch|yaml)\.(unsafe_)?load$")
    # `check` reads back what it has written itself, in the same process.
    places = [place for place, _ in _calls() if readers.search(place) and "quality/batch.py" not in place]
    assert places == []
    assert [place for place, call in _calls() if _keyword(call, "allow_pickle") not in (None, "False")] == []


def test_cve_2026_4372_and_unsloth_4274_code_of_a_model() -> None:
    """Code that comes with a model is never run, and no caller can ask for it."""
    places = [place for place, call in _calls() if _keyword(call, "trust_remote_code") not in (None, "False")]
    assert places == []
    assert not any("trust_remote_code" in name for name in Settings.model_fields)


def test_cve_2024_52803_shell_commands() -> None:
    shells = [place for place, call in _calls() if _keyword(call, "shell") not in (None, "False")]
    shells += [place for place, _ in _calls() if re.search(r"\bos\.(system|popen)$|\bgetoutput$", place)]
    assert shells == []


def test_localai_11015_code_in_requests() -> None:
    """Only the sandboxed child compiles what a request brings, and only where the operator allows it."""
    evaluators = {place.split(":")[0] for place, _ in _calls() if re.search(r" (eval|exec|compile|__import__)$", place)}
    assert evaluators <= {"evaluation/graders/sandbox_child.py"}
    assert Settings().python_graders == "off"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1"])
def test_cve_2023_48022_open_to_the_network_without_a_key(host: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    try:
        with pytest.raises(LuthierError, match="no keys are set"):
            require_keys(Settings(host=host), store)
        store.api_keys.create("first", project=None, role="admin")
        require_keys(Settings(host=host), store)
        require_keys(Settings(), store)
    finally:
        store.close()
    assert Settings().host == "127.0.0.1"


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append.__self__.clear() }}",
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


def test_cve_2025_53002_files_of_a_repository() -> None:
    """Of a repository nothing is fetched but safetensors, configuration, tokenizer and template."""
    names = ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
    hostile = ["modeling_x.py", "pytorch_model.bin", "../../.bashrc", "a/../../config.json", "/etc/cron.d/x", "x.pkl"]
    files = [RemoteFile(name, f"https://hub/{name}", 10) for name in (*names, *hostile)]
    model = HubModel("huggingface", "hub/model")
    configuration, weights = select_files(Repository(model, "main", "Apache-2.0", files))
    assert {file.path for file in (*configuration, *weights)} == set(names)


def test_cve_2025_61784_addresses_in_requests() -> None:
    """Where the server sends requests to is listed here: a new place must say why no request can choose the address."""
    clients = re.compile(
        r"httpx\.(AsyncClient|Client|get|post|stream|request)$|urlopen$|\brequests\.(get|post|request)$"
    )
    rooms = {place.split(":")[0] for place, _ in _calls() if clients.search(place)}
    rooms = {room for room in rooms if room.startswith(("server/", "webhooks/", "worker/", "evaluation/"))}
    assert rooms == {
        "server/background/loopback_client.py",  # the application itself, without a socket
        "server/http/upstream_client.py",  # the setting upstream_base_url
        "webhooks/delivery.py",  # hosts of the setting webhook_hosts, addresses checked
    }


def test_every_class_is_on_the_page() -> None:
    tests = [name for name in globals() if re.match(r"test_(cve|localai)_", name)]
    assert len(tests) > 7
    assert [name for name in tests if f"`{name}`" not in PAGE] == []
