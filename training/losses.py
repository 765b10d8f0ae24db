"""InfoNCE with in-batch and random negatives.

Legend: B pairs, R random negatives of the whole batch, C = B + R candidates, D dimensions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    buyer_BD: Tensor,
    candidate_CD: Tensor,
    candidate_C: Tensor,
    context_B: Tensor,
    *,
    temperature: float,
    log_q_C: Tensor | None = None,
) -> Tensor:
    """The InfoNCE loss (van den Oord et al. 2018): cross-entropy of each pair's product against all candidates.

    Candidate b is the product of pair b for b < B; the candidates after B are random negatives, shared by all pairs. No
    negative, and so masked, is a candidate that is the pair's own product (chosen by two buyers of the batch, or drawn
    by chance) or that was chosen together with it.

    Args:
        buyer_BD: Unit buyer vectors.
        candidate_CD: Unit product vectors.
        candidate_C: Product numbers of the candidates.
        context_B: Numbers of the pairs' contexts.
        temperature: Scores are divided by it.
        log_q_C: Log of the chance to be drawn as a candidate; subtracted from the scores of in-batch sampling, which
            otherwise punishes popular products (Yi et al. 2019). None: no correction.

    Returns:
        The mean loss, a scalar.
    """
    logit_BC = (buyer_BD / temperature) @ candidate_CD.T
    if log_q_C is not None:
        logit_BC = logit_BC - log_q_C
    n_pairs = len(buyer_BD)
    masked_BC = candidate_C[:n_pairs, None] == candidate_C[None, :]
    masked_BC[:, :n_pairs] |= context_B[:, None] == context_B[None, :]
    masked_BC[:, :n_pairs].fill_diagonal_(False)
    return F.cross_entropy(logit_BC.masked_fill(masked_BC, -torch.inf), torch.arange(n_pairs, device=logit_BC.device))
