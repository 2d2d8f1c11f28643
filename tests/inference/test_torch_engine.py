"""Packed linear layers and attention: correct, and batch-invariant."""

import pytest
import torch

from luthier.arch import DecoderSpec
from luthier.arch.families import SIZES
from luthier.inference.engines.torch.attention import decode_attention
from luthier.inference.engines.torch.packed_linear import PackedLinear, can_pack
from luthier.inference.memory.row_cache import CacheShape, RowBuffer

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (576, 1536), (24, 40)])
def test_a_packed_linear_layer_multiplies_with_its_weight(dtype: torch.dtype, outputs: int, inputs: int) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs), torch.randn(5, inputs)
    out = PackedLinear(weight.to(dtype), bias.to(dtype))(x.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), x @ weight.T + bias, atol=0.05, rtol=0.02)


@pytest.mark.skipif(not can_pack(CPU, torch.bfloat16), reason="this CPU does not pack weights")
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (3072, 576), (576, 1536), (896, 4864)])
def test_a_row_has_the_same_bits_alone_and_among_others(outputs: int, inputs: int) -> None:
    torch.manual_seed(0)
    linear = PackedLinear(torch.randn(outputs, inputs, dtype=torch.bfloat16))
    x = torch.randn(16, inputs, dtype=torch.bfloat16)
    together = linear(x)
    for rows in (1, 2, 7, 8):
        assert torch.equal(linear(x[:rows].clone()), together[:rows]), rows


@pytest.mark.skipif(not can_pack(CPU, torch.bfloat16), reason="this CPU does not pack weights")
def test_attention_has_the_same_bits_alone_and_beside_longer_sequences() -> None:
    torch.manual_seed(0)
    sizes = dict(zip(SIZES, (576, 1536, 1, 9, 256), strict=True))
    spec = DecoderSpec.from_config({"model_type": "llama", "num_key_value_heads": 3, **sizes})
    assert isinstance(spec, DecoderSpec)
    shape = CacheShape(layers=1, kv_heads=3, head_dim=64, context_tokens=2048, dtype=torch.bfloat16, device=CPU)
    positions = [300, 511, 700, 37]
    q, k, v = (torch.randn(4, heads, 64, dtype=torch.bfloat16) for heads in (9, 3, 3))
    buffer = RowBuffer(shape)
    buffer.reserve(4, 800)
    buffer.data.normal_()
    together = decode_attention(buffer, positions, spec)(0, q, k, v, None)
    for row, position in enumerate(positions):
        alone = RowBuffer(shape)
        alone.reserve(1, position + 1)
        alone.data[:, :, 0] = buffer.data[:, :, row, :, : alone.data.shape[4]]
        mixed = decode_attention(alone, [position], spec)(0, *(part[row : row + 1] for part in (q, k, v)), None)
        assert torch.equal(mixed[0], together[row])
