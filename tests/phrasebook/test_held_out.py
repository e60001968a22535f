"""The phrasebook's test set: written from speech, read back, and what stands in the repository."""

import json
from pathlib import Path

import numpy as np
import pytest

from phrasebook import held_out
from phrasebook.held_out import SETS, TEST_SET, read_test_set
from phrasebook.pauses import silences
from phrasebook.sentences import pairs
from phrasebook.synthesis import HELD_OUT_RATE, PAUSES, Clip, ClipWriter, Job
from phrasebook.voices import HELD_OUT
from speech_translation.types import SAMPLE_RATE, Language

ROOT = Path(__file__).resolve().parents[2]


def speak(folder: Path, sets: tuple[str, ...], lowest: int = 200) -> list[Job]:
    """Clips of the sets and of training, a tone of its own each, 40 Hz from one to the next."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    writer = ClipWriter(folder)
    jobs = [
        Job(name, language, f"{name} {n}", "訳", f"voice {n}", 1.15, 0.5 * (name == "eval_pause"))
        for name in (*sets, "train")
        for language in Language
        for n in (1, 2)
    ]
    for number, job in enumerate(jobs):
        wave = 8000 * np.sin(2 * np.pi * (lowest + 40 * number) * time)
        writer.append(job, wave.astype(np.int16))
    return jobs


def test_the_test_set_is_read_back_as_it_was_spoken(tmp_path: Path) -> None:
    jobs = speak(tmp_path / "speech", SETS)
    held_out.main(["--speech", str(tmp_path / "speech"), "--output", str(tmp_path)])
    read = read_test_set(tmp_path / "phrasebook.jsonl")
    assert [clip.id for clip in read] == [job.id for job in jobs if job.set != "train"]
    for number, clip in enumerate(read):
        assert np.abs(np.fft.rfft(clip.samples)).argmax() == 200 + 40 * number


def test_sets_that_are_not_named_stay_as_they_are(tmp_path: Path) -> None:
    speak(tmp_path / "speech", SETS)
    held_out.main(["--speech", str(tmp_path / "speech"), "--output", str(tmp_path)])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    (again,) = speak(tmp_path / "new", ("eval_rate",), lowest=1000)[:1]
    options = ["--speech", str(tmp_path / "new"), "--output", str(tmp_path)]
    held_out.main([*options, "--sets", "eval_rate"])
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"eval_rate_en.opus", "eval_rate_ja.opus"}  # the same words, another sound
    first = next(x for x in read_test_set(tmp_path / "phrasebook.jsonl") if x.id == again.id)
    assert np.abs(np.fft.rfft(first.samples)).argmax() == 1000


def test_a_set_without_speech_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speak(tmp_path / "speech", ("eval_pause",))
    with pytest.raises(SystemExit):
        held_out.main(["--speech", str(tmp_path / "speech"), "--output", str(tmp_path)])
    assert "lacks speech of eval_seen, eval_voices, eval_rate" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.opus"))


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """The test set of the repository."""
    return read_test_set(ROOT / TEST_SET)


def test_the_test_set_of_the_repository_is_what_was_held_out(clips: list[Clip]) -> None:
    held_out = {p.en: p.ja for p in pairs() if p.held_out}
    assert len(clips) == 680
    for clip in clips:
        texts = [clip.text, clip.translation]
        english, japanese = texts if clip.language is Language.ENGLISH else texts[::-1]
        assert held_out[english] == japanese
        unheard = clip.voice in HELD_OUT[clip.language]
        assert unheard == (clip.set != "eval_seen")
        assert clip.rate == (HELD_OUT_RATE if clip.set == "eval_rate" else 1.0)
        assert (clip.pause > 0) == (clip.set == "eval_pause")


def test_who_is_said_to_pause_inside_of_a_sentence_does(clips: list[Clip]) -> None:
    pausing = [clip for clip in clips if clip.pause]
    assert len(pausing) == 200
    for clip in pausing:
        assert PAUSES[0] <= clip.pause <= PAUSES[1]
        longest = max(end - start for start, end in silences(clip.samples)) / SAMPLE_RATE
        assert longest > clip.pause - 0.05, clip.text


def test_rows_say_how_long_the_pause_is_where_there_is_one() -> None:
    rows = [json.loads(line) for line in (ROOT / TEST_SET).read_text("utf-8").splitlines()]
    assert {row["set"] for row in rows if "pause" in row} == {"eval_pause"}
