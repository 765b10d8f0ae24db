"""`make bench`: every benchmark, one after the other."""

from benchmarks import freshness, index, online, quality, resilience, search, search_latency, text

if __name__ == "__main__":
    quality.main([])
    freshness.main([])
    index.main([])
    online.main([])
    resilience.main([])
    search.main([])
    search_latency.main([])
    text.main([])
