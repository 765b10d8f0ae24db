"""Aggregators: they combine the product vectors of a history into one vector.

An aggregator has `forward(items_UD, prefixes)`. It returns P vectors of any length, zeros for a prefix without events
of positive weight. Most are a `Pooling`, a weighted sum. Its logits are sums of table entries and of a function of each
product alone, so that serving can look them up and can explain how much each event contributed.

Legend: P prefixes, Z events of all prefixes, U products, D and H dimensions, S segments, L events of one segment,
W width of the transformer.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.prefixes import N_BUCKETS, Prefixes
from training.model.spec import ModelSpec

# Two layers, as in SASRec. transformer_inference.py runs whatever number is set here.
TRANSFORMER_LAYERS, TRANSFORMER_HEADS = 2, 2


def softmax_by_prefix(logits_Z: Tensor, owners_Z: Tensor, n_prefixes: int) -> Tensor:
    """Softmax within each prefix, (Z,); zeros for a prefix whose logits are all -inf."""
    # The maximum is subtracted so that exp() cannot overflow. It cancels out of the result, so it needs no gradient.
    best_P = logits_Z.new_full((n_prefixes,), -torch.inf).scatter_reduce(0, owners_Z, logits_Z.detach(), "amax")
    # -inf - -inf would be NaN, in a prefix whose event types all have weight 0.
    best_P = torch.where(best_P == -torch.inf, 0, best_P)
    weights_Z = (logits_Z - best_P[owners_Z]).exp()
    totals_P = logits_Z.new_zeros(n_prefixes).index_add(0, owners_Z, weights_Z)
    # Such a prefix has a total of 0. The clamp gives it weights of 0 instead of 0 / 0.
    return weights_Z / totals_P.clamp_min(torch.finfo(totals_P.dtype).tiny)[owners_Z]


# ---- weighted sums ---------------------------------------------------------------------------------------------------


class EventLogits(NamedTuple):
    """The tables whose entries a pooling aggregator adds to the logit of an event's product.

    Attributes:
        of_type: By event-type code; -inf for a type of weight 0.
        of_rank, of_gap: By the buckets of Prefixes.ranks_Z and gaps_Z; None if time is ignored.
    """

    of_type: Tensor
    of_rank: Tensor | None = None
    of_gap: Tensor | None = None


class Pooling(nn.Module, ABC):
    """The sum of a history's product vectors, weighted by a softmax over its events."""

    @abstractmethod
    def item_logits(self, items: Tensor) -> Tensor:
        """The part of the logit that depends on the product, (..., D) -> (...)."""

    @abstractmethod
    def event_logits(self) -> EventLogits:
        """The part of the logit that depends on the event's type, rank and age."""

    def shares(self, items_UD: Tensor, prefixes: Prefixes) -> Tensor:
        """(Z,) weight of each event; the weights of a prefix sum to 1."""
        tables = self.event_logits()
        logits_Z = self.item_logits(items_UD)[prefixes.items_Z] + tables.of_type[prefixes.types_Z]
        if tables.of_rank is not None:
            logits_Z = logits_Z + tables.of_rank[prefixes.ranks_Z]
        if tables.of_gap is not None:
            logits_Z = logits_Z + tables.of_gap[prefixes.gaps_Z]
        return softmax_by_prefix(logits_Z, prefixes.owners, len(prefixes.starts_P))

    def forward(self, items_UD: Tensor, prefixes: Prefixes) -> Tensor:
        """The weighted sums, (P, D)."""
        # One fused kernel, without a (Z, D) matrix of weighted product vectors.
        return F.embedding_bag(
            prefixes.items_Z,
            items_UD,
            prefixes.offsets_P1[:-1],
            mode="sum",
            per_sample_weights=self.shares(items_UD, prefixes),
        )


class WeightedAverage(Pooling):
    """The mean of the history's product vectors, weighted by event type; it has no parameters."""

    log_weights: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        """Stores ln(event weight), because the softmax of these logits is proportional to the weights."""
        super().__init__()
        # Not saved with the weights: model.json stores the event weights, as a part of the spec.
        self.register_buffer("log_weights", torch.tensor(spec.event_weights).log(), persistent=False)

    def item_logits(self, items: Tensor) -> Tensor:
        """Zeros, because the product does not matter."""
        return items.new_zeros(items.shape[:-1])

    def event_logits(self) -> EventLogits:
        """The configured event weights."""
        return EventLogits(self.log_weights)


class Attention(WeightedAverage):
    """Additive attention D -> H -> 1 (Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473) times the event weights.

    softmax(score + ln weight) is softmax(score) times weight, normalised.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the scoring network."""
        super().__init__(spec)
        self.score = nn.Sequential(
            nn.Linear(spec.embedding_dim, spec.attention_hidden_dim),
            nn.Tanh(),
            # No bias: a constant added to all logits does not change a softmax.
            nn.Linear(spec.attention_hidden_dim, 1, bias=False),
        )

    def item_logits(self, items: Tensor) -> Tensor:
        """Scores of products: (..., D) -> (...)."""
        logits: Tensor = self.score(items).squeeze(-1)
        return logits


