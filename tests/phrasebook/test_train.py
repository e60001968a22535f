"""The phrasebook's trainer: it learns, goes on where it was stopped, and works in processes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hum import write_clips

from phrasebook import train
from phrasebook.held_out import TEST_SET, read_test_set
from phrasebook.synthesis import ClipWriter, Job, load_clips
from speech_translation import Direction, Language, load_engine
from speech_translation.engine import Request
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, few steps, a report every few of them."""
    for name, value in (("BATCH", 4), ("REPORT_EVERY", 4), ("SAVE_EVERY", 8), ("WARMUP", 2)):
        monkeypatch.setattr(train, name, value)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    write_clips(tmp_path / "speech")
    return tmp_path / "speech"


def losses(work: Path) -> dict[int, tuple[float, float]]:
    """Cross-entropy and CTC by step."""
    rows = map(json.loads, (work / "loss.jsonl").read_text("utf-8").splitlines())
    return {row["step"]: (row["loss"], row["ctc"]) for row in rows}


def test_training_learns_goes_on_and_leaves_a_checkpoint(speech: Path, tmp_path: Path) -> None:
    work, output = tmp_path / "work", tmp_path / "checkpoint"
    train.train(speech, work, output, steps=24, seed=1, workers=1)
    first = losses(work)
    assert list(first) == [4, 8, 12, 16, 20, 24]
    # A quarter of the steps listens only.
    assert first[4][0] == first[8][0] == 0
    assert first[8][1] < 0.8 * first[4][1]
    assert 0 < first[24][0] < 0.7 * first[12][0]
    assert not list(tmp_path.glob("*.partial"))
    engine = load_engine(str(output), "cpu")
    (clip, *_) = load_clips(speech)
    samples = clip.samples.astype(np.float32) / 32768
    assert len(engine.generate(Request([samples], Direction.EN_JA))) == 1

    train.train(speech, work, output, steps=28, seed=1, workers=1)  # from the state of step 24
    again = losses(work)
    assert list(again) == [4, 8, 12, 16, 20, 24, 28]
    assert 0 < again[28][0] < first[12][0]

    train.train(speech, tmp_path / "other", output, 4, seed=2, workers=1, start=output)
    (onward,) = losses(tmp_path / "other").values()
    assert 0 < onward[0] < first[12][0], "a checkpoint is gone on from, and is not listened to anew"


def test_the_threshold_doubts_few_right_translations(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(PHRASEBOOK_FOLDER, checkpoint)
    writer = ClipWriter(tmp_path / "speech")
    test_set = read_test_set(ROOT / TEST_SET)
    for language in Language:
        for clip in [x for x in test_set if x.language is language][:12]:
            job = Job("dev", language, clip.text, clip.translation, clip.voice, clip.rate)
            writer.append(job, clip.samples)
    threshold = train.calibrate(checkpoint, tmp_path / "speech")
    config = json.loads((checkpoint / "generation_config.json").read_text("utf-8"))
    assert config["low_confidence_logprob"] == threshold
    engine = load_engine(str(checkpoint), "cpu")
    right = [
        hypothesis.mean_logprob
        for clip in load_clips(tmp_path / "speech")
        for hypothesis in train.hypotheses(engine, [clip], Direction.of(clip.language))
        if hypothesis.text == clip.translation
    ]
    assert len(right) > 20
    least = float(np.quantile(right, train.DOUBTED))
    assert threshold == pytest.approx(train.LEEWAY * least, abs=0.001)
    assert sum(logprob < threshold for logprob in right) <= 1  # 3 % of so many
