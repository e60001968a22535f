"""What becomes of samples that are prepared: kept, dropped, held out, resumed, read again."""

from __future__ import annotations

import json
import os
import tarfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from preparing import digests, manifest, run
from serving import serving
from tiny_checkpoint import write_tone

from speech_translation.errors import SpeechTranslationError
from speech_translation.manifest import FilePart, ManifestError, Sample
from speech_translation.types import Language
from training import prepare, shards
from training.data import BalancedSampler, load_samples
from training.prepared import Prepared, facts, write_index
from training.recipe import Recipe
from training.record import record

EN, JA = Language.ENGLISH, Language.JAPANESE


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Good and bad lines, and a test set that has one of their sentences."""
    tones = {"a": 1.0, "b": 1.5, "c": 2.0, "short": 0.3}
    for number, (name, seconds) in enumerate(tones.items()):
        write_tone(tmp_path / f"{name}.wav", 300 + 100 * number, seconds)
    sf.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    sf.write(tmp_path / "stereo.wav", np.full((44_100, 2), 0.1), 44_100)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    good = {"direction": "en2ja", "transcript": "Where is the station?", "text": "駅はどこですか?"}
    back = {"direction": "ja2en", "transcript": "おはよう", "text": "Good  morning."}
    rows = [
        {"audio": "a.wav", **good},
        {"audio": "a.wav", **good},  # once more
        {"audio": "b.wav", **good},  # another reading
        {"audio": "c.wav", **back, "context": "names"},
        {"audio": "stereo.wav", **back},
        {"audio": "short.wav", **good},
        {"audio": "silent.wav", **good},
        {"audio": "broken.wav", **good},
        {"audio": "a.wav", **good, "text": "Where?"},
        {"audio": "a.wav", **good, "text": "どこ" * 40},
        {
            "audio": "a.wav",
            **good,
            "text": "駅は遠いですがバスもありますし歩いても行けますので安心です",
        },
        {"audio": "b.wav", "direction": "ja2en", "text": "IT IS IN THE TEST"},
    ]
    manifest(tmp_path / "mine.jsonl", *rows)
    manifest(
        tmp_path / "test.jsonl",
        {"audio": "x.wav", "direction": "ja2en", "text": "It is in the test!"},
    )
    return tmp_path


def mine(data: Path, *options: str, output: str = "out") -> Path:
    sources = ["--manifest", str(data / "mine.jsonl"), "--exclude", str(data / "test.jsonl")]
    return run(data, *sources, *options, output=output)


def test_what_can_be_learned_is_kept_and_the_rest_has_a_reason(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = mine(data)
    samples, _ = load_samples(output / "train.npz")
    assert [(s.text, s.target, s.source, round(s.duration or 0, 2)) for s in samples] == [
        ("駅はどこですか？", JA, EN, 1.0),
        ("駅はどこですか？", JA, EN, 1.5),
        ("Good morning.", EN, JA, 2.0),
        ("Good morning.", EN, JA, 1.0),
    ]
    assert samples[2].context == "names"
    found = json.loads((output / "prepared.json").read_text("utf-8"))
    assert found["dropped"] == {
        "en2ja: came before": 1,
        "en2ja: shorter than 0.5 s": 1,
        "en2ja: silent": 1,
        "en2ja: unreadable audio": 1,
        "en2ja: wrong script": 1,
        "en2ja: repeats itself": 1,
        "en2ja: length does not fit the speech": 1,
        "ja2en: in a test set": 1,
    }
    assert found["sets"]["train"]["en2ja"] == {"samples": 2, "hours": 0.001}
    shown = capsys.readouterr().out
    assert "train  ja2en" in shown
    assert "dropped 1  en2ja: silent (7)" in shown, "the number of its line"


def test_the_sound_is_what_was_recorded(data: Path) -> None:
    samples, _ = load_samples(mine(data) / "train.npz")
    original = sf.read(data / "a.wav", dtype="float32")[0]
    assert np.abs(samples[0].load() - original).max() <= 1 / 32768
    resampled = samples[3].load()
    assert resampled.shape == (16_000,)
    assert resampled[4000:12_000] == pytest.approx(0.1, abs=0.01)
    assert isinstance(samples[0].audio, FilePart)
    with tarfile.open(samples[0].audio.path) as tar:  # other tools read it too
        names = tar.getnames()
        content = tar.extractfile("000000.flac")
        assert content is not None
        assert content.read() == samples[0].audio.read()
    assert names[:2] == ["000000.json", "000000.flac"]


def test_a_stopped_run_goes_on_to_the_same_end(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SHARD", 3)
    whole = mine(data)
    stopped = mine(data, output="stopped")
    for name in ("audio/000001.json", "audio/000002.tar", "audio/000002.json", "train.npz"):
        (stopped / name).unlink()  # one was being written, one was not begun
    kept = (stopped / "audio" / "000000.tar").stat().st_mtime_ns
    mine(data, output="stopped")
    assert digests(stopped) == digests(whole)
    assert list(Prepared(stopped / "train.npz"))[3].text == "Good morning."
    assert (stopped / "audio" / "000000.tar").stat().st_mtime_ns == kept, "it was whole"


def test_other_data_is_not_mixed_in(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = mine(data)
    with (data / "mine.jsonl").open("a") as file:
        file.write("\n")
    arguments = ["--output", str(output), "--manifest", str(data / "mine.jsonl"), "--least", "1"]
    assert prepare.main(arguments) == 1
    said = capsys.readouterr().err
    assert "was prepared otherwise" in said
    for name in ("mine.jsonl", "least", "exclude"):
        assert name in said


def test_a_sentence_is_in_one_set_with_all_its_readings(data: Path) -> None:
    rows = [
        {
            "audio": f"{x}.wav",
            "direction": "en2ja",
            "transcript": f"This is {i}.",
            "text": f"{i}だ",
        }
        for i in range(40)
        for x in ("a", "b")
    ]
    manifest(data / "many.jsonl", *rows)
    output = run(data, "--manifest", str(data / "many.jsonl"), "--eval-share", "0.3")
    held_out = {sample.transcript for sample in Prepared(output / "eval.npz")}
    assert 4 <= len(held_out) <= 22
    assert held_out.isdisjoint(sample.transcript for sample in Prepared(output / "train.npz"))


def test_the_utterance_before_is_a_context(data: Path) -> None:
    write_tone(data / "long.wav", 440, 9.0)
    rows = [
        {
            "audio": "long.wav",
            "start": i,
            "end": i + 0.9 + i / 100,
            "direction": "en2ja",
            "text": f"{i}だ",
        }
        for i in range(3)
    ]
    manifest(data / "talk.jsonl", *rows, {"audio": "a.wav", "direction": "en2ja", "text": "はい"})
    source = ["--manifest", str(data / "talk.jsonl"), "--previous"]
    samples, _ = load_samples(run(data, *source) / "train.npz")
    assert [s.context for s in samples] == ["", "0だ", "1だ", ""]


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            task, words = (message["content"] for message in body["messages"])
            assert "in Japanese into English" in task
            answer = {"おはよう": "<think>Hm.</think>Good morning.", "はい": ""}[words]
            self.send_response(200)
            self.end_headers()
            choice = {"message": {"content": answer}, "finish_reason": "stop"}
            self.wfile.write(json.dumps({"choices": [choice]}).encode())

        def log_message(self, *_: object) -> None: ...

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as endpoint:
        yield f"http://127.0.0.1:{endpoint.server_port}/v1"


def test_transcripts_are_translated_by_a_server(data: Path, server: str) -> None:
    spoken = [
        {"audio": "a.wav", "direction": "ja2en", "transcript": "おはよう", "text": ""},
        {"audio": "b.wav", "direction": "ja2en", "transcript": "はい", "text": ""},
    ]
    manifest(data / "spoken.jsonl", *spoken)
    source = ["--manifest", str(data / "spoken.jsonl"), "--translate-url", server]
    output = run(data, *source, "--translate-model", "m")
    samples, _ = load_samples(output / "train.npz")
    assert [(s.text, s.transcript) for s in samples] == [("Good morning.", "おはよう")]
    assert json.loads((output / "prepared.json").read_text())["dropped"] == {"ja2en: empty text": 1}


def test_low_scores_are_dropped(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a scorer of two lines: the interface, since the neural one cannot run here."""
    monkeypatch.setattr(
        shards, "scorer", lambda name: lambda pairs: [len(text) / 20 for _, text in pairs]
    )
    samples = [
        Sample(data / "a.wav", "駅はどこですか？", JA, EN, "Where is the station?"),
        Sample(data / "b.wav", "Good morning, and thank you.", EN, JA, "おはよう"),
    ]
    beside = shards.write_shard(data, 0, samples, shards.Rules(scorer="length", least=0.8))
    kept, dropped = shards.read_shard(beside)
    assert [sample.text for sample, _ in kept] == ["Good morning, and thank you."]
    assert dropped == {"en2ja: low quality": [""]}


