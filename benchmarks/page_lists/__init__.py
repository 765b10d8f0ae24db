"""Benchmarks of the lists on a shop's pages."""
