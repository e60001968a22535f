"""The main job on the embedded checkpoint: real files in, exact translations out."""

import csv
import json
import os
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr
from clips import (
    CLIPS,
    DIRECTIONS,
    EXAMPLES,
    PEOPLE,
    TWO_LANGUAGES,
    clip,
    reference,
    two_languages,
)
from memory import growth
from recordings import encoded, wav

from examples import demo
from phrasebook.held_out import TEST_SET, read_test_set
from speech_translation import Flag, cli, find_segments, load_engine, translate
from speech_translation.audio import EXTENSIONS
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.live import LiveTranslator
from speech_translation.segments import POLICIES
from speech_translation.types import SAMPLE_RATE, Direction, Language, Segment, Translation

SENTENCES = [name for name in CLIPS if not name.endswith("talk")]
"""Clips whose speakers pause after each sentence and nowhere else."""


@pytest.fixture(scope="module", autouse=True)
def embedded() -> None:
    load_engine("phrasebook", "cpu")


@pytest.mark.parametrize("name", CLIPS)
def test_bundled_clips_give_their_references(name: str) -> None:
    engine = load_engine("phrasebook", "cpu")
    forced = translate(EXAMPLES / f"{name}.flac", engine, DIRECTIONS[name[:2]])
    free = translate(EXAMPLES / f"{name}.flac", engine)
    assert forced.text == reference(name)
    assert free.direction is forced.direction
    assert [s.text for s in free.segments] == [s.text for s in forced.segments]
    assert not forced.flags


def test_the_bundle_is_what_the_readme_says() -> None:
    assert len(CLIPS) >= 6
    for language in DIRECTIONS:
        own = [name for name in CLIPS if name.startswith(language)]
        seconds = [len(clip(name)) / SAMPLE_RATE for name in own]
        assert len(own) >= 3
        assert max(seconds) > 60
    licences = (EXAMPLES / "README.md").read_text("utf-8")
    assert "Apache-2.0" in licences
    size = sum(path.stat().st_size for path in PHRASEBOOK_FOLDER.rglob("*"))
    assert size <= 10_000_000


# container, codec, rate, video codec
CONTAINERS = {
    "wav": ("wav", "pcm_s16le", 16_000, None),
    "8-bit.wav": ("wav", "pcm_u8", 16_000, None),
    "24-bit.wav": ("wav", "pcm_s24le", 48_000, None),
    "32-bit.wav": ("wav", "pcm_s32le", 16_000, None),
    "float.wav": ("wav", "pcm_f32le", 16_000, None),
    "u-law.wav": ("wav", "pcm_mulaw", 16_000, None),
    "flac": ("flac", "flac", 48_000, None),
    "mp3": ("mp3", "libmp3lame", 44_100, None),
    "opus": ("ogg", "libopus", 48_000, None),
    "aiff": ("aiff", "pcm_s16be", 16_000, None),
    "m4a": ("ipod", "aac", 44_100, None),
    "aac": ("adts", "aac", 44_100, None),
    "webm": ("webm", "libopus", 48_000, None),
    "mp4": ("mp4", "aac", 48_000, "libx264"),
    "mov": ("mov", "aac", 44_100, "libx264"),
    "mkv": ("matroska", "aac", 48_000, "libx264"),
    "3gp": ("3gp", "libopencore_amrnb", 8_000, None),
    "amr": ("amr", "libopencore_amrnb", 8_000, None),
}


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in every container, at the container's usual rate."""
    folder = tmp_path_factory.mktemp("containers")
    samples = clip("en_1")
    for name, (container, codec, rate, video) in CONTAINERS.items():
        sound = soxr.resample(samples, SAMPLE_RATE, rate)
        (folder / f"clip.{name}").write_bytes(encoded(container, codec, sound, rate, video=video))
    # FFmpeg's libraries here read Vorbis but do not write it.
    (folder / "clip.ogg").write_bytes(wav(samples, SAMPLE_RATE, "VORBIS", "OGG"))
    return folder


