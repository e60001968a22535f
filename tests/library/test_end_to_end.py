"""The main job on the embedded checkpoint: real files in, exact translations out."""

import csv
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr
from recordings import encoded, wav

from speech_translation import Direction, Flag, find_segments, load_audio, load_engine, translate
from speech_translation.types import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CLIPS = sorted(path.stem for path in EXAMPLES.glob("*.flac"))
DIRECTIONS = {"en": Direction.EN_JA, "ja": Direction.JA_EN}


def reference(clip: str) -> str:
    return (EXAMPLES / f"{clip}.txt").read_text("utf-8").strip()


@pytest.fixture(scope="module", autouse=True)
def embedded() -> None:
    load_engine("phrasebook", "cpu")


@pytest.mark.parametrize("clip", CLIPS)
def test_bundled_clips_give_their_references(clip: str) -> None:
    engine = load_engine("phrasebook", "cpu")
    forced = translate(EXAMPLES / f"{clip}.flac", engine, DIRECTIONS[clip[:2]])
    free = translate(EXAMPLES / f"{clip}.flac", engine)
    assert forced.text == reference(clip)
    assert free.direction is forced.direction
    assert [s.text for s in free.segments] == [s.text for s in forced.segments]
    assert not forced.flags


def test_the_bundle_is_what_the_readme_says() -> None:
    assert len(CLIPS) >= 6
    for language in DIRECTIONS:
        own = [clip for clip in CLIPS if clip.startswith(language)]
        seconds = [len(load_audio(EXAMPLES / f"{clip}.flac")) / SAMPLE_RATE for clip in own]
        assert len(own) >= 3
        assert max(seconds) > 60
    licences = (EXAMPLES / "README.md").read_text("utf-8")
    assert "Apache-2.0" in licences
    size = sum(path.stat().st_size for path in (EXAMPLES / "phrasebook").rglob("*"))
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
    """Each language's first clip in every container, at the container's usual rate."""
    folder = tmp_path_factory.mktemp("containers")
    for language in DIRECTIONS:
        samples = load_audio(EXAMPLES / f"{language}_1.flac")
        for name, (container, codec, rate, video) in CONTAINERS.items():
            data = encoded(
                container, codec, soxr.resample(samples, SAMPLE_RATE, rate), rate, video=video
            )
            (folder / f"{language}.{name}").write_bytes(data)
        # FFmpeg's libraries here read Vorbis but do not write it.
        (folder / f"{language}.ogg").write_bytes(wav(samples, SAMPLE_RATE, "VORBIS", "OGG"))
    return folder


@pytest.mark.parametrize("language", DIRECTIONS)
def test_the_command_line_reads_every_container_alike(containers: Path, language: str) -> None:
    files = sorted(containers.glob(f"{language}.*"))
    command = [sys.executable, "inference.py", *map(str, files), "--model", "phrasebook"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    got = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert len(got) == len(CONTAINERS) + 1
    wrong = {Path(f).name: text for f, text in got.items() if text != reference(f"{language}_1")}
    assert not wrong


def utterances(language: str) -> list[tuple[np.ndarray, str]]:
    """The single sentences of the bundle, with their translations, cut out by hand here.

    The long clips state their sentences in clips.tsv; silence between them is digital zero.
    """
    pieces = []
    for clip in (c for c in CLIPS if c.startswith(language)):
        samples = load_audio(EXAMPLES / f"{clip}.flac")
        loud = np.flatnonzero(samples)
        for run in np.split(loud, np.flatnonzero(np.diff(loud) > SAMPLE_RATE // 2) + 1):
            pieces.append(samples[run[0] : run[-1] + 1])
    with (EXAMPLES / "clips.tsv").open(encoding="utf-8", newline="") as table:
        rows = [r for r in csv.DictReader(table, delimiter="\t") if r["file"].startswith(language)]
    by_file = {clip: [r for r in rows if r["file"] == f"{clip}.flac"] for clip in CLIPS}
    texts = [r["translation"] for clip in CLIPS for r in by_file[clip]]
    assert len(pieces) == len(texts)
    return list(zip(pieces, texts, strict=True))


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

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    translation = translate(recording, load_engine("phrasebook", "cpu"), DIRECTIONS[language])
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert [segment.text for segment in translation.segments] == [text for _, _, text in truth]
    for segment, (start, end, _) in zip(translation.segments, truth, strict=True):
        assert segment.start == pytest.approx(start, abs=0.3)
        assert segment.end == pytest.approx(end, abs=0.3)
    assert all(a.end <= b.start for a, b in pairwise(translation.segments))
    assert grown_kib < 150 * 1024


def test_speech_outside_the_phrasebook_is_flagged() -> None:
    engine = load_engine("phrasebook", "cpu")
    speech = sorted((ROOT.parent / "shared" / "speech").rglob("*.[wf][al][va]*"))
    assert len(speech) >= 10
    flagged = [Flag.LOW_CONFIDENCE in translate(path, engine).flags for path in speech]
    assert np.mean(flagged) >= 0.9


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


def test_the_demo_prints_what_its_references_say() -> None:
    command = [sys.executable, "-m", "examples.demo"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    for clip in CLIPS:
        assert f"{clip}.flac" in result.stdout
        assert result.stdout.count(reference(clip)) >= 2
