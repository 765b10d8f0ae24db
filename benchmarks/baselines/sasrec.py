"""SASRec: a causal transformer over the latest events, predicting what comes next.

Legend: A scored histories, B rows of one call, N products of the catalogue, S products seen in the training events, W
windows, b windows of one step, L events of a window, P predictions of one step, D dimensions, E events.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines.baskets import baskets
from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from training.baselines.filling import fill_scores
from training.baselines.history_matrix import known_only
from training.data.histories import UNKNOWN_PRODUCT, Histories, ranges
from training.evaluation.ranker import TrainingEvents, check_codes

_LAYERS = 2
_PREDICTIONS_PER_STEP = 512  # 24 MB of scores for 12,000 products: glibc asks the kernel anew for more than 32 MB
_PEAK_LEARNING_RATE = 2e-3
_WARMUP = 0.1  # share of the steps in which the learning rate rises; then it falls to 0
_FULL_SOFTMAX = 20_000  # beyond so many products the loss samples
_SAMPLED_PRODUCTS = 4096


class SASRec:
    """Inner product of the transformer's state after the latest event with each product's vector.

    Every event is predicted once, from the latest `max_events` or fewer that lie strictly before it in time (so a
    basket never predicts its own products), by cross-entropy over all products seen; beyond 20,000 of them over the
    right one and 4,096 drawn evenly for each step. Histories longer than max_events are cut into windows of that
    length. Products without a training event rank last; a history without any known product goes by popularity.

    Source: Kang & McAuley 2018, Self-attentive sequential recommendation; cross-entropy over all products instead of
    one sampled negative after Klenitskiy & Vasilev 2023, Turning dross into gold loss; layer norm before each part of a
    block after Xiong et al. 2020, On layer normalization in the transformer architecture.
    """

    name = "sasrec"

    def __init__(
        self,
        events: TrainingEvents,
        histories: Histories,
        cutoff_ms: int,
        *,
        dim: int = 64,
        heads: int = 2,
        max_events: int = 50,
        dropout: float = 0.4,
        epochs: int = 8,
        seed: int = 0,
    ) -> None:
        """Trains on the CPU and encodes the histories to score; torch's own random state stays as it is.

        Raises:
            ValueError: dim is not a multiple of heads; a size is below 1; dropout is not at least 0 and below 1.
        """
        if min(dim, heads, max_events, epochs) < 1 or dim % heads or not 0 <= dropout < 1:
            raise ValueError(
                f"dim {dim} must be a multiple of heads {heads}; both, max_events {max_events} and epochs {epochs} "
                f"at least 1; dropout {dropout} at least 0 and below 1"
            )
        events.require_before(cutoff_ms)
        self._n_histories = len(histories)
        self._seen_S = np.unique(events.products)
        self._fill_N = fill_scores(events.popularity())
        code_N = np.full(events.n_products, UNKNOWN_PRODUCT, dtype=np.int32)
        code_N[self._seen_S] = np.arange(len(self._seen_S), dtype=np.int32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _Transformer(max(1, len(self._seen_S)), dim, heads, max_events, dropout)
            _train(model, _training_windows(_recoded(events.histories(), code_N), max_events), epochs, seed)
        latest = _latest(_recoded(histories, code_N), max_events)
        self._empty_A = latest.lengths == 0
        self._state_AD = _last_states(model, latest)
        self._product_SD = model.product.weight.detach().numpy()[: len(self._seen_S)]

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) scores of all products for the histories of `rows`.

        A product without training events ranks below all others. An empty history gets the products by popularity.

        Raises:
            ValueError: A row lies outside 0 to A - 1.
        """
        check_codes("rows", rows, self._n_histories)
        seen_BS = self._state_AD[rows] @ self._product_SD.T
        scores_BN = np.repeat(seen_BS.min(axis=1, keepdims=True, initial=0) - 1, len(self._fill_N), axis=1)
        scores_BN[:, self._seen_S] = seen_BS
        scores_BN[self._empty_A[rows]] = self._fill_N
        return scores_BN


# ---- model -----------------------------------------------------------------------------------------------------------


class _Transformer(nn.Module):
    def __init__(self, n_products: int, dim: int, heads: int, max_events: int, dropout: float) -> None:
        super().__init__()
        self.product = nn.Embedding(n_products, dim)
        self.position = nn.Embedding(max_events, dim)
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        for embedding in (self.product, self.position):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, products_bL: Tensor) -> Tensor:
        """(b, L, D) state after each event. Padding stands behind the events, where the causal mask hides it."""
        dim = self.product.embedding_dim
        state_bLD = self.product(products_bL) * math.sqrt(dim) + self.position.weight[: products_bL.shape[1]]
        state_bLD = self.dropout(state_bLD)
        for block in self.blocks:
            state_bLD = block(state_bLD)
        normed_bLD: Tensor = self.norm(state_bLD)
        return normed_bLD


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.mixed = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )

    def forward(self, state_bLD: Tensor) -> Tensor:
        """(b, L, D) -> (b, L, D)."""
        state_bLD = state_bLD + self.dropout(self._attend(self.attention_norm(state_bLD)))
        result_bLD: Tensor = state_bLD + self.dropout(self.feed_forward(state_bLD))
        return result_bLD

    def _attend(self, state_bLD: Tensor) -> Tensor:
        # (b, L, 3D) -> three of (b, heads, L, D / heads)
        parts = self.queries_keys_values(state_bLD).chunk(3, dim=-1)
        queries, keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        mixed_bLD: Tensor = self.mixed(attended.transpose(1, 2).flatten(2))
        return mixed_bLD


