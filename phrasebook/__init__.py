"""The factory of the embedded checkpoint: sentences, voices, training, evaluation."""
