import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from evaluation.hypotheses import generate, read
from speech_translation.engine import Request
from speech_translation.errors import AudioError
from speech_translation.hub_sets import PARQUET, covost2, fleurs
from speech_translation.manifest import ManifestError
from speech_translation.types import Direction, Hypothesis

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN
ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]


def sound(seconds: float = 0.5, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(file, tone, rate, format="flac")
    return file.getvalue()


SOUND = sound()


def row(number: int, words: str, audio: bytes | None = SOUND) -> Row:
    file = {"bytes": audio, "path": f"{number}.flac"}
    return {"id": number, "audio": file, "raw_transcription": words, "transcription": words.lower()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, list[Row]], None]:
    """Puts rows into a folder that is laid out like the Hub's Parquet files."""
    import datasets
    import pyarrow
    from pyarrow import parquet

    load = datasets.load_dataset

    def local(name: str, *, revision: str, **options: Any) -> Any:
        assert revision == PARQUET
        assert options["streaming"]
        return load(str(tmp_path / name), **options)

    def put(name: str, configuration: str, rows: list[Row]) -> None:
        for split, some in (("train", rows[:1]), ("test", rows)):
            folder = tmp_path / name / configuration / split
            folder.mkdir(parents=True)
            parquet.write_table(pyarrow.Table.from_pylist(some), folder / "0000.parquet")

    monkeypatch.setattr(datasets, "load_dataset", local)
    return put


@pytest.fixture
def sentences(hub: Callable[[str, str, list[Row]], None]) -> None:
    """Sentence 7 read twice in both languages, 9 once; 8 and 10 without a counterpart."""
    english = [row(7, "Seven."), row(8, "Eight."), row(9, "Nine."), row(7, "Seven.")]
    japanese = [row(9, "九。"), row(7, "七。"), row(10, "十。"), row(7, "七。")]
    hub("google/fleurs", "en_us", english)
    hub("google/fleurs", "ja_jp", japanese)


@pytest.mark.usefixtures("sentences")
def test_readings_are_joined_by_sentence() -> None:
    assert [(x.id, x.transcript, x.text, x.direction) for x in fleurs(EN_JA)] == [
        ("en2ja-7-1", "Seven.", "七。", EN_JA),
        ("en2ja-9-1", "Nine.", "九。", EN_JA),
        ("en2ja-7-2", "Seven.", "七。", EN_JA),
    ]
    assert [(x.id, x.transcript, x.text, x.direction) for x in fleurs(JA_EN)] == [
        ("ja2en-9-1", "九。", "Nine.", JA_EN),
        ("ja2en-7-1", "七。", "Seven.", JA_EN),
        ("ja2en-7-2", "七。", "Seven.", JA_EN),
    ]


@pytest.mark.usefixtures("sentences")
def test_the_split_is_chosen() -> None:
    assert [x.id for x in fleurs(EN_JA, "train")] == []


@pytest.mark.usefixtures("sentences")
def test_sound_is_16_khz_float32() -> None:
    samples = next(fleurs(EN_JA)).load()
    assert (samples.dtype, samples.shape) == (np.float32, (8000,))
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.fft.rfft(samples)).argmax() == 220  # 440 Hz in half a second


def test_covost_has_its_own_columns(hub: Callable[[str, str, list[Row]], None]) -> None:
    columns = {
        "audio": {"bytes": SOUND, "path": "a.mp3"},
        "sentence": "Yes.",
        "translation": "はい。",
    }
    hub("fixie-ai/covost2", "en_ja", [{"id": "common_voice_en_1", **columns}])
    (sample,) = covost2(EN_JA)
    assert (sample.id, sample.transcript) == ("en2ja-common_voice_en_1", "Yes.")
    assert (sample.text, sample.direction) == ("はい。", EN_JA)
    assert len(sample.load()) == 8000


class Echo:
    """An engine that answers every clip."""

    description = "echo"
    batch_size = 2

    def generate(self, request: Request) -> list[Hypothesis]:
        return [Hypothesis("はい。", request.direction, 1) for _ in request.batch]


@pytest.mark.parametrize("audio", [b"not a recording", b"", None, SOUND[:60]])
def test_a_broken_clip_is_a_line_with_an_error(
    tmp_path: Path, hub: Callable[[str, str, list[Row]], None], audio: bytes | None
) -> None:
    hub("google/fleurs", "en_us", [row(1, "One."), row(2, "Two.", audio), row(3, "Three.")])
    hub("google/fleurs", "ja_jp", [row(1, "一。"), row(2, "二。"), row(3, "三。")])
    samples = list(fleurs(EN_JA))
    with pytest.raises(AudioError, match="en2ja-2-1"):
        samples[1].load()
    path = tmp_path / "echo.jsonl"
    generate(samples, Echo(), {"system": "echo"}, path, 2)
    lines = read(path)[1]
    assert [line.text for line in lines] == ["はい。", "", "はい。"]
    assert ["en2ja-2-1" in line.error for line in lines] == [False, True, False]


# Without the Hub


def test_without_a_network_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "from speech_translation.hub_sets import *\n"
        "for load in (fleurs, covost2):\n"
        "    try: next(load(Direction.EN_JA))\n"
        "    except ManifestError as error: print(error)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name, message in zip(("google/fleurs", "fixie-ai/covost2"), printed, strict=True):
        assert message.startswith(f"{name} cannot be read from the Hugging Face Hub")
        assert message.endswith("Without a network, name a manifest or a folder instead.")


@pytest.mark.parametrize("load", [fleurs, covost2])
@pytest.mark.parametrize("error", [ConnectionError("no\nroute"), ValueError("unknown split")])
def test_what_the_hub_says_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, load: Callable[[Direction], Any], error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(ManifestError, match=rf"\({' '.join(str(error).split())}\)"):
        next(load(EN_JA))


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ManifestError, match=r"pip install -r requirements-benchmark\.txt"):
        next(fleurs(EN_JA))
