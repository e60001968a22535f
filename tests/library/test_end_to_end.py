"""The main job on the embedded checkpoint: real files in, exact translations out."""

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr
from clips import CLIPS, DIRECTIONS, EXAMPLES, PEOPLE, clip, reference
from memory import growth
from recordings import encoded, wav

from examples import demo
from speech_translation import Flag, cli, find_segments, load_engine, translate
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.types import SAMPLE_RATE


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
    for name in (c for c in CLIPS if c.startswith(language)):
        samples = clip(name)
        loud = np.flatnonzero(samples)
        for run in np.split(loud, np.flatnonzero(np.diff(loud) > SAMPLE_RATE // 2) + 1):
            pieces.append(samples[run[0] : run[-1] + 1])
    with (EXAMPLES / "clips.tsv").open(encoding="utf-8", newline="") as table:
        rows = [r for r in csv.DictReader(table, delimiter="\t") if r["file"].startswith(language)]
    by_file = {name: [r for r in rows if r["file"] == f"{name}.flac"] for name in CLIPS}
    texts = [r["translation"] for name in CLIPS for r in by_file[name]]
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
        translation = translate(recording, engine, DIRECTIONS[language])

    assert [segment.text for segment in translation.segments] == [text for _, _, text in truth]
    for segment, (start, end, _) in zip(translation.segments, truth, strict=True):
        assert segment.start == pytest.approx(start, abs=0.3)
        assert segment.end == pytest.approx(end, abs=0.3)
    assert all(a.end <= b.start for a, b in pairwise(translation.segments))
    assert memory.peak < 150 * 2**20


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
