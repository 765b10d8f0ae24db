"""InfoNCE with in-batch and random negatives.

Legend: B pairs, R random negatives of the whole batch, C = B + R candidates, D dimensions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    buyer_BD: Tensor,
    candidate_CD: Tensor,
    chosen_BC: Tensor,
    *,
    temperature: float,
    log_q_C: Tensor | None = None,
) -> Tensor:
    """The InfoNCE loss (van den Oord et al. 2018): cross-entropy of each pair's product against all candidates.

    Candidate b is the product of pair b for b < B; the candidates after B are random negatives, shared by all pairs.

    Args:
        buyer_BD: Unit buyer vectors.
        candidate_CD: Unit product vectors.
        chosen_BC: True where the buyer of pair b chose the candidate's product at that moment: such a candidate, in the
            batch for another pair or drawn by chance, is no negative and is masked.
        temperature: Scores are divided by it.
        log_q_C: Log of the chance to be drawn as a candidate; subtracted from the scores, since sampling otherwise
            punishes products that are drawn often (Yi et al. 2019). None: no correction.

    Returns:
        The mean loss, a scalar.
    """
    logit_BC = (buyer_BD / temperature) @ candidate_CD.T
    if log_q_C is not None:
        logit_BC = logit_BC - log_q_C
    own_B = torch.arange(len(buyer_BD), device=logit_BC.device)
    no_negative_BC = chosen_BC.clone()
    no_negative_BC[own_B, own_B] = False
    return F.cross_entropy(logit_BC.masked_fill(no_negative_BC, -torch.inf), own_B)
