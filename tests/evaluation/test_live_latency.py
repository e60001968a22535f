"""How late, how good and how restless live translation is, by OmniSTEval."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from evaluation import live
from evaluation.emissions import Emissions, Shown, emissions, omnisteval, write_log
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
    assert growing["longyaal_clock"] > 0
    printed = capsys.readouterr().out
    assert "3 sentences in 1 recordings" in printed
    assert "an example, not a measurement" in printed
    assert "JA→EN, captions only" in chart.read_text("utf-8")
    row = json.loads((tmp_path / "logs" / "ja2en-1-all-real" / "hypotheses.jsonl").read_text())
    assert row["elapsed"] != row["delays"]
    assert len(row["delays"]) == len(row["prediction"].split())
