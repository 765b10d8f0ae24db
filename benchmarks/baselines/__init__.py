"""Baselines that only the benchmarks use, and the search for the parameters of all baselines."""
