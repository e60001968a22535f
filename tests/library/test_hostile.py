"""Hostile recordings: whatever they are, an answer, soon, within memory, from nowhere else."""

import io
import itertools
import os
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from clips import clip
from hostile import Case, bombs, corpus, file_names, judge, playlists, tricks
from recordings import RATE, wav

from speech_translation import Direction, cli, load_engine, translate
from speech_translation.audio import load_audio
from speech_translation.errors import AudioError

SPEECH = clip("en_1")
STEP = 9  # every ninth of the corpus; `make fuzz` takes all of it
PATIENCE = 120.0  # seconds for what would otherwise wait for ever


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """The corpus: 4,000 files, 200 MB."""
    return list(corpus(SPEECH))


def spoilt(case: Case) -> bool:
    """Whether it is a recording that was damaged."""
    return "," in case.name or "going on" in case.name


def faults(cases: Iterable[Case]) -> tuple[list[str], Counter[str]]:
    found, wrong = Counter[str](), []
    for case in cases:
        verdict = judge(case.data)
        found[verdict.outcome] += 1
        if verdict.fault:
            wrong.append(f"{case.name}: {verdict.fault}")
    return wrong, found


@pytest.mark.slow
def test_the_corpus_is_large_and_always_the_same(cases: list[Case]) -> None:
    names = [case.name for case in cases]
    assert len(names) >= 2000
    assert len(set(names)) == len(names)
    again = itertools.islice(corpus(SPEECH), 300)
    assert [case.data for case in again] == [case.data for case in cases[:300]]


@pytest.mark.slow
def test_a_part_of_the_corpus_is_survived(cases: list[Case]) -> None:
    wrong, found = faults(list(filter(spoilt, cases))[::STEP])
    assert wrong == []
    assert min(found["sound"], found["refused"]) > 50  # damage that is seen, and that is not


def test_every_trick_is_survived() -> None:
    wrong, found = faults(tricks(SPEECH))
    assert wrong == []
    assert min(found["sound"], found["silence"], found["refused"]) > 5


@pytest.mark.slow
def test_bombs_are_silence_or_too_long() -> None:
    for case in bombs():
        assert len(case.data) < 1_000_000
        verdict = judge(case.data)
        assert verdict.outcome in ("silence", "refused"), case.name
        assert not verdict.fault, case.name


def test_no_file_reaches_another_file_or_address(
    tmp_path: Path, listener: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, calls = listener
    address = f"http://127.0.0.1:{port}/talk.wav"
    monkeypatch.chdir(tmp_path)  # a name alone is below the present folder
    canary = tmp_path / "canary.wav"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    canary.write_bytes(wav(tone))
    os.mkfifo(tmp_path / "fifo.wav")  # whoever opens it waits for ever
    targets = [str(canary), canary.name, f"file://{canary}", str(tmp_path / "fifo.wav"), address]
    targets += [f"concat:{canary}|{canary}", f"subfile,,start,0,end,0,,:{canary}"]
    said = list[str]()

    def decode() -> None:
        for target in targets:
            for case in playlists(target):
                path = tmp_path / case.name
                path.write_bytes(case.data)
                for source in (path, case.data):
                    try:
                        load_audio(source)
                        said.append(f"{case.name} gave sound")
                    except AudioError as refusal:
                        said.append(str(refusal))

    decoding = threading.Thread(target=decode, daemon=True)
    decoding.start()
    decoding.join(PATIENCE)
    assert not decoding.is_alive(), "it waits for the pipe or for a stream"
    assert len(said) == 2 * len(targets) * len(list(playlists("")))
    # "cannot be read" would be said of a file that was not opened; these were, and are no sound.
    assert not [x for x in said if "gave sound" in x or "cannot be read" in x]
    assert calls == []


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
def test_a_name_that_cannot_be_is_said(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    command = ["--model", "phrasebook", "--device", "cpu", "--quiet", "--", name]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_what_can_be_decoded_can_be_translated(cases: list[Case]) -> None:
    engine = load_engine("phrasebook", "cpu")
    decoded = 0
    for case in [case for case in cases if not spoilt(case)][::5]:
        try:
            samples = load_audio(case.data, max_seconds=60)
        except AudioError:
            continue
        decoded += 1
        translation = translate(samples, engine, Direction.EN_JA)
        assert translation.text or translation.flags, case.name
    assert decoded > 10
