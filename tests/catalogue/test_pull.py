"""Pulling base models from stand-ins for the hubs, from folders and from GGUF files; serving and removing them."""

import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gguf import GGUFWriter
from hub_server import Hub, git_sha1, running_hub
from openai import NotFoundError
from safetensors.torch import load_file

from luthier.catalogue import Catalogue, download
from luthier.catalogue.bases import Notify
from luthier.catalogue.convert import convert
from luthier.catalogue.pull import Progress, pull_model
from luthier.cli import main
from luthier.settings import Settings
from luthier.types.errors import BaseModelError
from through_api import client_of, create, messages, running_server, upload, wait

ID = "maker/tiny"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LUTHIER_LANG", "en")
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LUTHIER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "_WAIT_S", 0.0)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "no cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Both hubs at one address, with the tiny model under ID."""
    with running_hub() as result:
        result.files[ID] = {path.name: path.read_bytes() for path in tiny_base.iterdir()}
        result.files[ID] |= {"pytorch_model.bin": b"pickle", "run.py": b"code", "consolidated.safetensors": b"again"}
        monkeypatch.setenv("LUTHIER_HUB_ENDPOINT", result.url)
        monkeypatch.setenv("LUTHIER_MODELSCOPE_ENDPOINT", result.url)
        yield result


def quiet(*_: object) -> None:
    pass


def pull(source: str, notify: Notify, progress: Progress = quiet, **options: str) -> tuple[str, Path]:
    """Pulls with the settings of the environment."""
    settings = Settings()
    return pull_model(source, Catalogue(settings.cache), settings, notify, progress, **options)


@pytest.mark.parametrize("source", [ID, f"modelscope:{ID}"])
def test_what_is_needed_is_fetched_and_nothing_else(hub: Hub, tiny_base: Path, source: str) -> None:
    steps: list[tuple[str, int, int]] = []
    name, folder = pull(source, quiet, lambda *step: steps.append(step))
    assert name == ID
    assert (folder / "model.safetensors").read_bytes() == (tiny_base / "model.safetensors").read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in tiny_base.iterdir()} | {"base.json"}
    size = (tiny_base / "model.safetensors").stat().st_size
    assert ("model.safetensors", size, size) in steps
    before = len(hub.asked)
    assert pull(source, quiet) == (name, folder)
    assert len(hub.asked) <= before + 1  # whether it is still the same revision
    (pulled,) = Catalogue(Settings().cache).pulled
    assert pulled.architecture == "LlamaForCausalLM"
    assert pulled.licence == ("apache-2.0" if source == ID else "")


