"""Measurements and comparisons: what stands behind the figures of the README."""
