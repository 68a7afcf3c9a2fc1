"""Benchmarks: figures, not tests. Each prints what it measured and under which conditions."""
