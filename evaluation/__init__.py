"""The benchmark and the measurements behind the figures of docs/."""

from speech_translation.process import own_process

own_process()