@pytest.fixture
def hugging_face_cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of Hugging Face's tools, with the hub's model as `hf download` leaves it: links to blobs."""
    cache = tmp_path / "hugging face"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    folder = cache / f"models--{ID.replace('/', '--')}"
    snapshot, blobs = folder / "snapshots" / hub.commit, folder / "blobs"
    for path in (snapshot, blobs, folder / "refs"):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text(hub.commit)
    for name, content in hub.files[ID].items():
        blob = blobs / (sha256(content).hexdigest() if name.endswith(".safetensors") else git_sha1(content))
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)
    return snapshot


@pytest.mark.parametrize("offline", [False, True])
def test_what_hugging_faces_cache_has_is_not_downloaded(
    hub: Hub, hugging_face_cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    notes: list[str] = []
    _, folder = pull(ID, notes.append)
    assert [path for path in hub.asked if "/resolve/" in path] == []
    assert bool(hub.asked) is not offline
    weights = folder / "model.safetensors"
    assert weights.samefile(hugging_face_cache / "model.safetensors")
    assert not (folder / "config.json").samefile(hugging_face_cache / "config.json")
    assert any("are in Hugging Face's cache" in note for note in notes)
    (pulled,) = Catalogue(Settings().cache).pulled
    assert (pulled.revision, pulled.licence) == (hub.commit, "apache-2.0" if not offline else "")


def test_a_damaged_copy_in_hugging_faces_cache_is_not_used(
    hub: Hub, hugging_face_cache: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hugging_face_cache / "model.safetensors").write_bytes(b"half a file")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError, match=r"model\.safetensors in Hugging Face's cache is damaged"):
        pull(ID, quiet)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    _, folder = pull(ID, quiet)
    assert (folder / "model.safetensors").read_bytes() == (tiny_base / "model.safetensors").read_bytes()


def test_offline_another_revision_is_refused(hugging_face_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError, match=r"HF_HUB_OFFLINE is set.* has no config\.json of maker/tiny at v2"):
        pull(ID, quiet, revision="v2")


def test_a_download_that_breaks_off_goes_on_where_it_was(hub: Hub, tiny_base: Path) -> None:
    hub.breaks = 3
    _, folder = pull(ID, quiet)
    assert (folder / "model.safetensors").read_bytes() == (tiny_base / "model.safetensors").read_bytes()
    assert len(hub.ranges) == 3
    assert hub.ranges[0] == "bytes=1000-"


def test_a_pull_that_failed_keeps_what_it_has(hub: Hub, own_cache: Path) -> None:
    hub.break_after, hub.breaks = 0, 100
    with pytest.raises(BaseModelError, match=r"cannot be reached.*\n?.*LUTHIER_HUB_ENDPOINT"):
        pull(ID, quiet)
    assert list(Catalogue(own_cache).pulled) == []
    hub.breaks, before = 0, len(hub.asked)
    pull(ID, quiet)
    assert len(hub.asked) > before
    assert [path.name for path in (own_cache / "pulled" / ".part").iterdir()] == []


def test_other_bytes_than_the_hub_describes_are_not_kept(hub: Hub, own_cache: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors"):
        hub.spoilt = {name}
        with pytest.raises(BaseModelError, match=f"{name} is not the file"):
            pull(ID, quiet)
        assert not list((own_cache / "pulled").rglob(f"{name}*"))
    hub.spoilt = set()
    pull(ID, quiet)


def test_what_cannot_be_pulled_says_why(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # for the paths below
    tiny = hub.files[ID]
    config = json.loads(tiny["config.json"])

    def changed(**more: object) -> dict[str, bytes]:
        return tiny | {"config.json": json.dumps(config | more).encode()}

    without = {name: content for name, content in tiny.items() if name != "model.safetensors"}
    hub.files |= {
        "maker/pickles": without,
        "maker/nothing": {"config.json": b"{}"},
        "maker/ggufs": {"a-q8_0.gguf": b"", "a-q4_0.gguf": b"", "a-f16-00001-of-00002.gguf": b""},
        "maker/strange": changed(model_type="strange", auto_map={"AutoModel": "x.Y"}),
        "maker/gptq": changed(quantization_config={"quant_method": "gptq"}),
        "maker/slow": {name: content for name, content in tiny.items() if name != "tokenizer.json"},
        "maker/gated": tiny,
        "maker/huge": tiny,
    }
    hub.gated, hub.token = {"maker/gated"}, "hf_x"
    for source, message in {
        "maker/pickles": "pickles",
        "maker/nothing": "no model.safetensors",
        "maker/ggufs": "luthier models pull maker/ggufs/a-q8_0.gguf",
        "maker/ggufs/b.gguf": "has no file b.gguf",
        "maker/ggufs/a-f16-00001-of-00002.gguf": "is one part of a split GGUF file",
        "maker/strange": "code of its own, which is never run",
        "maker/gptq": r"quantized \(gptq\)",
        "maker/slow": "no tokenizer.json",
        "maker/gated": "accept its licence",
        "maker/absent": "shows no model maker/absent",
        "modelscope:maker/absent": "shows no model maker/absent",
        "no-such-thing": "neither a path nor the id",
        "http://example.org/a": "neither a path nor the id",
        "..": "no readable config",
        "./absent": "no file or folder",
    }.items():
        with pytest.raises(BaseModelError, match=message):
            pull(source, quiet)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(BaseModelError, match="are free"):
            pull("maker/huge", quiet)
    monkeypatch.setenv("LUTHIER_HUB_TOKEN", "hf_x")
    assert pull("maker/gated", quiet)[0] == "maker/gated"
    monkeypatch.setenv("LUTHIER_HUB_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(BaseModelError, match="try `luthier models pull modelscope:maker/other`"):
        pull("maker/other", quiet)


def test_the_token_of_other_tools_goes_to_their_address_only(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated, hub.token = {ID}, "hf_y"
    monkeypatch.setenv("HF_TOKEN", "hf_y")
    with pytest.raises(BaseModelError, match="gated"):
        pull(ID, quiet)
    monkeypatch.delenv("LUTHIER_HUB_ENDPOINT")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert pull(ID, quiet)[0] == ID


def test_another_revision_does_not_take_the_place_of_the_first(hub: Hub) -> None:
    _, folder = pull(ID, quiet)
    hub.commit = "beef" * 10
    with pytest.raises(BaseModelError, match="--name"):
        pull(ID, quiet, revision="main")
    assert pull(ID, quiet)[1] == folder
    assert pull(ID, quiet, name="newer")[1] != folder


def test_names_that_mean_something_else_are_refused(hub: Hub) -> None:
    for name in ("gpt-4o-mini", "smollm2-135m-instruct"):
        with pytest.raises(BaseModelError, match="already the name of another model"):
            pull(ID, quiet, name=name)
    for name in ("ft:x", "a/b/c", "../x", ""):
        with pytest.raises(BaseModelError, match="cannot be a model's name"):
            pull(ID, quiet, name=name or " ")


def test_a_base_without_a_chat_template_gets_one(hub: Hub, tiny_base: Path) -> None:
    del hub.files[ID]["chat_template.jinja"]
    message: list[str] = []
    _, folder = pull(ID, message.append)
    assert any("no chat template" in line for line in message)
    from luthier.data.rendering.renderer import Renderer

    renderer = Renderer(folder)
    tool = {"type": "function", "function": {"name": "ping", "parameters": {}}}
    text = renderer.decode(renderer.prompt([{"role": "user", "content": "hi"}], [tool]))
    assert text.startswith("<|im_start|>")
    assert '"ping"' in text
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_weights_in_parts_are_whole_or_refused(hub: Hub, tiny_base: Path) -> None:
    parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.dumps({"weight_map": {"a": parts[0], "b": parts[1]}}).encode()
    whole = {name: content for name, content in hub.files[ID].items() if name != "model.safetensors"}
    whole |= {"model.safetensors.index.json": index, parts[0]: b"one", parts[1]: b"two"}
    hub.files |= {"maker/parts": whole, "maker/half": {name: whole[name] for name in whole if name != parts[1]}}
    _, folder = pull("maker/parts", quiet)
    assert [(folder / part).read_bytes() for part in parts] == [b"one", b"two"]
    with pytest.raises(BaseModelError, match="lacks some of the files"):
        pull("maker/half", quiet)


def test_a_folder_that_is_gone_is_said(tmp_path: Path, tiny_base: Path, own_cache: Path) -> None:
    local = shutil.copytree(tiny_base, tmp_path / "local")
    assert pull(str(local), quiet) == ("local", local)
    local.rename(tmp_path / "away")
    with pytest.raises(BaseModelError, match="Restore the folder"):
        Catalogue(own_cache).folder("local")


def test_a_gguf_file_becomes_a_base(tmp_path: Path, tiny_base: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.catalogue.pull.run_conversion", convert)  # in this process, which has torch already
    file = _gguf(tmp_path / "mine-f16.gguf", tiny_base)
    name, folder = pull(str(file), quiet)
    assert name == "mine-f16"
    assert file.exists()
    weights = load_file(folder / "model.safetensors")["model.norm.weight"]
    assert torch.equal(weights, torch.full((32,), 3.0, dtype=torch.bfloat16))
    hub.files["maker/ggufs"] = {"q/other.gguf": file.read_bytes()}
    name, fetched = pull("maker/ggufs/q/other.gguf", quiet)
    assert name == "other"
    assert (fetched / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert not list((tmp_path / "cache" / "pulled" / ".part").iterdir())
    half = _gguf(tmp_path / "half.gguf", tiny_base, without="blk.0.ffn_up")
    with pytest.raises(ValueError, match=r"lacks 1 weights, such as model\.layers\.0\.mlp\.up_proj\.weight"):
        pull(str(half), quiet)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF nothing")
    with pytest.raises(BaseModelError, match=r"broken\.gguf"):
        pull(str(tmp_path / "broken.gguf"), quiet)


def test_pulled_bases_are_listed_answer_and_are_trained(hub: Hub, tmp_path: Path, tiny_base: Path) -> None:
    """By a server that was running before; and what becomes of them when they are removed."""
    local = shutil.copytree(tiny_base, tmp_path / "elsewhere" / "local")
    with running_server(tmp_path / "data", tiny_base) as running:
        client = client_of(running)
        assert ID not in {model.id for model in client.models.list()}
        assert _run("models", "pull", ID)["id"] == ID
        assert _run("models", "pull", str(local))["path"] == str(local)
        assert _run("models", "show", ID)["architecture"] == "LlamaForCausalLM"
        listed = {model.id: model.to_dict() for model in client.models.list()}
        assert listed[ID]["source"] == f"huggingface:{ID}"
        assert listed["local"]["source"] is None
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        for name in (ID, "local"):
            assert client.chat.completions.create(model=name, **body).model == name
        job = create(client, upload(client), model=ID).id
        wait(
            client,
            job,
            lambda _: any(f"weights here: {ID} (huggingface:" in message for message in messages(client, job)),
        )

        refused = CliRunner().invoke(main, ["models", "rm", ID])
        assert refused.exit_code == 2
        assert job in refused.stderr
        client.fine_tuning.jobs.cancel(job)
        for name in (ID, "local"):
            assert _run("models", "rm", name, "--force") == {"id": name, "removed": True}
        assert not {ID, "local"} & {model.id for model in client.models.list()}
        assert (local / "model.safetensors").exists()
        with pytest.raises(NotFoundError):
            client.chat.completions.create(model=ID, **body)
    assert CliRunner().invoke(main, ["models", "rm", "nothing"]).exit_code == 2


def _run(*command: str) -> dict:
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def _gguf(path: Path, base: Path, without: str = "") -> Path:
    """A Llama of 1 layer, 32 wide, all its norms 3, with the tiny base's tokens."""
    tokens = sorted(
        json.loads((base / "tokenizer.json").read_text())["model"]["vocab"].items(), key=lambda entry: entry[1]
    )
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([token for token, _ in tokens] + ["<|im_start|>", "<|im_end|>", "ab"])
    writer.add_token_types([1] * len(tokens) + [3, 3, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    shapes = {"token_embd": (259, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {"blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32)}
    shapes |= {"blk.0.attn_output": (32, 32), "blk.0.ffn_down": (32, 64)}
    shapes |= {"blk.0.ffn_up": (64, 32), "blk.0.ffn_gate": (64, 32)}
    shapes.pop(without, None)
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.full(shape, 3.0, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
