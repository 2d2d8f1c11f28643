"""Products with packed weights and attention: right, and for a row alone the same bits as for that row in a batch."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from luthier.inference.engines.torch.cache import Rows
from luthier.inference.engines.torch.product import Product, packs

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (576, 1536), (24, 40)])
def test_a_product_is_that_of_the_weight(dtype: torch.dtype, outputs: int, inputs: int) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs), torch.randn(5, inputs)
    made = Product(weight.to(dtype), bias.to(dtype))(x.to(dtype))
    assert made.dtype == dtype
    torch.testing.assert_close(made.float(), x @ weight.T + bias, atol=0.05, rtol=0.02)


@pytest.mark.skipif(not packs(CPU, torch.bfloat16), reason="this processor keeps weights as they are")
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (3072, 576), (576, 1536), (896, 4864)])
def test_a_row_has_the_same_bits_alone_and_among_others(outputs: int, inputs: int) -> None:
    torch.manual_seed(0)
    product = Product(torch.randn(outputs, inputs, dtype=torch.bfloat16))
    x = torch.randn(16, inputs, dtype=torch.bfloat16)
    together = product(x)
    for rows in (1, 2, 7, 8):
        assert torch.equal(product(x[:rows].clone()), together[:rows]), rows


@pytest.mark.skipif(not packs(CPU, torch.bfloat16), reason="this processor keeps weights as they are")
def test_attention_has_the_same_bits_alone_and_beside_longer_texts() -> None:
    torch.manual_seed(0)
    shape = {"heads": 9, "groups": 3, "width": 64, "context_tokens": 2048}
    model: Any = SimpleNamespace(layers=[None], device=CPU, dtype=torch.bfloat16, **shape)
    places = [300, 511, 700, 37]
    q, k, v = (torch.randn(4, heads, 64, dtype=torch.bfloat16) for heads in (9, 3, 3))
    rows = Rows(model)
    rows.reserve(4, 800)
    rows.data.normal_()
    together = rows.going_on(places)(0, q, k, v)
    for row, place in enumerate(places):
        alone = Rows(model)
        alone.reserve(1, place + 1)
        alone.data[:, :, 0] = rows.data[:, :, row, :, : alone.data.shape[4]]
        mine = alone.going_on([place])(0, *(part[row : row + 1] for part in (q, k, v)))
        assert torch.equal(mine[0], together[row])