def test_the_command_line_reads_every_container_alike(
    containers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(map(str, containers.iterdir()))
    assert cli.main([*files, "--model", "phrasebook", "--device", "cpu"]) == 0
    got = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert len(got) == len(CONTAINERS) + 1
    wrong = {Path(f).name: text for f, text in got.items() if text != reference("en_1")}
    assert not wrong


def utterances(language: str) -> list[tuple[np.ndarray, str]]:
    """The single sentences of the bundle, with their translations, cut out by hand here.

    The long clips state their sentences in clips.tsv; silence between them is digital zero.
    """
    pieces = []
    for name in (c for c in SENTENCES if c.startswith(language)):
        samples = clip(name)
        loud = np.flatnonzero(samples)
        for run in np.split(loud, np.flatnonzero(np.diff(loud) > SAMPLE_RATE // 2) + 1):
            pieces.append(samples[run[0] : run[-1] + 1])
    with (EXAMPLES / "clips.tsv").open(encoding="utf-8", newline="") as table:
        rows = [r for r in csv.DictReader(table, delimiter="\t") if r["file"].startswith(language)]
    by_file = {name: [r for r in rows if r["file"] == f"{name}.flac"] for name in SENTENCES}
    texts = [r["translation"] for name in SENTENCES for r in by_file[name]]
    assert len(pieces) == len(texts)
    return list(zip(pieces, texts, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("language", DIRECTIONS)
def test_ten_minutes_keep_every_sentence_in_its_place(language: str) -> None:
    rng = np.random.default_rng(0)
    pieces = utterances(language)
    parts: list[np.ndarray] = []
    truth: list[tuple[float, float, str]] = []
    position = 0
    while position < 600 * SAMPLE_RATE:
        samples, text = pieces[len(truth) % len(pieces)]
        pause = np.zeros(rng.integers(SAMPLE_RATE, 3 * SAMPLE_RATE), np.float32)
        start = position + len(pause)
        position = start + len(samples)
        truth.append((start / SAMPLE_RATE, position / SAMPLE_RATE, text))
        parts += [pause, samples]
    recording = np.concatenate(parts)

    engine = load_engine("phrasebook", "cpu")
    with growth() as memory:
        # These speakers pause after each sentence and nowhere else; the small checkpoint does not
        # follow the eight that the default makes one segment.
        policy = POLICIES["pause"]
        translation = translate(recording, engine, DIRECTIONS[language], policy=policy)

    assert [segment.text for segment in translation.segments] == [text for _, _, text in truth]
    for segment, (start, end, _) in zip(translation.segments, truth, strict=True):
        assert segment.start == pytest.approx(start, abs=0.3)
        assert segment.end == pytest.approx(end, abs=0.3)
    assert all(a.end <= b.start for a, b in pairwise(translation.segments))
    assert memory.peak < 150 * 2**20


SAID = [(DIRECTIONS[name[:2]], reference(name)) for name in TWO_LANGUAGES]


def test_each_sentence_of_two_languages_is_translated() -> None:
    translation = translate(two_languages(), load_engine("phrasebook", "cpu"))
    said = [Segment(0.0, 1.0, text, direction) for direction, text in SAID]
    runs = [list(run) for _, run in groupby(said, lambda segment: segment.direction)]
    assert [(segment.direction, segment.text) for segment in translation.segments] == [
        (run[0].direction, Translation(run, run[0].direction, 1.0).text) for run in runs
    ]
    assert translation.direction is Direction.AUTO
    assert not translation.flags


def test_the_command_line_takes_two_languages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "both.wav"
    path.write_bytes(wav(two_languages(), SAMPLE_RATE))
    assert (
        cli.main([str(path), "--model", "phrasebook", "--device", "cpu", "--format", "json"]) == 0
    )
    data = json.loads(capsys.readouterr().out)
    assert [segment["direction"] for segment in data["segments"]] == ["en2ja", "ja2en"] * 2
    assert all(text in data["text"] for _, text in SAID)


def test_live_captions_take_two_languages() -> None:
    translator = LiveTranslator(load_engine("phrasebook", "cpu"))
    sound = two_languages()
    for start in range(0, len(sound), SAMPLE_RATE // 2):
        translator.push(sound[start : start + SAMPLE_RATE // 2], SAMPLE_RATE)
    translator.finish()
    assert [(segment.direction, segment.text) for segment in translator.segments] == SAID


def flips(translation: Translation) -> int:
    """How often the direction changes from one segment to the next."""
    named = [segment.direction for segment in translation.segments]
    return sum(a is not b for a, b in pairwise(x for x in named if x is not Direction.AUTO))


@pytest.mark.slow
def test_a_recording_in_one_language_never_flips() -> None:
    engine = load_engine("phrasebook", "cpu")
    rng = np.random.default_rng(0)
    count = 0
    for language in Language:
        clips = [clip for clip in read_test_set(TEST_SET) if clip.language is language]
        parts: list[np.ndarray] = []
        for spoken in clips[:180]:
            pause = np.zeros(rng.integers(SAMPLE_RATE // 2, 2 * SAMPLE_RATE), np.float32)
            parts += [spoken.samples.astype(np.float32) / 32768, pause]
        talk = translate(np.concatenate(parts), engine, policy=POLICIES["pause"])
        assert {segment.direction for segment in talk.segments} == {Direction.of(language)}
        count += len(talk.segments)
    assert count >= 300
    people = [*PEOPLE, *people_elsewhere()]
    assert [path.name for path in people if flips(translate(path, engine))] == []


def people_elsewhere() -> list[Path]:
    """Recordings of people that SPEECH_HUMAN names, if it does."""
    folder = os.environ.get("SPEECH_HUMAN")
    found = Path(folder).rglob("*") if folder else ()
    return sorted(path for path in found if path.suffix in EXTENSIONS)


def test_english_outside_the_phrasebook_is_flagged() -> None:
    engine = load_engine("phrasebook", "cpu")
    assert len(PEOPLE) >= 6
    assert all(Flag.LOW_CONFIDENCE in translate(path, engine).flags for path in PEOPLE)


def test_japanese_outside_the_phrasebook_is_flagged(
    speech_clip: Callable[[str], np.ndarray],
) -> None:
    engine = load_engine("phrasebook", "cpu")
    numbers = (38833628, 38843402, 38852485, 38853932)
    for number in numbers:
        speech = speech_clip(f"ja/common_voice_ja_{number}_16k.wav")
        assert Flag.LOW_CONFIDENCE in translate(speech, engine).flags


def test_noise_and_silence_give_no_text() -> None:
    engine = load_engine("phrasebook", "cpu")
    rng = np.random.default_rng(0)
    hiss = rng.normal(0, 0.05, 10 * SAMPLE_RATE).astype(np.float32)
    hum = 0.2 * np.sin(2 * np.pi * 50 * np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE)
    for sound in (np.zeros(10 * SAMPLE_RATE, np.float32), hiss, hum.astype(np.float32)):
        assert find_segments(sound) == []
        translation = translate(sound, engine)
        assert translation.text == ""
        assert translation.flags == {Flag.NO_SPEECH}


def test_the_demo_prints_what_its_references_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("en_1", "ja_1")
    for name in names:
        for kind in ("flac", "txt"):
            (tmp_path / f"{name}.{kind}").write_bytes((EXAMPLES / f"{name}.{kind}").read_bytes())
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    assert demo.main() == 0
    printed = capsys.readouterr().out
    for name in names:
        assert f"{name}.flac" in printed
        assert printed.count(reference(name)) == 2
    (tmp_path / "en_1.txt").write_text("何か別のこと。", encoding="utf-8")
    assert demo.main() == 1
    assert "NOT as the reference" in capsys.readouterr().out
