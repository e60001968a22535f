"""The phrasebook's test set: sentences, voices and a speaking rate that were never trained on.

    python -m phrasebook.held_out --speech .cache/phrasebook/speech --output evaluation/data
    python -m phrasebook.held_out --sets eval_pause

writes it from synthesised speech: one Opus file for each set and language, and a manifest that says
what stands where. What is in the repository is what the figures are measured on, so a set that is
not named stays as it is.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from phrasebook.synthesis import Clip, load_clips
from speech_translation.audio import load_audio
from speech_translation.files import replace_file
from speech_translation.types import SAMPLE_RATE, Direction, Language

TEST_SET = Path("evaluation/data/phrasebook.jsonl")
SETS = ("eval_seen", "eval_voices", "eval_rate", "eval_pause")
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
                row.get("pause", 0.0),
                samples=np.round(files[row["audio"]][start:end] * 32767).astype(np.int16),
            )
        )
    return clips


def write_set(name: str, clips: Sequence[Clip], folder: Path) -> list[str]:
    """Write the recordings of a set into `folder`; return its lines of the manifest."""
    lines = []
    for language in Language:
        file = f"{name}_{language.value}.opus"
        parts, at = list[np.ndarray](), 0
        chosen = [clip for clip in clips if clip.set == name and clip.language is language]
        for number, clip in enumerate(chosen, 1):
            end = at + len(clip.samples)
            row: dict[str, Any] = {
                "id": f"{name}-{language.value}-{number}",
                "set": name,
                "audio": file,
                "direction": Direction.of(language).value,
                "text": clip.translation,
                "transcript": clip.text,
                "voice": clip.voice,
                "rate": clip.rate,
            }
            row |= {"pause": clip.pause} if clip.pause else {}
            row |= {"start": at / SAMPLE_RATE, "end": end / SAMPLE_RATE}
            lines.append(json.dumps(row, ensure_ascii=False))
            parts += [clip.samples, np.zeros(GAP, np.int16)]
            at = end + GAP
        encoded = io.BytesIO()
        soundfile.write(encoded, np.concatenate(parts), SAMPLE_RATE, format="OGG", subtype="OPUS")
        replace_file(folder / file, encoded.getvalue())
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.held_out", description=__doc__)
    parser.add_argument("--speech", type=Path, default=Path(".cache/phrasebook/speech"))
    parser.add_argument("--output", type=Path, default=TEST_SET.parent)
    parser.add_argument(
        "--sets", nargs="+", choices=SETS, default=SETS, help="those to write (default: all)"
    )
    options = parser.parse_args(argv)
    manifest = options.output / TEST_SET.name
    known = manifest.read_text("utf-8").splitlines() if manifest.exists() else []
    clips = load_clips(options.speech)
    spoken = {(clip.set, clip.language) for clip in clips}
    lacking = [x for x in options.sets if not spoken.issuperset((x, y) for y in Language)]
    if lacking:
        parser.error(f"{options.speech} lacks speech of {', '.join(lacking)}: name other --sets")
    lines = []
    for name in SETS:
        if name in options.sets:
            lines += write_set(name, clips, options.output)
        else:
            lines += [line for line in known if json.loads(line)["set"] == name]
    replace_file(manifest, "".join(line + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