def test_faults_are_told_in_a_sentence(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", str(data / "out")]
    for arguments, words in (
        (["--manifest", str(data / "none.jsonl")], "there is no such manifest"),
        (["--folder", str(data / "nothing")], "nothing: there is no such folder"),
        (["--hub", "mozilla/common_voice"], "is no data set: write covost2:en2ja"),
    ):
        assert prepare.main([*output, *arguments]) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        prepare.main(output)
    assert caught.value.code == 2
    with pytest.raises(SpeechTranslationError, match="There is no scorer"):
        shards.scorer("bleurt")
    (data / "bad.npz").write_bytes(b"PK")
    with pytest.raises(ManifestError, match="prepare it again"):
        Prepared(data / "bad.npz")


def _killed(*_: object) -> None:
    os._exit(9)


def test_a_process_that_is_killed_is_said(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "write_shard", _killed)
    arguments = ["--output", str(data / "out"), "--manifest", str(data / "mine.jsonl")]
    assert prepare.main([*arguments, "--workers", "1"]) == 1
    assert "use fewer --workers" in capsys.readouterr().err


@pytest.mark.slow
def test_a_million_samples_are_ready_in_less_than_a_minute(tmp_path: Path) -> None:
    """1.27 million, as the card's checkpoint had; the sound is not touched before it is used."""
    count = 1_270_000
    index = tmp_path / "train.npz"
    rows = [
        (
            n // 500,
            Sample(
                FilePart(tmp_path, n % 500 * 60_000, 60_000),
                "これは文です。" if n % 3 else "This is a sentence.",
                JA if n % 3 else EN,
                EN if n % 3 else JA,
                duration=0.5 + n % 29,
            ),
        )
        for n in range(1000)
    ] * (count // 1000)
    write_index(index, rows)
    start = time.process_time()
    samples, _ = load_samples(index)
    sampler = BalancedSampler(samples, 64, 0)
    made = record(Recipe(train=index, output=tmp_path), {"train": (samples, {})}, "cpu")  # type: ignore[dict-item]
    first = next(iter(sampler))
    took = time.process_time() - start
    assert len(samples) == count
    assert samples[first].duration is not None
    assert made["data"]["train"]["samples"] == {"into Japanese": 845_820, "into English": 424_180}
    assert sum(1 for _ in facts(samples)) == count
    assert took < 60, f"{took:.0f} s of processor time"
    print(f"{took:.1f} s")
