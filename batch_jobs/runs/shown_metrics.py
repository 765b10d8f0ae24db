"""The metrics of a run that people are shown, at the largest cut-off."""

SHOWN_METRICS = ("recall", "ndcg", "hit_rate", "mrr")
