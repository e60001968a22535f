"""The factory of the embedded checkpoint: sentences, voices, training, evaluation."""

from speech_translation.process import own_process

own_process()
