"""Test sets in the layout of their releases become manifests."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation import manifests
from evaluation.hypotheses import generate, read
from evaluation.long_recordings import read_recordings
from evaluation.run import load_data
from speech_translation.engine import Request
from speech_translation.manifest import Sample
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Language

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN


def write(path: Path, sound: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, SAMPLE_RATE, "PCM_16")


def noise(seed: int, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-3000, 3000, round(seconds * SAMPLE_RATE)).astype(np.int16)


@pytest.fixture
def bsd(tmp_path: Path) -> Path:
    folder = tmp_path / "speechBSD"
    line = {
        "no": 1,
        "en_speaker": "Mr. Sam",
        "ja_speaker": "サムさん",
        "en_sentence": "Good morning.",
        "ja_sentence": "おはようございます。",
        "ja_spkid": "06",
        "en_spkid": "18",
        "ja_wav": "190315_E001_17_spk0_no1_ja.wav",
        "en_wav": "190315_E001_17_spk0_no1_en.wav",
        "ja_spk_gender": "M",
        "en_spk_gender": "F",
    }
    scenario = {"id": "190315_E001_17", "tag": "training", "title": "Training"}
    scenario |= {"original_language": "en", "conversation": [line]}
    (folder / "txt").mkdir(parents=True)
    (folder / "txt" / "test.json").write_text(json.dumps([scenario]), "utf-8")
    write(folder / "wav" / "test" / line["en_wav"], noise(1, 0.5))
    write(folder / "wav" / "test" / line["ja_wav"], noise(2, 0.7))
    return folder


def test_both_sides_of_a_dialogue_are_samples(bsd: Path, tmp_path: Path) -> None:
    output = tmp_path / "data" / "bsd"
    assert manifests.main(["speechbsd", "--folder", str(bsd), "--output", str(output)]) == 0
    english, japanese = load_data(str(output / "manifest.jsonl"), [EN_JA, JA_EN])
    assert (english.id, english.direction) == ("en2ja-190315_E001_17-1", EN_JA)
    assert (english.text, english.transcript) == ("おはようございます。", "Good morning.")
    assert (japanese.text, japanese.transcript) == ("Good morning.", "おはようございます。")
    assert [len(x.load()) for x in (english, japanese)] == [8000, 11200]


@pytest.fixture
def acl(tmp_path: Path) -> Path:
    """Two talks of two sentences each, cut out of them; nothing says where."""
    folder = tmp_path / "2" / "acl_6060"
    words = {"en": "English {}", "ja": "日本語{}"}
    number = 0
    docs: dict[str, list[str]] = {"en": [], "ja": []}
    for talk in ("2022.acl-long.268", "2022.acl-long.367"):
        sound = noise(number + 10, 6)
        write(folder / "eval" / "full_wavs" / f"{talk}.wav", sound)
        segs: dict[str, str] = {"en": "", "ja": ""}
        for begin, end in ((0.5, 2.0), (2.5, 5.5)):
            number += 1
            piece = sound[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
            write(folder / "eval" / "segmented_wavs" / "gold" / f"sent_{number}.wav", piece)
            for language, form in words.items():
                segs[language] += f'<seg id="{number}">{form.format(number)} &amp; more.</seg>\n'
        for language, some in segs.items():
            docs[language].append(f'<doc docid="{talk}" genre="presentations">\n{some}</doc>')
    for language, some in docs.items():
        path = folder / "eval" / "text" / "xml" / f"ACL.6060.eval.en-xx.{language}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "srcset" if language == "en" else "refset"
        inside = "\n".join(some)
        path.write_text(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<{kind} setid="ACL.6060.eval" '
            f'srclang="en" trglang="{language}">\n{inside}\n</{kind}>\n</mteval>\n',
            "utf-8",
        )
    return folder


def test_the_sentences_of_a_talk_are_found_in_it(acl: Path, tmp_path: Path) -> None:
    output = tmp_path / "data" / "acl"
    assert manifests.main(["acl6060", "--folder", str(acl), "--output", str(output)]) == 0
    talks = list(read_recordings(output / "recordings.jsonl"))
    assert [talk.direction for talk in talks] == [EN_JA, EN_JA]
    times = [(x.start, x.end) for x in talks[1].sentences]
    assert times == [(0.5, 2.0), (2.5, 5.5)]
    assert talks[1].sentences[0].transcript == "English 3 & more."
    assert talks[1].sentences[0].reference == "日本語3 & more."
    assert talks[0].scored
    assert len(talks[0].load()) == 6 * SAMPLE_RATE
    samples = list(load_data(str(output / "manifest.jsonl"), [EN_JA]))
    assert [len(x.load()) / SAMPLE_RATE for x in samples] == [1.5, 3.0, 1.5, 3.0]


def test_a_sentence_of_another_release_is_one_sentence(
    acl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(acl / "eval" / "segmented_wavs" / "gold" / "sent_2.wav", noise(99, 1))
    assert manifests.main(["acl6060", "--folder", str(acl), "--output", str(tmp_path / "x")]) == 1
    assert "sent_2.wav is no piece of its talk" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["speechbsd", "acl6060"])
@pytest.mark.parametrize("folder", [[], ["--folder", "nothing"]])
def test_a_missing_folder_is_one_sentence(
    name: str, folder: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manifests.main([name, *folder, "--output", str(tmp_path / "x")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_the_hub_has_becomes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fleurs` itself is tested with Parquet files as the Hub lays them out."""
    file = tmp_path / "a.flac"
    soundfile.write(file, noise(1, 0.5), SAMPLE_RATE)

    def rows(direction: Direction, split: str) -> list[Sample]:
        assert split == "test"
        audio, source = file.read_bytes(), Language.ENGLISH
        one = Sample(audio, "はい。", Language.JAPANESE, source, "Yes.", id="en2ja-1-1")
        broken = Sample(b"", "いいえ。", Language.JAPANESE, source, "No.", id="en2ja-2-1")
        return [one, broken] if direction is EN_JA else []

    monkeypatch.setitem(manifests.HUB, "fleurs", rows)
    output = tmp_path / "fleurs"
    assert manifests.main(["fleurs", "--output", str(output)]) == 0

    class Echo:
        description, batch_size = "echo", 1

        def generate(self, request: Request) -> list[Hypothesis]:
            return [Hypothesis(str(len(x)), request.direction) for x in request.batch]

    samples = load_data(str(output / "manifest.jsonl"), [EN_JA])
    generate(samples, Echo(), {"system": "echo"}, tmp_path / "echo.jsonl", 2)
    heard, missing = read(tmp_path / "echo.jsonl")[1]
    assert (heard.text, heard.reference, heard.source) == ("8000", "はい。", "Yes.")
    assert "en2ja-2-1" in missing.error
