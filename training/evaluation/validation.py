"""Validation after each epoch: its metrics choose the best epoch and the best tuning trial.

Legend: N products of the catalogue, D dimensions.
"""

import numpy as np

from training.data.contexts import Contexts
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.metrics import Targets
from training.evaluation.ranker import Ranker
from training.evaluation.ranking import compare
from training.model.encoding import TwoTowerRanker, encode_buyers, encode_catalogue
from training.model.item_features import ItemFeatures
from training.model.towers import TwoTower

SELECTION_METRIC = "ndcg@20"  # the epoch and the trial with the highest value win
VALIDATION_CONTEXTS = 5000  # at most so many are ranked, which bounds the time of a validation


def validate(model: TwoTower, items: ItemFeatures, validation: Contexts) -> dict[str, float]:
    """Ranks all products for an evenly spaced sample of the validation contexts.

    Only products that the buyer has not bought before count, because the towers are for discovery: the re-scorer
    handles repeat purchases. If no context has such a target, all targets count.
    """
    discoveries = validation.new_to_the_buyer()
    contexts = discoveries if len(discoveries) else validation
    # The same contexts in every epoch and trial, so that only the model makes a difference. They are sorted by buyer:
    # an even spacing covers all buyers.
    sample = contexts.take(np.unique(np.linspace(0, len(contexts) - 1, VALIDATION_CONTEXTS).astype(np.int64)))
    item_ND = encode_catalogue(model, items)
    ranker: Ranker = TwoTowerRanker(encode_buyers(model, item_ND, sample), item_ND)
    if len(discoveries):
        ranker = MaskedRanker(ranker, sample.purchases)
    targets = Targets(sample.targets.offsets, sample.targets.products)
    return compare([ranker], np.arange(len(sample), dtype=np.int32), targets, [20], show_progress=False)[ranker.name]
