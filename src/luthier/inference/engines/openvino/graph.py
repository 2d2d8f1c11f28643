"""A model of the Llama family as an OpenVINO graph: tokens of several texts in, logits of chosen ones out.

Inputs, T tokens of all texts together:
  ids int [T], cos and sin float [T, 1, 1, K], past_lens, subsequence_begins, block_indices, block_indices_begins and
  max_context_len as OpenVINO's paged attention has them; logits_at and hidden_at int: the tokens of interest;
  for each layer N its blocks of keys and values, key_cache.N and value_cache.N;
  for each joined projection of it the adapters' factors, a.N.GROUP [S R, D] and b.N.GROUP [S R, O], and for each
  group mask.GROUP float [T, S R], which is 1 where a token's own adapter stands.
Outputs: logits float [len(logits_at), V], hidden float [len(hidden_at), D]: the last hidden states, normalised.

The paged attention operation is OpenVINO's own, used by its server and its generation library; Python sees it under a
name with an underscore, and its inputs change between releases, which is why pyproject.toml names one release.
"""

from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import torch
from openvino import Type, op

from luthier.arch import DecoderSpec
from luthier.arch.projections import PROJECTIONS

_TYPES = {torch.bfloat16: Type.bf16, torch.float32: Type.f32}


def tensor(data: torch.Tensor) -> ov.Tensor:
    """The same memory, seen by OpenVINO: contiguous, bfloat16 or float32; it must outlive what is returned."""
    kind = _TYPES[data.dtype]
    if not data.numel():
        return ov.Tensor(kind, list(data.shape))
    plain = data.detach().view(torch.int16) if data.dtype == torch.bfloat16 else data.detach()
    return ov.Tensor(plain.numpy(), list(data.shape), kind)


def build(model: Any, spec: DecoderSpec) -> ov.Model:
    """`model`: of transformers, on the CPU, in bfloat16 or float32; its memory must outlive the graph."""
    return _Builder(model, spec).build()


