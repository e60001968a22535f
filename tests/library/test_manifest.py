"""One form of a manifest for training and evaluation, and the forms of others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speech_translation.errors import AudioError
from speech_translation.manifest import ManifestError, Sample, read_manifest
from speech_translation.types import SAMPLE_RATE, Direction, Language

EN, JA = Language.ENGLISH, Language.JAPANESE
HERE = Path("clips")


def manifest(folder: Path, *lines: object) -> Path:
    path = folder / "manifest.jsonl"
    rows = (x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def cut(custom: dict[str, Any], **supervision: Any) -> dict[str, Any]:
    """A line of a CutSet as lhotse writes it."""
    return {
        "id": "rec-1-0",
        "start": 10.0,
        "duration": 2.5,
        "channel": 0,
        "supervisions": [
            {
                "id": "sup-1",
                "recording_id": "rec-1",
                "start": 0.25,
                "duration": 2.0,
                "channel": 0,
                "text": "Yes, please.",
                "language": "en",
                "custom": custom,
                **supervision,
            }
        ],
        "recording": {
            "id": "rec-1",
            "sources": [{"type": "file", "channels": [0], "source": "clips/a.wav"}],
            "sampling_rate": 16000,
            "num_samples": 480000,
            "duration": 30.0,
        },
        "type": "MonoCut",
    }


PLAIN = {"audio": "clips/a.wav", "direction": "en2ja", "text": "はい。"}


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (PLAIN, {"source": EN}),
        ({**PLAIN, "reference": "はい。", "target_lang": "ja"}, {"source": EN}),  # they agree
        (
            {
                **PLAIN,
                "id": "one",
                "transcript": "Yes.",
                "context": "names",
                "start": 1,
                "end": 2.5,
                "speaker": "passed over",
            },
            {
                "source": EN,
                "id": "one",
                "transcript": "Yes.",
                "context": "names",
                "start": 1,
                "end": 2.5,
                "duration": 1.5,
            },
        ),
        ({**PLAIN, "duration": 1.5}, {"source": EN, "duration": 1.5}),
        (
            {**PLAIN, "start": 1.5, "duration": 2.0},
            {"source": EN, "start": 1.5, "end": 3.5, "duration": 2.0},
        ),
        ({**PLAIN, "start": 1.5}, {"source": EN, "start": 1.5}),
        ({**PLAIN, "end": 1.5, "transcript": None}, {"source": EN, "end": 1.5, "duration": 1.5}),
        ({"audio": "clips/a.wav", "target_lang": "ja", "text": "はい。"}, {}),
        # NeMo
        (
            {
                "audio_filepath": "clips/a.wav",
                "offset": 4.0,
                "duration": 2.0,
                "text": "はい。",
                "source_lang": "en",
                "target_lang": "ja",
                "pnc": "yes",
            },
            {"source": EN, "start": 4.0, "end": 6.0, "duration": 2.0},
        ),
        (
            {
                "audio_filepath": "clips/a.wav",
                "duration": 2.0,
                "text": "Yes.",
                "answer": "はい。",
                "source_lang": "en",
                "target_lang": "ja",
                "taskname": "ast",
            },
            {"source": EN, "duration": 2.0, "transcript": "Yes."},
        ),
        (
            {"audio": "clips/a.wav", "text": "Yes.", "translation": "はい。", "direction": "en2ja"},
            {"source": EN, "transcript": "Yes."},
        ),
        # lhotse
        (
            cut({"tgt_lang": "ja", "tgt_text": "はい。"}),
            {
                "source": EN,
                "start": 10.25,
                "end": 12.25,
                "duration": 2.0,
                "transcript": "Yes, please.",
                "id": "rec-1-0",
            },
        ),
        (
            cut({"source_lang": "en", "target_lang": "ja"}, text="はい。"),
            {"source": EN, "start": 10.25, "end": 12.25, "duration": 2.0, "id": "rec-1-0"},
        ),
        # Qwen
        (
            {
                "audio": "clips/a.wav",
                "text": "language Japanese<asr_text>はい。",
                "prompt": "names",
            },
            {"context": "names"},
        ),
        # Ours of before
        (
            {
                "audio": "clips/a.wav",
                "text": "はい。",
                "source": "en",
                "target": "ja",
                "duration": 1.5,
            },
            {"source": EN, "duration": 1.5},
        ),
        (
            {
                "audio": "clips/a.wav",
                "direction": "en2ja",
                "reference": "はい。",
                "source": "Yes.",
                "start": 0.0,
                "end": 1.5,
            },
            {"source": EN, "transcript": "Yes.", "end": 1.5, "duration": 1.5},
        ),
    ],
)
def test_forms_of_a_line(tmp_path: Path, line: dict[str, Any], read: dict[str, Any]) -> None:
    (sample,) = read_manifest(manifest(tmp_path, line))
    expected = {"source": None, "id": "1"} | read
    assert sample == Sample(tmp_path / "clips" / "a.wav", "はい。", JA, **expected)


def test_speech_that_must_not_be_translated(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"audio": "a.wav", "direction": None, "text": ""},
        "",
        {"audio": "/b.wav", "target": None, "text": ""},
        {"audio": "c.wav", "text": "language None<asr_text>"},
    )
    assert list(read_manifest(path)) == [
        Sample(tmp_path / "a.wav", "", None, id="1"),
        Sample(Path("/b.wav"), "", None, id="3"),
        Sample(tmp_path / "c.wav", "", None, id="4"),
    ]


@pytest.mark.parametrize(
    ("source", "target", "direction"),
    [
        (EN, JA, Direction.EN_JA),
        (None, EN, Direction.JA_EN),
        (EN, EN, Direction.AUTO),
        (EN, None, Direction.AUTO),
    ],
)
def test_direction(source: Language | None, target: Language | None, direction: Direction) -> None:
    assert Sample(HERE, "x", target, source).direction is direction


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ([1], "must be an object"),
        ({"text": "x", "direction": "ja2en"}, '"audio" is missing'),
        ({"audio": "a.wav", "text": 3, "target_lang": "en"}, '"text" is missing or not a string'),
        ({"audio": "a.wav", "direction": "ja2en"}, '"text" is missing'),
        ({"audio": "a.wav", "text": "x"}, 'no "direction"'),
        ({"audio": "a.wav", "text": "language French<asr_text>x"}, "names no language"),
        ({"audio": "a.wav", "text": "x", "target_lang": "fr"}, "\"target_lang\" is 'fr'"),
        ({"audio": "a.wav", "text": "x", "direction": "auto"}, "must be en2ja, ja2en or null"),
        ({**PLAIN, "duration": "1"}, '"duration" is not a number'),
        ({**PLAIN, "start": True}, '"start" is not a number'),
        ({**PLAIN, "start": -1}, '"start" is not a number'),
        ('{"audio": "a", "direction": "en2ja", "text": "x", "end": NaN}', '"end" is not a number'),
        ({**PLAIN, "start": 2, "end": 2}, '"end" does not fit'),
        ({**PLAIN, "start": 1, "end": 2, "duration": 3}, '"end" does not fit'),
        ({**PLAIN, "context": 3}, '"context" is missing or not a string'),
        # Ambiguous
        ({**PLAIN, "source": "en"}, 'write "source_lang" or "transcript"'),
        ({**PLAIN, "source": "Yes."}, 'write "source_lang" or "transcript"'),
        ({**PLAIN, "reference": "いいえ。"}, '"reference" and "text" do not agree'),
        ({**PLAIN, "audio_filepath": "b.wav"}, '"audio_filepath" and "audio" do not agree'),
        ({**PLAIN, "answer": "x", "translation": "y"}, "do not agree"),
        ({**PLAIN, "target_lang": "en"}, '"direction" and "target_lang" do not agree'),
        ({**PLAIN, "target": "en"}, '"direction" and "target_lang" do not agree'),
        # Not a cut that can be read
        (cut({"tgt_text": "はい。"}), "a cut of lhotse must have"),
        ({**cut({"tgt_lang": "ja"}), "supervisions": []}, "a cut of lhotse must have"),
        ({**cut({"tgt_lang": "ja"}), "recording": None}, "a cut of lhotse must have"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, complaint: str) -> None:
    path = manifest(tmp_path, PLAIN, line)
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(path))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert complaint in str(caught.value)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.jsonl: cannot read"):
        list(read_manifest(tmp_path / "none.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes("é".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"latin\.jsonl: cannot read"):
        list(read_manifest(tmp_path / "latin.jsonl"))


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """Two seconds: a half, then a quarter of full scale."""
    path = tmp_path / "steps.wav"
    soundfile.write(path, np.repeat([0.5, 0.25], SAMPLE_RATE), SAMPLE_RATE)
    return path


@pytest.mark.parametrize(
    ("times", "length", "level"),
    [
        ({}, 2.0, 0.5),
        ({"start": 1.0}, 1.0, 0.25),
        ({"start": 1.25, "end": 1.75}, 0.5, 0.25),
        ({"end": 0.5}, 0.5, 0.5),
        ({"start": 1.0, "end": 2.009}, 1.0, 0.25),  # rounded up
    ],
)
def test_an_utterance_is_cut_out_of_its_recording(
    steps: Path, times: dict[str, float], length: float, level: float
) -> None:
    for audio in (steps, steps.read_bytes(), np.repeat(np.float32([0.5, 0.25]), SAMPLE_RATE)):
        sound = Sample(audio, "x", JA, id="one", **times).load()
        assert len(sound) == round(length * SAMPLE_RATE)
        assert sound[0] == pytest.approx(level)


@pytest.mark.parametrize(("start", "end"), [(0.0, 2.1), (3.0, None), (1.0, 1.0), (2.0, 2.005)])
def test_an_utterance_beyond_its_recording_is_an_error(
    steps: Path, start: float, end: float | None
) -> None:
    with pytest.raises(AudioError, match="late"):
        Sample(steps, "x", JA, start=start, end=end, id="late").load()
