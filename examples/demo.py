"""Translate the bundled clips offline and print them beside their references: `make demo`."""

from __future__ import annotations

import sys
from pathlib import Path

from speech_translation.audio import EXTENSIONS
from speech_translation.engine import load_engine
from speech_translation.process import own_process
from speech_translation.translate import translate

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Returns 1 when a translation differs from its reference."""
    own_process()
    print("loading the embedded phrasebook checkpoint", file=sys.stderr)
    engine = load_engine("phrasebook")
    print(engine.description, file=sys.stderr)
    different = 0
    for clip in sorted(p for p in FOLDER.iterdir() if p.suffix in EXTENSIONS):
        translation = translate(clip, engine)
        reference = clip.with_suffix(".txt").read_text("utf-8").strip()
        same = translation.text == reference
        different += not same
        print(
            f"\n{clip.name}  {translation.direction.value}, {translation.duration:.1f} s of audio "
            f"in {translation.compute_seconds:.1f} s, {'as' if same else 'NOT as'} the reference\n"
            f"  translation  {translation.text}\n"
            f"  reference    {reference}"
        )
    print("\nYour own recording: .venv/bin/python inference.py FILE --model phrasebook")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
