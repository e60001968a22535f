"""Speed and memory, measured at the full size of the model."""
