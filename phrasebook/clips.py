"""Make the clips in `examples/` from the evaluation's speech: held-out sentences, chosen voices.

    python -m phrasebook.clips --output examples
    python -m phrasebook.clips --only talk

Drawn from what the checkpoint translates exactly: they show it at work and hold it in the tests,
they do not measure it. Each clip gets a .txt with the reference translation and a line for each
sentence in the folder's clips.tsv, however many of them are in a segment.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from phrasebook.held_out import TEST_SET, read_test_set
from phrasebook.synthesis import Clip
from speech_translation.engine import Engine, load_engine
from speech_translation.errors import ModelError
from speech_translation.files import replace_file
from speech_translation.text import split_sentences
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Language, Seconds, Segment, Translation


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a clip is made of. Times are seconds."""

    source: str
    """Set of the evaluation it is drawn from."""

    sentences: int

    between: tuple[Seconds, Seconds] = (0.0, 0.0)
    """Least and most silence between two sentences, beside what their clips begin and end with."""

    paragraph: int = 0
    """After so many sentences the speaker pauses for `CHANGE`; 0 for never."""

    inside: Seconds = 0.0
    """Each sentence has a pause of at least so long inside; all are by one voice."""


CLIPS = {
    "1": Recipe("eval_voices", 1),  # also right over the telephone
    "2": Recipe("eval_rate", 1),
    "two_sentences": Recipe("eval_voices", 2, (1.2, 1.2)),
    "long": Recipe("eval_seen", 22, (1.0, 1.0), paragraph=3),
    # As people talk: the pauses inside of sentences are longer than those between them.
    "talk": Recipe("eval_pause", 4, (0.15, 0.4), inside=0.6),
}
CHANGE: Seconds = 3.4  # more than lies inside of a segment
DRAWS = 100  # of sentences for a paragraph before it is given up
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
    """Whether the assembled recording gives its sentences in order, surely, forced or not.

    `segments` has one for each sentence; the recording's may have several.
    """
    sound = samples.astype(np.float32) / 32768
    wanted = [segment.text for segment in segments]
    for direction in (segments[0].direction, Direction.AUTO):
        answer = translate(sound, engine, direction)
        heard = [text for x in answer.segments for text in split_sentences(x.text)]
        if answer.flags or heard != wanted:
            return False
    return True


def heard_by_telephone(engine: Engine, clip: Clip) -> bool:
    """Whether the clip is still translated exactly after AMR at 8 kHz, the harshest container."""
    import av
    import soxr

    samples, _ = assembled([clip], [])
    narrow = soxr.resample(samples.astype(np.float32) / 32768, SAMPLE_RATE, 8000)
    file = io.BytesIO()
    with av.open(file, "w", format="amr") as output:
        track = output.add_stream("libopencore_amrnb", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(narrow[None], format="flt", layout="mono")
        frame.sample_rate = 8000
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return translate(file.getvalue(), engine).text == clip.translation


def assembled(clips: Sequence[Clip], pauses: Sequence[Seconds]) -> tuple[np.ndarray, list[Segment]]:
    """The clips with pauses between them, int16 (n,), and where each one stands."""
    silences = [np.zeros(round(x * SAMPLE_RATE), np.int16) for x in (MARGIN, *pauses, MARGIN)]
    parts, segments, position = [silences[0]], list[Segment](), len(silences[0])
    for clip, silence in zip(clips, silences[1:], strict=True):
        end = position + len(clip.samples)
        direction = Direction.of(clip.language)
        segments.append(
            Segment(position / SAMPLE_RATE, end / SAMPLE_RATE, clip.translation, direction)
        )
        parts += [clip.samples, silence]
        position = end + len(silence)
    return np.concatenate(parts), segments


def drawn(
    engine: Engine, clips: Sequence[Clip], name: str, rng: random.Random
) -> tuple[np.ndarray, list[Segment], list[Clip]]:
    """The samples of the clip `name`, int16 (n,), where its sentences stand, and these.

    `clips` are of one language. Raises ModelError if the checkpoint translates too few of them.
    """
    recipe = CLIPS[name]
    pool = [c for c in clips if c.set == recipe.source and c.pause >= recipe.inside]
    right = steady(engine, pool, Direction.of(clips[0].language))
    if name == "1":
        right = [clip for clip in right if heard_by_telephone(engine, clip)]
    chosen, pauses = list[Clip](), list[Seconds]()
    for _ in range(DRAWS if right else 0):
        voice = rng.choice(right).voice
        among = [clip for clip in right if clip.voice == voice] if recipe.inside else right
        among = [clip for clip in among if clip.id not in {x.id for x in chosen}]
        count = min(recipe.paragraph or recipe.sentences, recipe.sentences - len(chosen))
        if len(among) < count:
            continue
        paragraph = rng.sample(among, count)
        between = [rng.uniform(*recipe.between) for _ in paragraph[1:]]
        if exact(engine, *assembled(paragraph, between)):
            pauses += [CHANGE, *between] if chosen else between
            chosen += paragraph
        if len(chosen) == recipe.sentences:
            return *assembled(chosen, pauses), chosen
    raise ModelError(
        f"No clip {name!r}: of {len(pool)} sentences the checkpoint translates {len(right)} "
        f"surely, and {recipe.sentences} in one recording in none of {DRAWS} tries. Train it "
        "longer."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.clips", description=__doc__)
    parser.add_argument("--test-set", type=Path, default=TEST_SET)
    parser.add_argument("--output", type=Path, default=Path("examples"))
    parser.add_argument("--model", default="phrasebook")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", choices=CLIPS, default=list(CLIPS), help="those to make (default: all)"
    )
    options = parser.parse_args(argv)
    engine = load_engine(options.model, "cpu")
    table = options.output / "clips.tsv"
    rows = defaultdict[str, list[str]](list)
    for line in table.read_text("utf-8").splitlines() if table.exists() else []:
        rows[line.split("\t")[0]].append(line)
    rows["file"] = ["file\tspoken\ttranslation\tvoice\trate"]
    test_set = read_test_set(options.test_set)
    for language in Language:
        clips = [clip for clip in test_set if clip.language is language]
        for name in options.only:
            rng = random.Random(f"{options.seed} {language} {name}")
            try:
                samples, segments, chosen = drawn(engine, clips, name, rng)
            except ModelError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            path = options.output / f"{language}_{name}.flac"
            soundfile.write(path, samples, SAMPLE_RATE)
            text = Translation(segments, segments[0].direction, 0.0).text
            replace_file(path.with_suffix(".txt"), text + "\n")
            rows[path.name] = [
                f"{path.name}\t{c.text}\t{c.translation}\t{c.voice}\t{c.rate:g}" for c in chosen
            ]
    order = ["file", *(f"{language}_{name}.flac" for language in Language for name in CLIPS)]
    replace_file(table, "".join(f"{row}\n" for file in order for row in rows[file]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
