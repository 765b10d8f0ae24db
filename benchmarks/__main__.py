"""`make bench`: every benchmark, one after the other."""

from benchmarks import freshness, quality

if __name__ == "__main__":
    quality.main([])
    freshness.main([])
