"""Sound that is no speech gives no text; speech that is gives no false alarm."""

from pathlib import Path

import pytest
from clips import SPEECH

from evaluation.invented import (
    Outcome,
    left_out,
    odd_speech,
    outcomes,
    recordings,
    right_texts,
    sounds,
)
from speech_translation import load_engine
from speech_translation.audio import load_audio
from speech_translation.text import repeated, wrong_script

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def found() -> dict[str, Outcome]:
    engine = load_engine("phrasebook", "cpu")
    return outcomes(sounds(60, seed=7), engine) | outcomes(odd_speech(), engine)


def test_ten_minutes_of_silence_and_noise_give_no_text(found: dict[str, Outcome]) -> None:
    assert found["silence"].seconds + found["noise"].seconds >= 600
    for label in ("silence", "noise"):
        assert (found[label].invented, found[label].flags.total()) == (0, 0)


@pytest.mark.parametrize("label", ["music", "laughter", "one word for 30 s"])
def test_no_text_without_a_flag(found: dict[str, Outcome], label: str) -> None:
    assert found[label].seconds >= 30
    assert found[label].invented == 0


def test_the_target_language_is_written_down_and_two_are_told_apart(
    found: dict[str, Outcome],
) -> None:
    for label, right in (("the other language", 2), ("two languages", 3)):
        assert (found[label].right, found[label].invented) == (right, 0)


@pytest.mark.parametrize(
    ("folder", "at_least"),
    [
        (None, 6),
        pytest.param(
            Path(SPEECH), 10, marks=pytest.mark.skipif(not SPEECH, reason="no SPEECH_HUMAN")
        ),
    ],
    ids=["of the benchmark", "in SPEECH_HUMAN"],
)
def test_people_are_heard(folder: Path | None, at_least: int) -> None:
    counts = [left_out(load_audio(path)) for path in recordings(folder)]
    assert len(counts) >= at_least
    assert sum(missed for missed, _ in counts) <= 0.01 * sum(loud for _, loud in counts)


def test_right_texts_are_not_doubted() -> None:
    texts = list(right_texts())
    assert len(texts) > 900
    doubted = [text for text, d in texts if d.target and wrong_script(text, d.target)]
    doubted += [text for text, _ in texts if repeated(text)]
    assert len(doubted) <= 0.01 * len(texts)
