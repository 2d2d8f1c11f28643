"""The server of xllamacpp (llama.cpp), as `serving.py` compares with it; also the program that runs in its environment.

The base becomes a GGUF file of the same weights, in the format asked for, and each adapter one in float16. llama.cpp
turns the halves of a head by turns, so rows of q and k change places on the way. Prompts go in as token ids.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

XLLAMACPP = "xllamacpp==2026.10.11549"
_LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OTHERS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


class LlamaServer:
    """`adapters`: PEFT folders, told apart by their place in the list."""

    def __init__(self, base: Path, adapters: list[Path], scratch: Path, cache: Path, weights: str) -> None:
        model = write_base(base, scratch / f"base-{weights}.gguf", weights)
        files = [write_adapter(base, folder, scratch / f"{folder.name}.gguf") for folder in adapters]
        self.weights = weights
        self._process = subprocess.Popen(
            [str(_python(cache)), __file__, str(model), *map(str, files)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout
        self._address = self._process.stdout.readline().decode().strip()
        if not self._address:
            raise SystemExit("The server of xllamacpp did not start.")

    def answer(self, prompt: list[int], adapter: int | None, tokens: int) -> list[int]:
        """So many tokens, greedy, whatever comes; nothing is taken from earlier prompts."""
        import httpx

        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
            "return_tokens": True,
            "lora": [] if adapter is None else [{"id": adapter, "scale": 1.0}],
        }
        answer = httpx.post(f"{self._address}/completion", json=body, timeout=600).raise_for_status()
        ids: list[int] = answer.json()["tokens"]
        return ids

    def answers(self, prompt: list[int], adapter: int | None, tokens: int, streams: int) -> int:
        """So many answers at once; how many tokens came."""
        with concurrent.futures.ThreadPoolExecutor(streams) as pool:
            return sum(pool.map(lambda _: len(self.answer(prompt, adapter, tokens)), range(streams)))

    def cpu_seconds(self) -> float:
        """That its process has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self._process.communicate()


def write_base(base: Path, path: Path, weights: str) -> Path:
    """A Llama model folder as GGUF; `weights`: F16 or Q8_0."""
    import gguf
    import torch
    from safetensors.torch import load_file

    config = json.loads((base / "config.json").read_text())
    kind = gguf.GGMLQuantizationType[weights]
    writer = gguf.GGUFWriter(path, "llama")
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(_rope_theta(config))
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    _write_tokenizer(writer, base, config)
    for name, tensor in load_file(base / "model.safetensors").items():
        rows = _turned(tensor.to(torch.float32), name, heads, groups).numpy()
        to = gguf.GGMLQuantizationType.F32 if rows.ndim == 1 else kind
        writer.add_tensor(_gguf_name(name), gguf.quants.quantize(rows, to), raw_dtype=to)
    _finish(writer)
    return path


def write_adapter(base: Path, folder: Path, path: Path) -> Path:
    """A PEFT LoRA adapter as GGUF."""
    import gguf
    import numpy as np
    from safetensors.torch import load_file

    config = json.loads((base / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", json.loads((folder / "adapter_config.json").read_text())["lora_alpha"])
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        module, _, factor = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        if factor == "lora_B":
            tensor = _turned(tensor, f"{module}.weight", config["num_attention_heads"], config["num_key_value_heads"])
        writer.add_tensor(f"{_gguf_name(module + '.weight')}.{factor.lower()}", tensor.numpy().astype(np.float16))
    _finish(writer)
    return path


def _gguf_name(name: str) -> str:
    module = name.removesuffix(".weight")
    if module in _OTHERS:
        return f"{_OTHERS[module]}.weight"
    number, _, layer = module.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{_LAYERS[layer]}.weight"


def _turned(tensor: Any, name: str, heads: int, groups: int) -> Any:
    """Rows of q and k in llama.cpp's order: the two halves of each head by turns."""
    count = heads if ".q_proj." in name else groups if ".k_proj." in name else 0
    if not count:
        return tensor
    return tensor.view(count, 2, len(tensor) // count // 2, -1).transpose(1, 2).reshape(tensor.shape).contiguous()


def _rope_theta(config: dict[str, Any]) -> float:
    return float((config.get("rope_parameters") or config)["rope_theta"])


def _write_tokenizer(writer: Any, base: Path, config: dict[str, Any]) -> None:
    """As far as the server needs one to start and to spell out ids."""
    tokenizer = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    names = {number: name for name, number in tokenizer["model"]["vocab"].items()}
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    ids = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([special.get(at) or names.get(at) or f"[unused {at}]" for at in ids])
    writer.add_token_types([3 if at in special or at not in names else 1 for at in ids])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(config["eos_token_id"])


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _python(cache: Path) -> Path:
    """The interpreter of an environment with xllamacpp. Made once."""
    folder = cache / "benchmarks" / XLLAMACPP.replace("==", "-")
    if not (folder / "ready").exists():
        print(f"Installing {XLLAMACPP} into {folder} (once)", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", XLLAMACPP], check=True)
        (folder / "ready").touch()
    return folder / "bin" / "python"


def _serve(model: str, adapters: list[str]) -> None:
    """Until standard input closes; prints where it listens."""
    import xllamacpp

    stdout = os.dup(1)
    os.dup2(2, 1)  # what the library prints is not the address
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.n_ubatch = 8 * 2048, 8, 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    params.lora_init_without_apply = True
    loaded = []
    for path in adapters:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 1.0
        loaded.append(adapter)
    params.lora_adapters = loaded
    server = xllamacpp.Server(params)
    os.write(stdout, f"{server.listening_address}\n".encode())
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])
