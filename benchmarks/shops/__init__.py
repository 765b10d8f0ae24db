"""The data of the benchmarks: a synthetic shop and real data sets."""
