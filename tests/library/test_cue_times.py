"""When cues show: by the speech around pauses, and against the truth."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from caption_texts import EN, JA, one, said
from clips import ROOT

from speech_translation.audio import load_audio
from speech_translation.cues import Cue, cues
from speech_translation.segments import find_segments
from speech_translation.types import SAMPLE_RATE, Direction, Segment, Translation


def test_a_sentence_begins_and_ends_with_the_speech_around_its_pause() -> None:
    # In proportion to their width alone, the second would begin in the middle of the first region.
    text = "Would you like to dance with us on Friday? I will meet my grandmother at the museum."
    assert said(text, (1.0, 5.2), (5.9, 9.0)) == [
        Cue(1000, 5200, "Would you like to dance with us on Friday?"),
        Cue(5900, 9000, "I will meet my grandmother at the museum."),
    ]


def test_sentences_share_a_region_when_there_are_fewer_pauses_than_ends() -> None:
    text = (
        "The train to Tokyo leaves at half past six. The bank is right behind the old temple. "
        "My daughter often listens to music on Sunday."
    )
    first, second, third = said(text, (1.0, 6.0), (6.6, 9.2))
    assert (first.start_ms, second.end_ms, third.start_ms, third.end_ms) == (1000, 6000, 6600, 9200)
    assert 3000 < first.end_ms == second.start_ms < 4000


def test_a_sentence_said_over_short_pauses_shows_all_the_while() -> None:
    text = "The train to Tokyo leaves from the other platform."
    (cue,) = said(text, (1.0, 2.5), (3.1, 3.5), (4.4, 5.0))
    assert (cue.start_ms, cue.end_ms) == (1000, 5000)


@pytest.mark.parametrize(
    ("text", "direction", "regions", "parts"),
    [
        (
            "When the girl tried to pay, the old man shook his head.",
            EN,
            ((1.0, 3.4), (4.4, 6.5)),
            [
                (1000, 3400, "When the girl tried to pay,"),
                (4400, 6500, "the old man shook his head."),
            ],
        ),
        (
            "図書館まで歩いて20分かかります。",
            JA,
            ((1.0, 1.9), (3.0, 4.5)),
            [(1000, 1900, "図書館まで"), (3000, 4500, "歩いて20分かかります。")],
        ),
    ],
)
def test_a_sentence_said_over_a_long_pause_is_divided_at_a_good_break(
    text: str,
    direction: Direction,
    regions: tuple[tuple[float, float], ...],
    parts: list[tuple[int, int, str]],
) -> None:
    assert said(text, *regions, direction=direction) == [Cue(*part) for part in parts]


def test_what_cannot_be_divided_stays_on_the_side_with_more_speech() -> None:
    assert said("Thank you.", (1.0, 1.3), (2.5, 3.5)) == [Cue(2500, 3500, "Thank you.")]
    assert said("Thank you.", (1.0, 2.0), (3.2, 3.5)) == [Cue(1000, 2000, "Thank you.")]


def test_a_segment_that_names_no_regions_is_speech_throughout() -> None:
    text = "It opens at eight. We surveyed 1,200 residents in all, and most of them read on phones."
    assert one(text, 8.8) == said(text, (0.0, 8.8))


def test_regions_that_overlap_or_run_backwards_give_cues_in_order() -> None:
    text = "My father likes curry. He cooks it on Sundays. It takes him all day long to do so."
    result = said(text, (1.0, 3.0), (2.0, 1.5), (2.5, 5.0), (4.0, 4.0))
    assert (result[0].start_ms, result[-1].end_ms) == (1000, 5000)


def test_a_text_that_loops_does_not_take_long() -> None:
    regions = [(at, at + 0.2) for at in np.arange(0.0, 29.0, 0.5)]
    assert said("yes " * 700, *regions)[-1].end_ms == 28_700  # it took a minute and a half


# Times against the truth, without a model: what is said where is known, and so is its translation.

HOP = SAMPLE_RATE // 100
PAUSES = (0.1, 1.2)  # seconds, between sentences and in the middle of some
PAUSED = 0.3  # of the sentences


class Said(NamedTuple):
    """A sentence in a recording: seconds, and what it means."""

    start: float
    end: float
    text: str


def level(samples: np.ndarray) -> np.ndarray:
    """Root mean square of each 10 ms."""
    hops = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    return np.sqrt((hops**2).mean(axis=1))


def sentences(direction: Direction) -> list[tuple[np.ndarray, str]]:
    """The held-out sentences of the repository from first sound to last, and their translations."""
    folder = ROOT / "evaluation" / "data"
    lines = (folder / "phrasebook.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["direction"] == direction]
    rows = [row for row in rows if row["set"] in ("eval_seen", "eval_voices", "eval_rate")]
    files = {name: load_audio(folder / name) for name in sorted({row["audio"] for row in rows})}
    result = []
    for row in rows:
        start, end = (round(row[key] * SAMPLE_RATE) for key in ("start", "end"))
        samples = files[row["audio"]][start:end]
        loud = np.flatnonzero(level(samples) > 0.02 * level(samples).max())
        result.append((samples[loud[0] * HOP : (loud[-1] + 1) * HOP], row["text"]))
    return result


def assembled(direction: Direction, seed: int) -> tuple[np.ndarray, list[Said]]:
    """All sentences in any order, with pauses: float32 (n,) at 16 kHz, and where they are."""
    rng = np.random.default_rng(seed)
    clips = sentences(direction)

    def pause() -> np.ndarray:
        return np.zeros(round(rng.uniform(*PAUSES) * SAMPLE_RATE), np.float32)

    parts, truth = [np.zeros(SAMPLE_RATE // 2, np.float32)], list[Said]()
    for number in rng.permutation(len(clips)):
        samples, text = clips[number]
        if rng.random() < PAUSED:  # at the quietest point of the middle half
            hops = np.convolve(level(samples), np.ones(5), "same")
            at = (len(hops) // 4 + int(hops[len(hops) // 4 : -len(hops) // 4].argmin())) * HOP
            samples = np.concatenate([samples[:at], pause(), samples[at:]])
        start = sum(map(len, parts)) / SAMPLE_RATE
        truth.append(Said(start, start + len(samples) / SAMPLE_RATE, text))
        parts += [samples, pause()]
    sound = np.concatenate(parts)
    return (sound + rng.normal(0, 2e-4, len(sound))).astype(np.float32), truth


def translated(
    segments: Sequence[tuple[tuple[float, float], ...]], truth: Sequence[Said], direction: Direction
) -> tuple[Translation, dict[int, float]]:
    """What a model would make of `segments`, and where the sentences in it truly begin.

    The sentences are named by how many characters, but for spaces, are before them. Each is written
    where it was said; of one that is said in two segments, each has its share of the words.
    """
    texts = [list[str]() for _ in segments]
    starts = dict[int, float]()
    letters = 0
    joint = "" if direction is JA else " "
    for sentence in truth:
        heard = np.cumsum(
            [
                sum(max(0.0, min(sentence.end, b) - max(sentence.start, a)) for a, b in regions)
                for regions in segments
            ]
        )
        words = list(sentence.text) if direction is JA else sentence.text.split()
        middles = (np.arange(len(words)) + 0.5) / len(words) * heard[-1]
        owners = np.searchsorted(heard, middles)
        starts[letters] = sentence.start
        for owner in np.unique(owners):
            share = [word for word, of in zip(words, owners, strict=True) if of == owner]
            texts[owner].append(joint.join(share))
        letters += len("".join(sentence.text.split()))
    return Translation(
        [
            Segment(regions[0][0], regions[-1][1], joint.join(text), direction, regions=regions)
            for regions, text in zip(segments, texts, strict=True)
        ],
        direction,
        truth[-1].end,
    ), starts


def start_errors(direction: Direction, seed: int) -> list[float]:
    """Seconds between where a sentence begins and where its cue does, for cues that begin one."""
    sound, truth = assembled(direction, seed)
    segments = [tuple(region.seconds for region in regions) for regions in find_segments(sound)]
    translation, starts = translated(segments, truth, direction)
    errors, letters = list[float](), 0
    for cue in cues(translation):
        if letters in starts:
            errors.append(abs(cue.start_ms / 1000 - starts[letters]))
        letters += len("".join(cue.text.split()))
    assert letters == len("".join("".join(sentence.text for sentence in truth).split()))
    return errors


@pytest.mark.parametrize("direction", [JA, EN])
def test_a_cue_that_begins_a_sentence_begins_when_it_is_said(direction: Direction) -> None:
    errors = [error for seed in (2, 3) for error in start_errors(direction, seed)]
    median, most = np.quantile(errors, [0.5, 0.95])
    print(f"{direction}: {len(errors)} cues, median {median:.3f} s, 95 % within {most:.2f} s")
    assert len(errors) >= 200
    assert median <= 0.5
    assert most <= 1.5
