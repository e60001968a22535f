"""What data may come from: folders, manifests and data sets, and whether they have changed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from preparing import digests, manifest, run
from tiny_checkpoint import write_tone

from training import prepare
from training.data import load_samples


def test_a_folder_is_data(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "day one"
    folder.mkdir(parents=True)
    write_tone(folder / "1.wav", 440, 1.0)
    (folder / "1.txt").write_text("駅はどこですか。\n", "utf-8")
    (folder / "1.transcript.txt").write_text("Where is the station?\n")
    write_tone(folder / "no text.wav", 440, 1.0)
    samples, _ = load_samples(run(tmp_path, "--folder", str(tmp_path / "own")) / "train.npz")
    assert [(s.text, s.transcript, s.id) for s in samples] == [
        ("駅はどこですか。", "Where is the station?", "day one/1.wav")
    ]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two recordings of a folder."""
    folder = tmp_path / "own"
    folder.mkdir()
    for number, text in enumerate(("駅はどこですか。", "おはよう。"), 1):
        write_tone(folder / f"{number}.wav", 300 + 100 * number, 1.0)
        (folder / f"{number}.txt").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("name", ["1.txt", "2.wav", "3.wav", "1.transcript.txt"])
def test_a_folder_that_has_changed_is_not_passed_over(
    own: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = ["--folder", str(own)]
    output = run(own.parent, *source)
    run(own.parent, *source)  # nothing has changed
    before = digests(output)
    if name.endswith(".wav"):
        write_tone(own / name, 900, 1.5)
        (own / name).with_suffix(".txt").write_text("おはよう。", "utf-8")
    else:
        (own / name).write_text("駅はあそこです。", "utf-8")  # as long as the one before
    capsys.readouterr()
    assert prepare.main(["--output", str(output), *source, "--eval-share", "0"]) == 1
    said = capsys.readouterr().err
    assert str(own / name) in said
    assert "Choose another --output, or remove that folder" in said
    assert digests(output) == before
    assert len(load_samples(run(own.parent, *source, output="anew") / "train.npz")[0]) >= 2


def test_a_manifest_with_another_text_of_the_same_size_is_other_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(tmp_path / "a.wav", 300, 1.0)
    one = manifest(tmp_path / "one.jsonl", {"audio": "a.wav", "direction": "en2ja", "text": "はい"})
    output = run(tmp_path, "--manifest", str(one))
    one.write_text(one.read_text("utf-8").replace("はい", "いや"), "utf-8")
    arguments = ["--output", str(output), "--manifest", str(one)]
    assert prepare.main(arguments) == 1
    assert str(one) in capsys.readouterr().err


def test_what_of_a_folder_is_left_out_is_named(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(own / "alone.wav", 440, 1.0)
    (own / "2.txt").write_text("Good morning.", "utf-8")
    output = run(own.parent, "--folder", str(own))
    captured = capsys.readouterr()
    assert "dropped 1  en2ja: no .txt beside it (alone.wav)" in captured.out
    assert "dropped 1  en2ja: wrong script (2.wav)" in captured.out
    assert "--direction" not in captured.err, "half of the texts are in its language"
    assert json.loads((output / "prepared.json").read_text("utf-8"))["dropped_names"] == {
        "en2ja: no .txt beside it": ["alone.wav"],
        "en2ja: wrong script": ["2.wav"],
    }


def test_a_text_in_another_encoding_and_a_forgotten_direction_can_be_mended(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the same --output takes the mended data."""
    arguments = ["--output", str(own.parent / "out"), "--folder", str(own), "--eval-share", "0"]
    (own / "1.txt").write_bytes("駅はどこですか。".encode("shift_jis"))
    assert prepare.main(arguments) == 1
    assert f"{own / '1.txt'} is not in UTF-8" in capsys.readouterr().err
    for number in (1, 2):
        (own / f"{number}.txt").write_text(f"This is number {number}.", "utf-8")
    assert prepare.main(arguments) == 1
    assert "use --direction ja2en" in capsys.readouterr().err
    assert prepare.main([*arguments, "--direction", "ja2en"]) == 0


def test_a_wrong_direction_is_seen_beside_a_manifest_with_more_texts(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(tmp_path / "a.wav", 300, 1.0)
    rows = [{"audio": "a.wav", "direction": "ja2en", "text": f"Good {i}."} for i in range(9)]
    old = manifest(tmp_path / "old.jsonl", *rows)
    run(tmp_path, "--folder", str(own), "--direction", "ja2en", "--manifest", str(old))
    captured = capsys.readouterr()
    assert "dropped 2  ja2en: wrong script (1.wav, 2.wav)" in captured.out
    assert "use --direction en2ja" in captured.err


def test_a_data_set_in_parquet_is_data(tmp_path: Path) -> None:
    """A folder as the Hub's conversion of a data set has it, read by the same library."""
    from datasets import Dataset

    sound = io.BytesIO()
    sf.write(sound, 0.1 * np.sin(np.arange(16_000)), 16_000, format="WAV")
    audio = {"bytes": sound.getvalue(), "path": "1.wav"}
    (tmp_path / "set").mkdir()
    Dataset.from_list(
        [
            {"audio": audio, "sentence": "Yes.", "translation": "はい。"},
            {"audio": audio, "sentence": "No.", "translation": "いいえ。"},
            {"audio": None, "sentence": "No.", "translation": "いや。"},
        ]
    ).to_parquet(tmp_path / "set" / "train.parquet")
    name = f"{tmp_path / 'set'}::train:en2ja:sentence:translation"
    output = run(tmp_path, "--hub", name)
    samples, _ = load_samples(output / "train.npz")
    assert [(s.text, s.transcript) for s in samples] == [("はい。", "Yes."), ("いいえ。", "No.")]
    assert json.loads((output / "prepared.json").read_text())["dropped"] == {
        "en2ja: unreadable audio": 1
    }


def test_a_wrong_direction_is_answered_with_the_right_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["--output", str(tmp_path), "--direction", "jp2en"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "en2ja" in said
    assert "ja2en" in said
