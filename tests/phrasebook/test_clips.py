"""The bundled clips: what counts as right, and what making some of them leaves alone."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hum import write_clips

from phrasebook import clips as bundled
from phrasebook.synthesis import Clip, load_clips
from speech_translation import Language
from speech_translation.audio import load_audio
from speech_translation.errors import ModelError
from speech_translation.types import SAMPLE_RATE, Direction, Flag, Segment, Translation

SENTENCES = ("Where is it?", "I like tea.", "Thank you.")


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    write_clips(tmp_path / "speech")
    return load_clips(tmp_path / "speech")


def test_recordings_say_where_their_sentences_are(clips: list[Clip]) -> None:
    english = [clip for clip in clips if clip.language is Language.ENGLISH][:3]
    samples, segments = bundled.assembled(english, [0.5, 0.25])
    assert len(samples) == 3 * 16_000 + 8_000 + 4_000 + 2 * 6_400
    for clip, segment in zip(english, segments, strict=True):
        first = round(segment.start * 16_000)
        assert np.array_equal(samples[first : first + 16_000], clip.samples)
        assert segment.end == pytest.approx(segment.start + 1)


def segment(text: str, *flags: Flag) -> Segment:
    return Segment(0, 1, text, Direction.JA_EN, frozenset(flags))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ([segment("Where is it?"), segment("I like tea."), segment("Thank you.")], True),
        ([segment("Where is it? I like tea. Thank you.")], True),
        ([segment("Where is it? I like tea."), segment("Thank you.")], True),
        ([segment("Where is it? Thank you. I like tea.")], False),
        ([segment("Where is it? Thank you.")], False),
        ([segment("Where is"), segment("it? I like tea. Thank you.")], False),  # cut inside
        ([segment("Where is it? I like tea. Thank you.", Flag.LOW_CONFIDENCE)], False),
    ],
)
def test_a_recording_is_right_if_its_sentences_are_however_they_are_joined(
    answer: list[Segment], right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "translate", lambda *_: Translation(answer, Direction.JA_EN, 1.0))
    wanted = [segment(text) for text in SENTENCES]
    assert bundled.exact(None, np.zeros(9, np.int16), wanted) is right  # type: ignore[arg-type]


def all_of_them(engine: object, clips: Sequence[Clip], direction: Direction) -> list[Clip]:
    """What `steady` says of a checkpoint that knows every sentence."""
    return list(clips)


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows of clips, after the talks were made by a checkpoint that knows all."""
    folder = tmp_path_factory.mktemp("talks")
    (folder / "clips.tsv").write_text(
        "file\tspoken\ttranslation\tvoice\trate\nen_1.flac\ta\tb\tc\t1\n"
        "en_talk.flac\told\told\told\t1\nja_1.flac\td\te\tf\t1\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "load_engine", lambda *_: None)
        patch.setattr(bundled, "steady", all_of_them)
        patch.setattr(bundled, "exact", lambda *_: True)
        assert bundled.main(["--output", str(folder), "--only", "talk"]) == 0
    return folder


def test_making_the_talk_leaves_the_other_clips_alone(talks: Path) -> None:
    assert {path.name for path in talks.iterdir()} == {
        "clips.tsv",
        *(f"{language}_talk.{kind}" for language in Language for kind in ("flac", "txt")),
    }
    with (talks / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["file"] for row in rows] == [
        *("en_1.flac", *["en_talk.flac"] * 4),
        *("ja_1.flac", *["ja_talk.flac"] * 4),
    ]
    assert rows[0]["spoken"] == "a"
    for language in Language:
        talk = [row for row in rows if row["file"] == f"{language}_talk.flac"]
        assert len({row["voice"] for row in talk}) == 1
        joint = "" if language is Language.ENGLISH else " "
        text = (talks / f"{language}_talk.txt").read_text("utf-8")
        assert text == joint.join(row["translation"] for row in talk) + "\n"


def test_who_talks_pauses_longer_inside_of_sentences_than_between_them(talks: Path) -> None:
    for language in Language:
        samples = load_audio(talks / f"{language}_talk.flac")
        hops = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        loud = np.flatnonzero(np.abs(hops).max(1) > 0.02)
        pauses = np.diff(loud)[np.diff(loud) > 25] * 160 / SAMPLE_RATE
        assert len(pauses) >= 4 + 3  # one inside of each sentence, three between them
        assert sum(pauses > 0.58) >= 4
        assert 0.25 < sorted(pauses)[2] < 0.62


def test_a_checkpoint_that_knows_too_little_makes_no_clip(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "steady", lambda *_: [])
    with pytest.raises(ModelError, match="Train it longer"):
        bundled.drawn(None, clips, "talk", random.Random(1))  # type: ignore[arg-type]
