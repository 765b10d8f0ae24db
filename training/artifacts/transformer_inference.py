"""Fast inference of the causal transformer for the last event of one history, for the online service.

Training predicts every event of many histories at once; a request needs one row. So the last layer is computed for that
row only, and the layers skip the checks and conversions of torch's module: 0.5 ms for 100 events instead of 1.2 ms.

Legend: L events of one history, D and W dimensions, H heads of width X = W / H.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from training.model.aggregators import CausalTransformer


def last_state(transformer: CausalTransformer, items_LD: Tensor, types_L: Tensor) -> Tensor:
    """(D,) output of the transformer for a history of at least one event; it is added to the attention's sum."""
    x_LW = transformer.into(items_LD) + transformer.types(types_L) + transformer.places.weight[: len(types_L)]
    layers = list(transformer.layers.layers)
    for layer in layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        x_LW = _layer(layer, x_LW, last_alone=layer is layers[-1])
    norm = transformer.layers.norm
    assert norm is not None, "CausalTransformer has a final norm"
    state_1D: Tensor = transformer.out(norm(x_LW))
    return state_1D[0]


def _layer(layer: nn.TransformerEncoderLayer, x_LW: Tensor, *, last_alone: bool) -> Tensor:
    """A pre-norm nn.TransformerEncoderLayer in evaluation mode with a causal mask, for all rows or for the last one."""
    attention = layer.self_attn
    # Keys and values of all rows are needed, queries only of the rows that are read.
    rows = slice(-1, None) if last_alone else slice(None)
    qkv_LW = F.linear(layer.norm1(x_LW), attention.in_proj_weight, attention.in_proj_bias)
    q_1HLX, k_1HLX, v_1HLX = (_heads(part_LW, attention.num_heads) for part_LW in qkv_LW.chunk(3, dim=1))
    # The last row may attend to all rows, so it needs no mask. torch aligns a causal mask with the first row: with one,
    # a single query would see the first key alone.
    attended_1HLX = F.scaled_dot_product_attention(q_1HLX[:, :, rows], k_1HLX, v_1HLX, is_causal=not last_alone)
    x_LW = x_LW[rows] + attention.out_proj(attended_1HLX[0].transpose(0, 1).flatten(1))
    feed_forward: Tensor = layer.linear2(F.gelu(layer.linear1(layer.norm2(x_LW))))
    return x_LW + feed_forward


def _heads(rows_LW: Tensor, n_heads: int) -> Tensor:
    """(L, W) -> (1, H, L, X); with fewer than four dimensions, attention on a CPU uses a slower kernel."""
    return rows_LW.view(1, len(rows_LW), n_heads, -1).transpose(1, 2)
