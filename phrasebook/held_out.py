"""The phrasebook's test set: sentences, voices and a speaking rate that were never trained on.

    python -m phrasebook.held_out --speech .cache/phrasebook/speech --output evaluation/data

writes it from synthesised speech: one Opus file for each set and language, and a manifest that says
what stands where. What is in the repository is what the figures are measured on.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from phrasebook.synthesis import Clip, load_clips
from speech_translation.audio import load_audio
from speech_translation.files import replace_file
from speech_translation.types import SAMPLE_RATE, Direction, Language

TEST_SET = Path("evaluation/data/phrasebook.jsonl")
SETS = ("eval_seen", "eval_voices", "eval_rate")
GAP = SAMPLE_RATE // 5


def read_test_set(manifest: Path) -> list[Clip]:
    """The clips of a test set."""
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    files = {name: load_audio(manifest.parent / name) for name in {row["audio"] for row in rows}}
    clips = []
    for row in rows:
        start, end = (round(row[key] * SAMPLE_RATE) for key in ("start", "end"))
        language = Direction(row["direction"]).source
        assert language is not None
        clips.append(
            Clip(
                row["set"],
                language,
                row["transcript"],
                row["text"],
                row["voice"],
                row["rate"],
                np.round(files[row["audio"]][start:end] * 32767).astype(np.int16),
            )
        )
    return clips


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.held_out", description=__doc__)
    parser.add_argument("--speech", type=Path, default=Path(".cache/phrasebook/speech"))
    parser.add_argument("--output", type=Path, default=TEST_SET.parent)
    options = parser.parse_args(argv)
    clips = load_clips(options.speech)
    rows = []
    for name in SETS:
        for language in Language:
            file = f"{name}_{language.value}.opus"
            parts, at = list[np.ndarray](), 0
            chosen = [clip for clip in clips if clip.set == name and clip.language is language]
            for number, clip in enumerate(chosen, 1):
                end = at + len(clip.samples)
                row = {
                    "id": f"{name}-{language.value}-{number}",
                    "set": name,
                    "audio": file,
                    "direction": Direction.of(language).value,
                    "text": clip.translation,
                    "transcript": clip.text,
                    "voice": clip.voice,
                    "rate": clip.rate,
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
    replace_file(options.output / TEST_SET.name, "".join(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
