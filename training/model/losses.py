"""The InfoNCE loss of contexts with one or more targets, against candidates that all contexts share.

Legend: P contexts, C candidates, T choices (pairs of a context and one of its targets), D dimensions.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MAX_LOGITS = 2**24  # 64 MB; with more logits, chunks of contexts are recomputed in the backward pass


class Choices(NamedTuple):
    """The targets of all contexts as pairs of context and candidate.

    Attributes:
        owner_T: (T,) index of the context, ascending.
        place_T: (T,) index of the target among the candidates.
        weight_T: (T,) weight in the loss.
    """

    owner_T: Tensor
    place_T: Tensor
    weight_T: Tensor

    def to(self, device: torch.device) -> "Choices":
        """The choices on a device."""
        return Choices(*(part.to(device, non_blocking=True) for part in self))

    def between(self, start: int, stop: int) -> "Choices":
        """The choices of the contexts `start` to `stop` - 1, with owners counted from 0."""
        edges = torch.tensor([start, stop], device=self.owner_T.device)
        rows = slice(*torch.searchsorted(self.owner_T, edges).tolist())
        return Choices(self.owner_T[rows] - start, self.place_T[rows], self.weight_T[rows])


def info_nce(
    buyer_PD: Tensor,
    candidate_CD: Tensor,
    choices: Choices,
    *,
    temperature: Tensor,
    log_q_C: Tensor | None = None,
    total_weight: Tensor | None = None,
    max_logits: int = MAX_LOGITS,
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748): cross-entropy of each target.

    The negatives of a context are all candidates but its own targets. A target of a context is therefore never a
    negative of another target of it, and a random candidate that is a target by chance (an accidental hit) is no
    negative. If all products are candidates, this is the full softmax.

    Args:
        buyer_PD: Unit buyer vectors.
        candidate_CD: Unit vectors of the candidates, each product once.
        choices: The targets.
        temperature: Scalar that divides the similarities.
        log_q_C: Log probability of each candidate to be sampled. It is subtracted from the logits, because sampling
            otherwise penalises popular products (Yi et al. 2019, https://doi.org/10.1145/3298689.3346996). None means
            no correction.
        total_weight: Sum of the weights, a scalar; None sums those of the choices. A process that has a part of the
            choices passes the sum of all, and the sum of the processes' losses is the loss.
        max_logits: Maximum number of logits in memory.

    Returns:
        The weighted mean loss, a scalar; 0 if all weights are 0.
    """
    # Memory grows with contexts times candidates, and all products may be candidates. Chunks bound it, at the price of
    # computing their logits twice.
    step = max(1, max_logits // len(candidate_CD))
    starts = range(0, len(buyer_PD), step)
    if len(starts) <= 1:  # none at all, if a batch has fewer contexts than there are processes
        total = _weighted_sum(buyer_PD, candidate_CD, choices, temperature, log_q_C)
    else:
        chunks = (
            checkpoint(
                _weighted_sum,
                buyer_PD[start : start + step],
                candidate_CD,
                choices.between(start, start + step),
                temperature,
                log_q_C,
                # torch recommends this variant and warns if none is named.
                use_reentrant=False,
            )
            for start in starts
        )
        total = torch.stack(list(chunks)).sum()
    if total_weight is None:
        total_weight = choices.weight_T.sum()
    # All weights can be 0, for event types of weight 0 or for contexts so old that their weight underflows.
    return total / total_weight.clamp_min(torch.finfo(total_weight.dtype).tiny)


def _weighted_sum(
    buyer_PD: Tensor, candidate_CD: Tensor, choices: Choices, temperature: Tensor, log_q_C: Tensor | None
) -> Tensor:
    """The weighted sum of the losses of all targets."""
    # Dividing the buyer vectors takes P x D divisions instead of P x C.
    logit_PC = (buyer_PD / temperature) @ candidate_CD.T
    if log_q_C is not None:
        logit_PC = logit_PC - log_q_C
    target_T = logit_PC[choices.owner_T, choices.place_T]
    # A context may have several targets. A plain cross-entropy would make each of them a negative of the others.
    is_target_PC = torch.zeros_like(logit_PC, dtype=torch.bool)
    is_target_PC[choices.owner_T, choices.place_T] = True
    negatives_P = logit_PC.masked_fill(is_target_PC, -torch.inf).logsumexp(dim=1)
    # -ln(e^target / (e^target + sum of e^negative)) = softplus(ln(sum of e^negative) - target)
    losses_T = F.softplus(negatives_P[choices.owner_T] - target_T)
    return (losses_T * choices.weight_T).sum()