class _Builder:
    def __init__(self, model: Any, spec: DecoderSpec) -> None:
        self._model, self._kind = model, _TYPES[model.dtype]
        self._heads, self._groups, self._width = spec.heads, spec.kv_heads, spec.head_dim
        self._epsilon = spec.norm_eps
        self._inputs: list[Any] = []
        places = ("past_lens", "subsequence_begins", "block_indices", "block_indices_begins")
        self._places = [self._input(name, Type.i32, [-1]) for name in places]
        self._longest = self._input("max_context_len", Type.i32, [])
        self._turn = [self._input(name, Type.f32, [-1, 1, 1, self._width]) for name in ("cos", "sin")]
        self._masks = {group: self._input(f"mask.{group}", Type.f32, [-1, -1]) for group in PROJECTIONS}

    def build(self) -> ov.Model:
        body = self._model.model
        x = ops.gather(self._weight(body.embed_tokens.weight), self._input("ids", Type.i32, [-1]), _whole(0))
        for index, layer in enumerate(body.layers):
            x = self._layer(x, layer, index)
        outputs = []
        for name in ("logits", "hidden"):
            rows = self._input(f"{name}_at", Type.i32, [-1])
            made = self._norm(ops.gather(x, rows, _whole(0)), body.norm.weight)
            if name == "logits":
                made = ops.matmul(made, self._weight(self._model.lm_head.weight), False, True)
            outputs.append(ops.result(made))
            outputs[-1].output(0).get_tensor().set_names({name})
        return ov.Model(outputs, self._inputs, "luthier")

    def _layer(self, x: Any, layer: Any, index: int) -> Any:
        heads, groups = self._heads * self._width, self._groups * self._width
        normed = self._norm(x, layer.input_layernorm.weight)
        q, k, v = _split(self._project(normed, layer, index, "qkv"), [heads, groups, groups])
        mixed = self._attend(self._rotate(q, self._heads), self._rotate(k, self._groups), v, index)
        x = ops.add(x, self._project(mixed, layer, index, "out"))
        normed = self._norm(x, layer.post_attention_layernorm.weight)
        joined = self._project(normed, layer, index, "gate_up")
        gate, up = _split(joined, [layer.mlp.gate_proj.out_features] * 2)
        return ops.add(x, self._project(ops.multiply(ops.swish(gate), up), layer, index, "down"))

    def _project(self, x: Any, layer: Any, index: int, group: str) -> Any:
        """A joined projection with what the adapters add to it."""
        linears = [layer.get_submodule(name) for name in PROJECTIONS[group]]
        weight = torch.cat([one.weight for one in linears]) if len(linears) > 1 else linears[0].weight
        out = ops.matmul(x, self._weight(weight), False, True)
        if linears[0].bias is not None:
            out = ops.add(out, ops.constant(torch.cat([one.bias for one in linears]).detach().float().numpy()))
        a, b = (
            ops.convert(self._input(f"{name}.{index}.{group}", self._kind, [-1, size]), Type.f32)
            for name, size in (("a", weight.shape[1]), ("b", weight.shape[0]))
        )
        low = ops.multiply(ops.matmul(x, a, False, True), self._masks[group])
        return ops.add(out, ops.matmul(low, b, False, False))

    def _norm(self, x: Any, weight: torch.Tensor) -> Any:
        square = ops.power(x, ops.constant(np.float32(2)))
        mean = ops.reduce_mean(square, ops.constant(np.array([-1])), keep_dims=True)
        root = ops.sqrt(ops.add(mean, ops.constant(np.float32(self._epsilon))))
        normed = ops.multiply(x, ops.divide(ops.constant(np.float32(1)), root))
        return ops.multiply(normed, ops.constant(weight.detach().float().numpy()[None]))

    def _rotate(self, x: Any, heads: int) -> Any:
        """Su et al., 2021; written as OpenVINO's fusion of it expects."""
        cos, sin = self._turn
        split = ops.reshape(x, ops.constant(np.array([-1, heads, 1, self._width])), special_zero=False)
        first, second = (
            ops.slice(split, *(ops.constant(np.array([at])) for at in (begin, end, 1, 3)))
            for begin, end in ((0, self._width // 2), (self._width // 2, np.iinfo(np.int64).max))
        )
        turned = ops.concat([ops.multiply(second, ops.constant(np.full((1, 1, 1, 1), -1, np.float32))), first], -1)
        made = ops.add(ops.multiply(split, cos), ops.multiply(turned, sin))
        return ops.reshape(made, ops.constant(np.array([-1, heads * self._width])), special_zero=False)

    def _attend(self, q: Any, k: Any, v: Any, index: int) -> Any:
        caches = [self._input(f"{name}.{index}", Type.dynamic, [-1, -1, -1]) for name in ("key_cache", "value_cache")]
        zero, no_floats, no_ints = _whole(0, np.int32), ops.constant(np.zeros(0, np.float32)), _none(np.int32)
        scale = ops.constant(np.float32(self._width**-0.5))
        # Window, slopes of positions, how much of the scores to report: none of it. Then the inputs of cache rotation
        # (3), of sparse attention (3: threshold, block, stride), sinks, of cache eviction (4), token types, tree bias.
        more = [scale, zero, no_floats, self._longest, no_ints]
        more += [no_ints, no_ints, no_floats, no_floats, _whole(64, np.int32), _whole(8, np.int32), no_floats]
        more += [zero, no_ints, no_ints, no_ints, no_ints, _none(np.uint8), no_ints]
        attention = op._PagedAttentionExtension(
            [_output(one) for one in (q, k, v, *caches, *self._places, *more)],
        )
        known = attention.get_rt_info()
        for name in ("k", "v"):
            known[f"num_{name}_heads"], known[f"{name}_head_size"] = self._groups, self._width
        return attention.output(0)

    def _weight(self, weight: torch.Tensor) -> Any:
        """A copy of a weight [O, D] as a constant, computed with as float."""
        constant = op.Constant(tensor(weight.contiguous()), shared_memory=False)
        return ops.convert(constant, Type.f32) if self._kind != Type.f32 else constant

    def _input(self, name: str, kind: Type, shape: list[int]) -> Any:
        made = ops.parameter(ov.PartialShape(shape), kind, name)
        made.output(0).get_tensor().set_names({name})
        self._inputs.append(made)
        return made


def _split(x: Any, sizes: list[int]) -> list[Any]:
    made: list[Any] = ops.variadic_split(x, _whole(1), ops.constant(np.array(sizes))).outputs()
    return made


def _whole(value: int, kind: Any = np.int64) -> Any:
    return ops.constant(np.array(value, kind))


def _none(kind: Any) -> Any:
    return ops.constant(np.zeros(0, kind))


def _output(node: Any) -> Any:
    return node if isinstance(node, ov.Output) else node.output(0)
