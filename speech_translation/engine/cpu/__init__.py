"""Decoding on a CPU: narrow weights, one decode step compiled, the products."""