class RecencyAttention(Attention):
    """Attention that also learns logits for the event's type, rank and age.

    The rank is the number of later events, the age the time before the last event. Both are bucketed, with a learned
    logit per bucket. The initial values are the configured event weights and a mild preference for late events. Event
    types of weight 0 stay excluded.
    """

    adds_prior = True

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the scoring network and the tables."""
        super().__init__(spec)
        # An offset from the configured weights. ln 0 = -inf plus any offset is still -inf, so weight 0 stays excluded.
        self.of_type = nn.Parameter(torch.zeros(len(spec.event_weights)), requires_grad=spec.learn_event_weights)
        # The mild preference: an event two buckets further back (twice as many later events) has e^-0.5 = 61% of the
        # weight.
        self.of_rank = nn.Parameter(-torch.arange(N_BUCKETS) / 4)
        self.of_gap = nn.Parameter(torch.zeros(N_BUCKETS))

    def event_logits(self) -> EventLogits:
        """The learned tables."""
        return EventLogits(self.log_weights + self.of_type, self.of_rank, self.of_gap)


# ---- transformer -----------------------------------------------------------------------------------------------------


class CausalTransformer(nn.Module):
    """Recency attention plus a small causal transformer (SASRec: Kang & McAuley 2018, https://arxiv.org/abs/1808.09781).

    All prefixes that begin with the same event share one pass. Each prefix reads the hidden state of its last event,
    which depends on no later event. This is no Pooling, because an event's contribution depends on the other events.
    """

    adds_prior = True

    def __init__(self, spec: ModelSpec) -> None:
        """Builds the layers; the output projection starts at zero, so that training starts from attention alone."""
        super().__init__()
        width = spec.transformer_dim
        self.attention = RecencyAttention(spec)
        self.into = nn.Linear(spec.embedding_dim, width)
        self.types = nn.Embedding(len(spec.event_weights), width)
        self.places = nn.Embedding(spec.max_history, width)
        # Far below the default deviation of 1, which would drown the projected product vectors: these have unit length.
        nn.init.normal_(self.types.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)
        # training/artifacts/transformer_inference.py computes this layer by hand for serving and relies on pre-norm and
        # GELU.
        # Nested tensors are off because torch does not support them with pre-norm, and would warn.
        layer = nn.TransformerEncoderLayer(
            width, TRANSFORMER_HEADS, 4 * width, spec.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, TRANSFORMER_LAYERS, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, spec.embedding_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, items_UD: Tensor, prefixes: Prefixes) -> Tensor:
        """(P, D) sums of the attention's vector and the transformer's output."""
        pooled_PD: Tensor = self.attention(items_UD, prefixes)
        lengths_P = prefixes.lengths
        if len(prefixes.items_Z) == 0:
            return pooled_PD
        longest_S, segment_P = _segments(prefixes.starts_P, lengths_P)
        lengths_S = lengths_P[longest_S]
        place_L = torch.arange(int(lengths_S.max()), device=items_UD.device)
        # Short rows repeat their last event as padding, because an index must be valid.
        event_SL = prefixes.offsets_P1[longest_S][:, None] + torch.minimum(
            place_L, (lengths_S[:, None] - 1).clamp_min(0)
        )
        event_SL = event_SL.clamp_max(len(prefixes.items_Z) - 1)  # an empty last history has no event of its own
        hidden_SLW = self.into(F.embedding(prefixes.items_Z[event_SL], items_UD))
        hidden_SLW = hidden_SLW + self.types(prefixes.types_Z[event_SL]) + self.places(place_L)
        # Padding comes after the events of a row, so the causal mask hides it from every prefix.
        mask_LL = nn.Transformer.generate_square_subsequent_mask(len(place_L), device=items_UD.device)
        hidden_SLW = self.layers(hidden_SLW, mask=mask_LL, is_causal=True)
        transformed_PD = self.out(hidden_SLW[segment_P, (lengths_P - 1).clamp_min(0)])
        return pooled_PD + torch.where(lengths_P[:, None] > 0, transformed_PD, 0)


def _segments(starts_P: Tensor, lengths_P: Tensor) -> tuple[Tensor, Tensor]:
    """The longest prefix with each start, (S,), and the index of its segment for each prefix, (P,)."""
    distinct_S, segment_P = torch.unique(starts_P, return_inverse=True)
    n_prefixes = len(starts_P)
    # amax returns values, not indices. The index is therefore packed into the value, below the length.
    rank_P = lengths_P * n_prefixes + torch.arange(n_prefixes, device=starts_P.device)
    best_S = rank_P.new_zeros(len(distinct_S)).scatter_reduce(0, segment_P, rank_P, "amax")
    return best_S % n_prefixes, segment_P


AGGREGATORS: dict[str, type[nn.Module]] = {
    "weighted_avg": WeightedAverage,
    "attention": Attention,
    "recency_attention": RecencyAttention,
    "transformer": CausalTransformer,
}
