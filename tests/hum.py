"""A folder of clips as `phrasebook.synthesis` leaves it: hum in place of speech."""

from pathlib import Path

import numpy as np

from phrasebook.synthesis import ClipWriter, Job
from speech_translation.types import Language

PHRASE, WORD = ("Good morning.", "おはようございます。"), ("Wine.", "ワイン。")


def write_clips(folder: Path) -> None:
    """Both languages: a phrase by two voices, a word, and speech outside the phrasebook."""
    rng = np.random.default_rng(0)
    writer = ClipWriter(folder)
    for language in Language:
        turn = 1 if language is Language.ENGLISH else -1
        for kind, voice, (text, translation) in (
            ("train", "af_heart", PHRASE[::turn]),
            ("train", "mei^1.00+0", PHRASE[::turn]),
            ("word", "af_sky", WORD[::turn]),
            ("other", "af_sky", (PHRASE[::turn][0], "")),
        ):
            job = Job(kind, language, text, translation, voice, 1.0)
            writer.append(job, rng.normal(0, 3000, 16_000).astype("<i2"))
