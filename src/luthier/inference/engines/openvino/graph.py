"""A Llama-like decoder as an OpenVINO graph: tokens of several sequences in, logits of chosen ones out.

Inputs, T tokens of all sequences together:
  ids int [T], cos and sin float [T, 1, 1, K]; past_lens, subsequence_begins, block_indices, block_indices_begins and
  max_context_len as OpenVINO's paged attention defines them; logits_at and hidden_at int: indices of output tokens;
  for each layer N its KV cache blocks, key_cache.N and value_cache.N;
  for each fused projection P of it the stacked LoRA factors, a.N.P [S R, D] and b.N.P [S R, O], and for each
  projection mask.P float [T, S R], which is 1 at a token's own adapter.
Outputs: logits float [len(logits_at), V]; hidden float [len(hidden_at), D]: the last hidden states, normalized.

The paged attention operation is OpenVINO's own, used by its model server and OpenVINO GenAI. Python has it under a
name with an underscore, and its inputs change between releases, which is why pyproject.toml pins one release.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import torch
from openvino import Type, op

from luthier.arch import DecoderSpec
from luthier.arch.projections import PROJECTIONS

_TYPES = {torch.bfloat16: Type.bf16, torch.float32: Type.f32}
# OpenVINO stores each matrix product rounded to bfloat16, and rounds again after the adapters' share is added. A share
# below half a unit in the last place would be lost at every element. Times a factor that is no power of two, sums fall
# anywhere between two bfloat16 numbers, so that it is rounded up as often as its size says.
_DITHER = 1.3819


def tensor(data: torch.Tensor) -> ov.Tensor:
    """Shares the memory of `data`: contiguous, bfloat16 or float32, and kept alive by the caller."""
    element_type = _TYPES[data.dtype]
    if not data.numel():
        return ov.Tensor(element_type, list(data.shape))
    plain = data.detach().view(torch.int16) if data.dtype == torch.bfloat16 else data.detach()
    return ov.Tensor(plain.numpy(), list(data.shape), element_type)


def build(model: Any, spec: DecoderSpec) -> ov.Model:
    """`model`: of transformers, on the CPU, in bfloat16 or float32; its memory must outlive the graph."""
    return _Builder(model, spec).build()


class _Builder:
    def __init__(self, model: Any, spec: DecoderSpec) -> None:
        self._model, self._spec, self._type = model, spec, _TYPES[model.dtype]
        self._dither = _DITHER if self._type == Type.bf16 else 1.0
        self._inputs: list[Any] = []
        paging = ("past_lens", "subsequence_begins", "block_indices", "block_indices_begins")
        self._paging = [self._input(name, Type.i32, [-1]) for name in paging]
        self._max_context = self._input("max_context_len", Type.i32, [])
        self._rotary = [self._input(name, Type.f32, [-1, 1, 1, spec.head_dim]) for name in ("cos", "sin")]
        self._masks = {name: self._input(f"mask.{name}", Type.f32, [-1, -1]) for name in PROJECTIONS}

    def build(self) -> ov.Model:
        body = self._model.model
        ids = self._input("ids", Type.i32, [-1])
        x = ops.gather(self._weight(body.embed_tokens.weight), ids, _scalar(0))
        for index, layer in enumerate(body.layers):
            x = self._layer(x, layer, index)
        outputs = []
        for name in ("logits", "hidden"):
            rows = self._input(f"{name}_at", Type.i32, [-1])
            output = self._norm(ops.gather(x, rows, _scalar(0)), body.norm.weight)
            if name == "logits":
                output = ops.matmul(output, self._weight(self._model.lm_head.weight), False, True)
            outputs.append(ops.result(output))
            outputs[-1].output(0).get_tensor().set_names({name})
        return ov.Model(outputs, self._inputs, "luthier")

    def _layer(self, x: Any, layer: Any, index: int) -> Any:
        heads, kv_heads, head_dim = self._spec.heads, self._spec.kv_heads, self._spec.head_dim
        normed = self._norm(x, layer.input_layernorm.weight)
        qkv = self._scale(self._project(normed, layer, index, "qkv"), self._dither)
        q, k, v = _split(qkv, [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim])
        mixed = self._attend(self._rotate(q, heads), self._rotate(k, kv_heads), v, index)
        x = ops.add(x, self._project(self._scale(mixed, 1 / self._dither), layer, index, "out"))
        normed = self._norm(x, layer.post_attention_layernorm.weight)
        gate_up = self._scale(self._project(normed, layer, index, "gate_up"), self._dither)
        parts = _split(gate_up, [layer.mlp.gate_proj.out_features] * 2)
        gate, up = (self._scale(part, 1 / self._dither) for part in parts)
        return ops.add(x, self._project(ops.multiply(ops.swish(gate), up), layer, index, "down"))

    def _project(self, x: Any, layer: Any, index: int, projection: str) -> Any:
        """A fused projection plus the adapters' share."""
        linears = [layer.get_submodule(path) for path in PROJECTIONS[projection]]
        weight = torch.cat([linear.weight for linear in linears]) if len(linears) > 1 else linears[0].weight
        out = ops.matmul(x, self._weight(weight), False, True)
        if linears[0].bias is not None:
            bias = torch.cat([linear.bias for linear in linears])
            out = ops.add(out, ops.constant(bias.detach().float().numpy()))
        a, b = (
            ops.convert(self._input(f"{name}.{index}.{projection}", self._type, [-1, size]), Type.f32)
            for name, size in (("a", weight.shape[1]), ("b", weight.shape[0]))
        )
        low = ops.multiply(ops.matmul(x, a, False, True), self._masks[projection])
        return ops.add(out, ops.matmul(low, b, False, False))

    def _scale(self, x: Any, factor: float) -> Any:
        return x if factor == 1 else ops.multiply(x, ops.constant(np.float32(factor)))

    def _norm(self, x: Any, weight: torch.Tensor) -> Any:
        square = ops.power(x, ops.constant(np.float32(2)))
        mean = ops.reduce_mean(square, ops.constant(np.array([-1])), keep_dims=True)
        root = ops.sqrt(ops.add(mean, ops.constant(np.float32(self._spec.norm_eps))))
        normed = ops.multiply(x, ops.divide(ops.constant(np.float32(1)), root))
        return ops.multiply(normed, ops.constant(weight.detach().float().numpy()[None]))

    def _rotate(self, x: Any, heads: int) -> Any:
        """Su et al., 2021; in the form that OpenVINO's fusion of it recognizes."""
        cos, sin = self._rotary
        head_dim = self._spec.head_dim
        split = ops.reshape(x, ops.constant(np.array([-1, heads, 1, head_dim])), special_zero=False)
        first, second = (
            ops.slice(split, *(ops.constant(np.array([value])) for value in (begin, end, 1, 3)))
            for begin, end in ((0, head_dim // 2), (head_dim // 2, np.iinfo(np.int64).max))
        )
        negated = ops.multiply(second, ops.constant(np.full((1, 1, 1, 1), -1, np.float32)))
        rotated = ops.add(ops.multiply(split, cos), ops.multiply(ops.concat([negated, first], -1), sin))
        return ops.reshape(rotated, ops.constant(np.array([-1, heads * head_dim])), special_zero=False)

    def _attend(self, q: Any, k: Any, v: Any, index: int) -> Any:
        caches = [self._input(f"{name}.{index}", Type.dynamic, [-1, -1, -1]) for name in ("key_cache", "value_cache")]
        zero, no_floats, no_ints = _scalar(0, np.int32), _empty(np.float32), _empty(np.int32)
        scale = ops.constant(np.float32(self._spec.head_dim**-0.5 / self._dither**2))
        # Sliding window, ALiBi slopes, score aggregation window: unused. Then the inputs of cache rotation (3), of
        # sparse attention (3: threshold, block, stride), sinks, of cache eviction (4), token types, tree bias.
        options = [scale, zero, no_floats, self._max_context, no_ints]
        options += [no_ints, no_ints, no_floats, no_floats, _scalar(64, np.int32), _scalar(8, np.int32), no_floats]
        options += [zero, no_ints, no_ints, no_ints, no_ints, _empty(np.uint8), no_ints]
        attention = op._PagedAttentionExtension([_output(node) for node in (q, k, v, *caches, *self._paging, *options)])
        info = attention.get_rt_info()
        for name in ("k", "v"):
            info[f"num_{name}_heads"], info[f"{name}_head_size"] = self._spec.kv_heads, self._spec.head_dim
        return attention.output(0)

    def _weight(self, weight: torch.Tensor) -> Any:
        """A copy of a weight [O, D] as a constant, converted to float where it is used."""
        constant = op.Constant(tensor(weight.contiguous()), shared_memory=False)
        return ops.convert(constant, Type.f32) if self._type != Type.f32 else constant

    def _input(self, name: str, element_type: Type, shape: list[int]) -> Any:
        parameter = ops.parameter(ov.PartialShape(shape), element_type, name)
        parameter.output(0).get_tensor().set_names({name})
        self._inputs.append(parameter)
        return parameter


def _split(x: Any, sizes: Sequence[int]) -> list[Any]:
    """Along the last axis."""
    parts: list[Any] = ops.variadic_split(x, _scalar(1), ops.constant(np.array(sizes))).outputs()
    return parts


def _scalar(value: int, dtype: Any = np.int64) -> Any:
    return ops.constant(np.array(value, dtype))


def _empty(dtype: Any) -> Any:
    return ops.constant(np.zeros(0, dtype))


def _output(node: Any) -> Any:
    return node if isinstance(node, ov.Output) else node.output(0)
