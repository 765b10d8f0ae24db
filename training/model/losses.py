"""InfoNCE of contexts with one or several chosen products against shared candidates.

Legend: P contexts, C candidates, T choices (pairs of a context and a product chosen there), D dimensions.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MAX_LOGITS = 2**24  # logits held at once, 64 MB: more contexts are worked off in parts and computed again backwards


class Choices(NamedTuple):
    """What was chosen among the candidates.

    Attributes:
        owner_T: (T,) the context of each choice, ascending.
        place_T: (T,) its product among the candidates.
        weight_T: (T,) what it counts in the loss.
    """

    owner_T: Tensor
    place_T: Tensor
    weight_T: Tensor

    def to(self, device: torch.device) -> "Choices":
        """The same on a device."""
        return Choices(*(part.to(device, non_blocking=True) for part in self))

    def between(self, start: int, stop: int) -> "Choices":
        """Those of the contexts from `start` to `stop` - 1, which count from 0."""
        edges = torch.tensor([start, stop], device=self.owner_T.device)
        own = slice(*torch.searchsorted(self.owner_T, edges).tolist())
        return Choices(self.owner_T[own] - start, self.place_T[own], self.weight_T[own])


def info_nce(
    buyer_PD: Tensor,
    candidate_CD: Tensor,
    choices: Choices,
    *,
    temperature: Tensor,
    log_q_C: Tensor | None = None,
    max_logits: int = MAX_LOGITS,
) -> Tensor:
    """The InfoNCE loss (van den Oord et al. 2018): cross-entropy of each choice against the products not chosen.

    Every candidate is a negative of every context, except those that were chosen in it (in the batch for another
    context, or drawn by chance: accidental hits). Several choices of one context share its logits, and none is a
    negative of another. With the whole catalogue as candidates this is the softmax over all products.

    Args:
        buyer_PD: Unit buyer vectors.
        candidate_CD: Unit vectors of the candidates, each product once.
        choices: What was chosen.
        temperature: Scores are divided by it, a scalar.
        log_q_C: Log of the chance to be among the candidates; subtracted from the scores, since sampling otherwise
            punishes products that are drawn often (Yi et al. 2019). None: no correction.
        max_logits: Logits held at once.

    Returns:
        The mean of the choices' losses by their weights, a scalar; 0 where no choice has weight.
    """
    step = max(1, max_logits // len(candidate_CD))
    starts = range(0, len(buyer_PD), step)
    if len(starts) == 1:
        total = _summed(buyer_PD, candidate_CD, choices, temperature, log_q_C)
    else:
        parts = (
            checkpoint(
                _summed,
                buyer_PD[start : start + step],
                candidate_CD,
                choices.between(start, start + step),
                temperature,
                log_q_C,
                use_reentrant=False,
            )
            for start in starts
        )
        total = torch.stack(list(parts)).sum()
    # Weights may all be 0: of events that do not count, or of contexts so old that nothing is left of theirs.
    return total / choices.weight_T.sum().clamp_min(torch.finfo(choices.weight_T.dtype).tiny)


def _summed(
    buyer_PD: Tensor, candidate_CD: Tensor, choices: Choices, temperature: Tensor, log_q_C: Tensor | None
) -> Tensor:
    """The weighted sum of the choices' losses."""
    logit_PC = (buyer_PD / temperature) @ candidate_CD.T
    if log_q_C is not None:
        logit_PC = logit_PC - log_q_C
    own_T = logit_PC[choices.owner_T, choices.place_T]
    no_negative_PC = torch.zeros_like(logit_PC, dtype=torch.bool)
    no_negative_PC[choices.owner_T, choices.place_T] = True
    negatives_P = logit_PC.masked_fill(no_negative_PC, -torch.inf).logsumexp(dim=1)
    # -ln(e^own / (e^own + sum of e^negative)) = softplus(ln(sum of e^negative) - own)
    losses_T = F.softplus(negatives_P[choices.owner_T] - own_T)
    return (losses_T * choices.weight_T).sum()
