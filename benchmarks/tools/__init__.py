"""What the benchmarks measure with: load generator, server processes, memory, the machine."""
