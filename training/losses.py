"""InfoNCE with in-batch and random negatives.

Legend: B pairs, R random negatives of the whole batch, C = B + R candidates, D dimensions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    buyer_BD: Tensor,
    candidate_CD: Tensor,
    target_B: Tensor,
    candidate_C: Tensor,
    *,
    temperature: float,
    log_q_C: Tensor | None = None,
) -> Tensor:
    """The InfoNCE loss (van den Oord et al. 2018): cross-entropy of each pair's product against all candidates.

    Candidate b is the product of pair b for b < B; the candidates after B are random negatives, shared by all pairs. A
    candidate that is the pair's own product (bought by two buyers of the batch, or drawn by chance) is no negative: it
    is masked.

    Args:
        buyer_BD: Unit buyer vectors.
        candidate_CD: Unit product vectors.
        target_B: Product numbers of the pairs.
        candidate_C: Product numbers of the candidates; the first B equal target_B.
        temperature: Scores are divided by it.
        log_q_C: Log of the chance to be drawn as a candidate; subtracted from the scores of in-batch sampling, which
            otherwise punishes popular products (Yi et al. 2019). None: no correction.

    Returns:
        The mean loss, a scalar.
    """
    logit_BC = buyer_BD @ candidate_CD.T / temperature
    if log_q_C is not None:
        logit_BC = logit_BC - log_q_C
    own_BC = target_B[:, None] == candidate_C[None, :]
    own_BC[:, : len(target_B)].fill_diagonal_(False)
    return F.cross_entropy(
        logit_BC.masked_fill(own_BC, -torch.inf), torch.arange(len(target_B), device=logit_BC.device)
    )
