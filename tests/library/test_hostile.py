"""Hostile recordings: whatever they are, an answer, soon, within memory, from nowhere else."""

import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile import Case, bombs, corpus, file_names, judge, playlists, tricks
from recordings import RATE, wav

from speech_translation import Direction, load_engine, translate
from speech_translation.audio import load_audio
from speech_translation.errors import AudioError

ROOT = Path(__file__).resolve().parents[2]
SPEECH = load_audio(ROOT / "examples" / "en_1.flac")
STEP = 9  # every ninth of the corpus; `make fuzz` takes all of it


def faults(cases: Iterator[Case]) -> tuple[list[str], Counter[str]]:
    found, wrong = Counter[str](), []
    for case in cases:
        verdict = judge(case.data)
        found[verdict.outcome] += 1
        if verdict.fault:
            wrong.append(f"{case.name}: {verdict.fault}")
    return wrong, found


def test_the_corpus_is_large_and_always_the_same() -> None:
    names = [case.name for case in corpus(SPEECH)]
    assert len(names) >= 2000
    assert len(set(names)) == len(names)
    first, second = (itertools.islice(corpus(SPEECH), 300) for _ in range(2))
    assert [case.data for case in first] == [case.data for case in second]


def test_a_part_of_the_corpus_is_survived() -> None:
    damaged = (case for case in corpus(SPEECH) if "," in case.name or "going on" in case.name)
    wrong, found = faults(itertools.islice(damaged, 0, None, STEP))
    assert wrong == []
    assert min(found["sound"], found["refused"]) > 50  # damage that is seen, and that is not


def test_every_trick_is_survived() -> None:
    wrong, found = faults(tricks(SPEECH))
    assert wrong == []
    assert min(found["sound"], found["silence"], found["refused"]) > 5


def test_bombs_are_silence_or_too_long() -> None:
    for case in bombs():
        assert len(case.data) < 1_000_000
        assert judge(case.data).outcome in ("silence", "refused"), case.name


def test_no_file_reaches_another_file_or_address(
    tmp_path: Path, listener: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, calls = listener
    address = f"http://127.0.0.1:{port}/talk.wav"
    monkeypatch.chdir(tmp_path)  # a name alone is below the present folder
    began = time.monotonic()
    canary = tmp_path / "canary.wav"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    canary.write_bytes(wav(tone))
    os.mkfifo(tmp_path / "fifo.wav")  # whoever opens it waits for ever
    targets = [str(canary), canary.name, f"file://{canary}", str(tmp_path / "fifo.wav"), address]
    targets += [f"concat:{canary}|{canary}", f"subfile,,start,0,end,0,,:{canary}"]
    for target in targets:
        for case in playlists(target):
            path = tmp_path / case.name
            path.write_bytes(case.data)
            for source in (path, case.data):
                with pytest.raises(AudioError) as refusal:
                    load_audio(source)
                assert "cannot be read" not in str(refusal.value)  # it was, and is no recording
    assert calls == []
    assert time.monotonic() - began < 10  # nor does it wait for a stream


@pytest.mark.parametrize("name", file_names())
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(wav(SPEECH))
    assert len(load_audio(path)) == len(SPEECH)
    path.write_bytes(b"no sound at all")
    verdict = judge(path)
    assert verdict.outcome == "refused"
    assert verdict.fault == ""
    assert all(char.isprintable() for char in verdict.message)


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "../" * 40 + "etc/no.wav", "-", ""])
def test_a_name_that_cannot_be_is_said(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "inference.py", "--model", "phrasebook", "--quiet", "--", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1


def test_what_can_be_decoded_can_be_translated() -> None:
    engine = load_engine("phrasebook", "cpu")
    whole = [
        case for case in corpus(SPEECH) if "," not in case.name and "going on" not in case.name
    ]
    decoded = 0
    for case in [
        *itertools.islice(whole, 0, None, 4),
        *itertools.islice(tricks(SPEECH), 0, None, 7),
    ]:
        try:
            samples = load_audio(case.data, max_seconds=60)
        except AudioError:
            continue
        decoded += 1
        translation = translate(samples, engine, Direction.EN_JA)
        assert translation.text or translation.flags, case.name
    assert decoded > 10
