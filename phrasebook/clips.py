"""Make the clips in `examples/` from the evaluation's speech: held-out sentences, chosen voices.

    python -m phrasebook.clips --output examples

Drawn from what the checkpoint translates exactly: they show it at work and hold it in the tests,
they do not measure it. Each clip gets a .txt with the reference translation and a line for each
sentence in the folder's clips.tsv.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from phrasebook.held_out import TEST_SET, read_test_set
from phrasebook.synthesis import Clip
from speech_translation.engine import Engine, load_engine
from speech_translation.files import replace_file
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Language, Segment, Translation

# Name, set of the evaluation it is drawn from, sentences, seconds of silence between them.
CLIPS = (
    ("1", "eval_voices", 1, 0.0),  # also right over the telephone
    ("2", "eval_rate", 1, 0.0),
    ("two_sentences", "eval_voices", 2, 1.2),
    ("long", "eval_seen", 22, 1.0),
)
MARGIN = 0.4  # seconds of silence before and after
NEAR = 0.2  # seconds
SHIFTS = (0, 100, 200, 300, 400)  # samples, within one window of the speech detector


def steady(engine: Engine, clips: Sequence[Clip], direction: Direction) -> list[Clip]:
    """The clips that are translated exactly and surely, wherever in a recording they begin.

    Their speech is also heard to begin and end where they do.
    """

    def holds(clip: Clip, shift: int) -> bool:
        silence = np.zeros(SAMPLE_RATE + shift, np.float32)
        sound = clip.samples.astype(np.float32) / 32768
        answer = translate(np.concatenate([silence, sound, silence]), engine, direction)
        if answer.text != clip.translation or answer.flags or len(answer.segments) != 1:
            return False
        (segment,) = answer.segments
        start = len(silence) / SAMPLE_RATE
        end = start + len(sound) / SAMPLE_RATE
        return max(abs(segment.start - start), abs(segment.end - end)) < NEAR

    kept = list(clips)
    for shift in SHIFTS:
        kept = [clip for clip in kept if holds(clip, shift)]
    return kept


def exact(engine: Engine, samples: np.ndarray, segments: Sequence[Segment]) -> bool:
    """Whether the assembled recording gives its sentences, surely, forced or not."""
    sound = samples.astype(np.float32) / 32768
    for direction in (segments[0].direction, Direction.AUTO):
        answer = translate(sound, engine, direction)
        if answer.flags or [x.text for x in answer.segments] != [x.text for x in segments]:
            return False
    return True


def heard_by_telephone(engine: Engine, clip: Clip) -> bool:
    """Whether the clip is still translated exactly after AMR at 8 kHz, the harshest container."""
    import av
    import soxr

    samples, _ = assembled([clip], 0.0)
    narrow = soxr.resample(samples.astype(np.float32) / 32768, SAMPLE_RATE, 8000)
    file = io.BytesIO()
    with av.open(file, "w", format="amr") as output:
        track = output.add_stream("libopencore_amrnb", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(narrow[None], format="flt", layout="mono")
        frame.sample_rate = 8000
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return translate(file.getvalue(), engine).text == clip.translation


def assembled(clips: Sequence[Clip], pause: float) -> tuple[np.ndarray, list[Segment]]:
    """The clips one after another, int16 (n,), and where each one stands."""
    silence = np.zeros(round(pause * SAMPLE_RATE), np.int16)
    margin = np.zeros(round(MARGIN * SAMPLE_RATE), np.int16)
    parts, segments, position = [margin], list[Segment](), len(margin)
    for clip in clips:
        end = position + len(clip.samples)
        direction = Direction.of(clip.language)
        segments.append(
            Segment(position / SAMPLE_RATE, end / SAMPLE_RATE, clip.translation, direction)
        )
        parts += [clip.samples, silence]
        position = end + len(silence)
    parts[-1] = margin
    return np.concatenate(parts), segments


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.clips", description=__doc__)
    parser.add_argument("--test-set", type=Path, default=TEST_SET)
    parser.add_argument("--output", type=Path, default=Path("examples"))
    parser.add_argument("--model", default="phrasebook")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    engine = load_engine(options.model, "cpu")
    rows = ["file\tspoken\ttranslation\tvoice\trate"]
    clips = read_test_set(options.test_set)
    for language in Language:
        for name, source, count, pause in CLIPS:
            rng = random.Random(f"{options.seed} {language} {name}")
            pool = [c for c in clips if c.set == source and c.language is language]
            right = steady(engine, pool, Direction.of(language))
            if name == "1":
                right = [c for c in right if heard_by_telephone(engine, c)]
            while True:
                chosen = rng.sample(right, count)
                samples, segments = assembled(chosen, pause)
                if exact(engine, samples, segments):
                    break
            path = options.output / f"{language}_{name}.flac"
            soundfile.write(path, samples, SAMPLE_RATE)
            text = Translation(segments, segments[0].direction, 0.0).text
            replace_file(path.with_suffix(".txt"), text + "\n")
            rows += [
                f"{path.name}\t{c.text}\t{c.translation}\t{c.voice}\t{c.rate:g}" for c in chosen
            ]
    replace_file(options.output / "clips.tsv", "\n".join(rows) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
