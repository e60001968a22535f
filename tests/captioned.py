"""A recording of four seconds, and what its captions are to say."""

import numpy as np

from speech_translation.types import Direction, Segment, Translation

SOUND = np.zeros(48_000 * 4, np.float32)
TALK = Translation(
    [
        Segment(0.5, 1.5, "郵便局<まで>。", Direction.EN_JA, source_text="To the {post} office."),
        Segment(2.0, 3.0, "はい。", Direction.EN_JA, source_text="Yes."),
    ],
    Direction.EN_JA,
    4.0,
)
