"""The user's path of docs/training.md, as it stands there, and the demo of `make finetune-demo`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import soundfile

from phrasebook import finetune_demo
from phrasebook.finetune_demo import write_manifest
from phrasebook.held_out import TEST_SET, read_test_set
from phrasebook.new_speech import NEW, NEW_SPEECH, SENTENCES, TRAINED
from phrasebook.sentences import pairs
from speech_translation import cli
from speech_translation.types import SAMPLE_RATE, Language
from training import prepare, sft

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"training.prepare": prepare.main, "training.sft": sft.main, "inference.py": cli.main}


def test_the_new_sentences_are_new_and_their_voices_apart() -> None:
    known = {text for pair in pairs() for text in (pair.en, pair.ja)}
    clips = read_test_set(NEW_SPEECH)
    for language in Language:
        own = [clip for clip in clips if clip.language is language]
        assert len(own) == 4 * (len(TRAINED[language]) + len(NEW[language]))
        assert {(clip.text, clip.translation) for clip in own} == set(SENTENCES[language])
        assert known.isdisjoint(text for clip in own for text in (clip.text, clip.translation))
        trained = {clip.voice for clip in own if clip.set == "new_train"}
        assert trained.isdisjoint(clip.voice for clip in own if clip.set == "new_test")


def commands() -> list[list[str]]:
    """The commands of the page's first section."""
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    (section,) = re.findall(r"^## From twenty own.*?(?=^## )", page, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    return [shlex.split(block.replace("\\\n", " ")) for block in blocks]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_twenty_own_recordings_tune_the_phrasebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's commands, with fewer old sentences."""
    clips = [c for c in read_test_set(NEW_SPEECH) if c.language is Language.JAPANESE]
    old = tmp_path / "old.jsonl"
    write_manifest(old, TEST_SET, "eval_seen", 42)
    lines = old.read_text("utf-8").splitlines()
    old.write_text("\n".join(lines[:64]), "utf-8")  # 42 English, and 22 Japanese beside the own
    asked = commands()
    monkeypatch.chdir(tmp_path)
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for number, clip in enumerate([c for c in clips if c.set == "new_train"][:20], 1):
        soundfile.write(recordings / f"{number:02d}.wav", clip.samples, SAMPLE_RATE)
        (recordings / f"{number:02d}.txt").write_text(clip.translation + "\n")
    new = [clip for clip in clips if clip.set == "new_test"][:4]
    for command in asked:
        program = next(word for word in command if word in PROGRAMS)
        options = command[command.index(program) + 1 :]
        options = ["old.jsonl" if x.endswith("phrasebook.jsonl") else x for x in options]
        if program != "inference.py":
            assert PROGRAMS[program](options) == 0
            continue
        heard = []
        for clip in new:
            soundfile.write("new.wav", clip.samples, SAMPLE_RATE)
            capsys.readouterr()
            assert cli.main([x.replace("examples", str(ROOT / "examples")) for x in options]) == 0
            heard.append(capsys.readouterr().out)
        known = (ROOT / "examples" / "ja_1.txt").read_text("utf-8").strip()
        assert all(known in text for text in heard)
        right = [c.translation in text for text, c in zip(heard, new, strict=True)]
        assert sum(right) >= 3, heard
    record = json.loads((tmp_path / "checkpoints/own/model/recipe.json").read_text("utf-8"))
    assert record["options"]["lora"] == 16


def test_the_demo_deletes_no_folder_but_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("Years of work.", "utf-8")
    for work in (tmp_path, tmp_path / "thesis.txt"):
        assert finetune_demo.main(["--work", str(work)]) == 1
        assert f"{work} is not empty" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text("utf-8") == "Years of work."
    own = tmp_path / "own" / "work"
    finetune_demo.empty_folder(own)
    (own / "new.jsonl").touch()
    finetune_demo.empty_folder(own)
    assert not (own / "new.jsonl").exists()


def test_the_demo_fails_when_a_model_did_not_learn_or_forgot() -> None:
    shipped = (0.0, 0.99)
    assert finetune_demo.faults(shipped, {"all": (1.0, 0.96), "adapters": (0.9, 0.98)}) == []
    assert finetune_demo.faults(shipped, {"all": (0.7, 0.96), "adapters": (0.9, 0.8)}) == [
        "all: not learned",
        "adapters: forgotten",
    ]
