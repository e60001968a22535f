"""The benchmark and the measurements behind the figures of docs/."""
