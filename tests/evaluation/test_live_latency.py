"""How late, how good and how restless live translation is, by OmniSTEval."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from evaluation import live
from evaluation.document_scores import drawn
from evaluation.emissions import (
    Emissions,
    Resegmented,
    Shown,
    emissions,
    omnisteval,
    resegmented,
    write_log,
)
from evaluation.long_recordings import Recording, Spoken
from evaluation.playing import IdealClock, RealClock
from evaluation.samples import DataError
from speech_translation.types import SAMPLE_RATE, Direction, Language

ROOT = Path(__file__).resolve().parents[2]
TEST_SET = ROOT / "evaluation" / "data" / "phrasebook.jsonl"
EN, JA = Language.ENGLISH, Language.JAPANESE


def test_a_word_counts_from_when_it_does_not_go_any_more() -> None:
    history = [
        Shown(1, 1.1, ""),
        Shown(2, 2.2, "the cat"),
        Shown(3, 3.3, "the dog sat"),
        Shown(4, 4.4, "the"),
        Shown(5, 5.5, "the dog sat down"),
    ]
    found = emissions(history, EN)
    assert found.text == "the dog sat down"
    assert found.heard == [2, 5, 5, 5]
    assert found.now == [2.2, 5.5, 5.5, 5.5]
    assert found.erased == (1 + 2) / 4


def test_japanese_is_counted_by_characters() -> None:
    found = emissions([Shown(1, 1, "駅は"), Shown(2, 2, "駅が右"), Shown(3, 3, "駅が左")], JA)
    assert found.heard == [1, 2, 3]
    assert found.erased == 2 / 3


def test_nothing_said_is_no_error() -> None:
    assert emissions([Shown(1, 1, "")], EN) == Emissions("", [], [], 0.0)


TALK = Recording(
    "talk",
    np.zeros(8 * SAMPLE_RATE, np.float32),
    Direction.JA_EN,
    [Spoken(0, 4, "", "One two three four."), Spoken(4, 8, "", "Five six seven eight.")],
)


def test_omnisteval_reads_the_log(tmp_path: Path) -> None:
    """Words that come evenly with the speaker have a lag of 0; a second later, of 1 s."""
    words = "One two three four. Five six seven eight."
    for late in (0.0, 1.0):
        heard = [i + late for i in range(8)]
        one = Emissions(words, heard, [x + 0.5 for x in heard], 0.0)
        write_log(tmp_path / str(late), [TALK], [one], [8.0])
        scores = omnisteval(tmp_path / str(late), EN)
        assert scores["LongYAAL (CU)"] == pytest.approx(1000 * late, abs=1)
        assert scores["LongYAAL (CA)"] == pytest.approx(1000 * (late + 0.5), abs=1)
        assert scores["chrF"] == pytest.approx(100)


def test_sentences_have_the_lags_whose_mean_omnisteval_says(tmp_path: Path) -> None:
    for language, direction in ((EN, Direction.JA_EN), (JA, Direction.EN_JA)):
        said = ["One two three.", "Four five six.", "Seven."]
        said = said if language is EN else ["一二三四。", "五六七八。", "九。"]
        spoken = [Spoken(4.0 * i, 4.0 * i + 4, "", text) for i, text in enumerate(said)]
        talk = Recording("talk", np.zeros(16, np.float32), direction, spoken)
        text = (" " if language is EN else "").join(said[:2])
        heard = [1.0 + 1.3 * i for i in range(len(text.split() if language is EN else text))]
        one = Emissions(text, heard, [x + 0.4 for x in heard], 0.0)
        folder = tmp_path / language
        write_log(folder, [talk], [one], [12.0])
        scores, found = omnisteval(folder, language), resegmented(folder, language)
        assert [x.reference for x in found] == said
        assert found[2].lag is found[2].lag_by_clock is None  # it was not said
        for name, lags in (
            ("LongYAAL (CU)", [x.lag for x in found[:2]]),
            ("LongYAAL (CA)", [x.lag_by_clock for x in found[:2]]),
        ):
            assert sum(map(float, lags)) / 2 == pytest.approx(scores[name] / 1000, abs=1e-6)


def test_intervals_of_a_live_point_are_those_of_recordings_and_their_sentences() -> None:
    rng = np.random.default_rng(0)
    lags = rng.normal(2.0, 0.5, 40)
    some = [
        Resegmented("One." if i % 4 else "Two.", "One.", lag, lag + 1) for i, lag in enumerate(lags)
    ]
    found = live.intervals(some, some, drawn([20, 20], 1000))
    for name, mean in (("longyaal", lags.mean()), ("longyaal_clock", lags.mean() + 1)):
        low, high = found[f"{name}_interval"]
        assert low < mean < high < low + 0.8
    low, high = found["chrf_interval"]
    assert 50 < low < high < 95
    assert set(live.intervals(some, some, None).values()) == {None}


def test_what_omnisteval_cannot_read_is_one_sentence(tmp_path: Path) -> None:
    one = Emissions("one two", [1.0], [1.0], 0.0)  # a time is missing
    write_log(tmp_path, [TALK], [one], [8.0])
    with pytest.raises(DataError, match=r"OmniSTEval does not score .*requirements-benchmark"):
        omnisteval(tmp_path, EN)


def test_the_clocks() -> None:
    ideal, real = IdealClock(), RealClock()
    for clock in (ideal, real):
        clock.wait_until(100.0)
        clock.wait_until(50.0)
    assert ideal() == 100.0
    assert 100.0 <= real() < 160.0


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_recording_is_played_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [live.Setting(1.0, "all"), live.Setting(math.inf, "captions")]
    monkeypatch.setattr(live, "SETTINGS", settings)
    output, chart = tmp_path / "live.json", tmp_path / "live.svg"
    command = [
        *("--join", str(TEST_SET), "--each", "3", "--limit", "1", "--direction", "ja2en"),
        *("--logs", str(tmp_path / "logs"), "--output", str(output), "--chart", str(chart)),
    ]
    assert live.main(command) == 0
    results = json.loads(output.read_text("utf-8"))
    (entry,) = results["directions"]
    growing, captions = entry["points"]
    assert entry["sentences"] == 3
    assert growing["longyaal"] < captions["longyaal"]  # a line that grows is earlier
    assert growing["erased"] >= captions["erased"] == 0
    assert captions["chrf"] > 60
    assert captions["chrf_interval"] is None  # of three sentences
    assert growing["longyaal_clock"] > 0
    printed = capsys.readouterr().out
    assert "3 sentences in 1 recordings" in printed
    assert "an example, not a measurement" in printed
    assert "JA→EN, captions only" in chart.read_text("utf-8")
    row = json.loads((tmp_path / "logs" / "ja2en-1-all-real" / "hypotheses.jsonl").read_text())
    assert row["elapsed"] != row["delays"]
    assert len(row["delays"]) == len(row["prediction"].split())