# ---- data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Windows:
    """Pieces of histories, and what is predicted from them.

    Attributes:
        events: W histories of at most max_events events.
        offsets: (W + 1,) int64; the predictions of window w are offsets[w]:offsets[w + 1] of the other two.
        positions: Place in its window of the last event that a prediction may know.
        targets: The product to predict.
    """

    events: Histories
    offsets: Int64Array
    positions: Int64Array
    targets: Int32Array

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """One epoch in random order: products (b, L), then row, position and target of P predictions.

        Windows of one length go together, so that little is padding.
        """
        order = rng.permutation(np.flatnonzero(np.diff(self.offsets)))
        if len(order) == 0:
            return
        order = order[np.argsort(self.events.lengths[order], kind="stable")]
        step = np.cumsum(np.diff(self.offsets)[order]) // _PREDICTIONS_PER_STEP
        batches = np.split(order, np.flatnonzero(np.diff(step)) + 1)
        for place in rng.permutation(len(batches)):
            windows = batches[place]
            chosen, offsets = ranges(self.offsets[windows], self.offsets[windows + 1])
            rows = np.repeat(np.arange(len(windows)), np.diff(offsets))
            arrays = rows, self.positions[chosen], self.targets[chosen]
            row_P, position_P, target_P = (torch.from_numpy(array).long() for array in arrays)
            yield _padded(self.events.take(windows)), row_P, position_P, target_P


def _training_windows(histories: Histories, max_events: int) -> _Windows:
    """Cuts histories into windows; each event but those of a first basket is predicted once."""
    starts_E = histories.offsets[histories.owners]
    place_E = np.arange(len(starts_E))
    cuts = np.append(np.flatnonzero((place_E - starts_E) % max_events == 0), len(starts_E))
    windows = replace(histories, offsets=cuts)
    basket_E = baskets(histories)
    known_E = np.searchsorted(basket_E, basket_E) - 1  # the last event of the basket before
    predicted = np.flatnonzero(known_E >= starts_E)
    known = known_E[predicted]
    positions = known - cuts[windows.owners[known]]
    return _Windows(windows, np.searchsorted(known, cuts), positions, histories.products[predicted])


def _recoded(histories: Histories, code_N: Int32Array) -> Histories:
    """The events of products with a code, with codes instead of products."""
    known = known_only(histories, len(code_N))
    coded = replace(known, products=code_N[known.products])
    return coded.where(coded.products != UNKNOWN_PRODUCT)


def _latest(histories: Histories, max_events: int) -> Histories:
    """The last max_events of each history."""
    ends = histories.offsets[1:]
    return histories.windows(np.maximum(histories.offsets[:-1], ends - max_events), ends)


def _padded(histories: Histories) -> Tensor:
    """(b, L) int64 products, each history from the left; 0 behind it."""
    width = max(1, int(histories.lengths.max(initial=0)))
    products_bL = np.zeros((len(histories), width), dtype=np.int64)
    products_bL[np.arange(width) < histories.lengths[:, None]] = histories.products
    return torch.from_numpy(products_bL)


# ---- training and inference ------------------------------------------------------------------------------------------


def _train(model: _Transformer, windows: _Windows, epochs: int, seed: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))  # as in the paper
    rng = np.random.default_rng(seed)
    model.train()
    for epoch in range(epochs):
        batches = list(windows.batches(rng))
        for step, (products_bL, row_P, position_P, target_P) in enumerate(batches):
            done = (epoch + (step + 0.5) / len(batches)) / epochs
            for group in optimizer.param_groups:
                group["lr"] = _PEAK_LEARNING_RATE * min(done / _WARMUP, (1 - done) / (1 - _WARMUP))
            loss = _loss(model(products_bL)[row_P, position_P], model.product.weight, target_P)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _loss(state_PD: Tensor, product_SD: Tensor, target_P: Tensor) -> Tensor:
    """Cross-entropy over all S products, or an estimate of it from a uniform sample (Jean et al. 2015)."""
    if len(product_SD) <= _FULL_SOFTMAX:
        return F.cross_entropy(state_PD @ product_SD.T, target_P)
    drawn_C = torch.randint(len(product_SD), (_SAMPLED_PRODUCTS,))
    # Each drawn product stands for as many of the others as were not drawn.
    weight = math.log((len(product_SD) - 1) / len(drawn_C))
    others_PC = state_PD @ F.embedding(drawn_C, product_SD).T + weight
    others_PC = others_PC.masked_fill(drawn_C == target_P[:, None], -torch.inf)
    own_P1 = (state_PD * F.embedding(target_P, product_SD)).sum(dim=1, keepdim=True)
    return F.cross_entropy(torch.cat([own_P1, others_PC], dim=1), torch.zeros_like(target_P))


@torch.inference_mode()
def _last_states(model: _Transformer, histories: Histories, chunk: int = 1024) -> npt.NDArray[np.float32]:
    """(A, D) state after the last event; meaningless for an empty history."""
    model.eval()
    parts = [np.empty((0, model.product.embedding_dim), dtype=np.float32)]
    for start in range(0, len(histories), chunk):
        rows = np.arange(start, min(start + chunk, len(histories)))
        last = torch.from_numpy(histories.lengths[rows] - 1).clamp_min(0)
        states_bLD = model(_padded(histories.take(rows)))
        parts.append(states_bLD[torch.arange(len(rows)), last].numpy())
    return np.concatenate(parts)
