"""Export the phrasebook's evaluation clips as data for the benchmark.

    python -m training.test_set --speech .cache/phrasebook/speech --output evaluation/data

One Opus file for each set and language, and a manifest that says what stands where.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from speech_translation.files import replace_file
from speech_translation.types import SAMPLE_RATE, Language
from training.phrasebook_eval import ROWS, TRANSLATED
from training.synthesis import load_clips

GAP = SAMPLE_RATE // 5


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="training.test_set", description=__doc__)
    parser.add_argument("--speech", type=Path, default=Path(".cache/phrasebook/speech"))
    parser.add_argument("--output", type=Path, default=Path("evaluation/data"))
    options = parser.parse_args(argv)
    clips = load_clips(options.speech)
    rows = []
    for name in ROWS:
        for language in Language:
            file = f"{name}_{language.value}.opus"
            parts, at = list[np.ndarray](), 0
            chosen = [clip for clip in clips if clip.set == name and clip.language is language]
            for number, clip in enumerate(chosen, 1):
                end = at + len(clip.samples)
                row = {
                    "id": f"{name}-{language.value}-{number}",
                    "audio": file,
                    "direction": TRANSLATED[language].value,
                    "reference": clip.translation,
                    "source": clip.text,
                    "start": at / SAMPLE_RATE,
                    "end": end / SAMPLE_RATE,
                }
                rows.append(json.dumps(row, ensure_ascii=False) + "\n")
                parts += [clip.samples, np.zeros(GAP, np.int16)]
                at = end + GAP
            encoded = io.BytesIO()
            sound = np.concatenate(parts)
            soundfile.write(encoded, sound, SAMPLE_RATE, format="OGG", subtype="OPUS")
            replace_file(options.output / file, encoded.getvalue())
    replace_file(options.output / "phrasebook.jsonl", "".join(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
