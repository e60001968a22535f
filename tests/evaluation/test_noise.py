import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evaluation import run
from evaluation.hypotheses import read
from evaluation.noise import BABBLE, KINDS, TALKERS, mixed, noisy
from evaluation.report import NOISES, noise_table
from speech_translation.manifest import Sample
from speech_translation.types import SAMPLE_RATE, Language

ROOT = Path(__file__).resolve().parents[2]
TEST_SET = ROOT / "evaluation" / "data" / "phrasebook.jsonl"


def clips(count: int = 8) -> Iterator[Sample]:
    for i in range(count):
        sound = np.random.default_rng(i).normal(0, 0.05, SAMPLE_RATE + i).astype(np.float32)
        yield Sample(sound, "text", Language.JAPANESE, Language.ENGLISH, id=str(i))


@pytest.mark.parametrize("kind", [*KINDS, BABBLE])
@pytest.mark.parametrize("ratio", [20.0, 5.0])
def test_speech_is_so_much_louder_than_the_noise(kind: str, ratio: float) -> None:
    for clean, dirty in zip(clips(), noisy(clips(), kind, ratio), strict=True):
        speech, sound = clean.load(), dirty.load()
        assert (sound.dtype, sound.shape) == (np.float32, speech.shape)
        noise = sound - speech
        found = 10 * np.log10(np.mean(speech**2) / np.mean(noise**2))
        assert found == pytest.approx(ratio, abs=0.1)
        assert (clean.id, clean.text) == (dirty.id, dirty.text)


@pytest.mark.parametrize("kind", [*KINDS, BABBLE])
def test_a_clip_has_the_same_noise_in_every_run_and_others_have_another(kind: str) -> None:
    first, again = (list(noisy(clips(), kind, 10)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.load(), b.load())
    noises = [x.load() - y.load() for x, y in zip(first, clips(), strict=True)]
    assert not np.allclose(noises[0][:SAMPLE_RATE], noises[1][:SAMPLE_RATE], atol=1e-3)


def test_nobody_babbles_over_himself() -> None:
    alone = [next(clips())]
    assert np.array_equal(next(noisy(alone, BABBLE, 5)).load(), alone[0].load())
    assert len(list(noisy(clips(TALKERS + 3), BABBLE, 5))) == TALKERS + 3


def test_the_sum_stays_in_range() -> None:
    speech = np.full(1000, 0.9, np.float32)
    assert np.abs(mixed(speech, -speech[::-1] * np.arange(1000), 0)).max() <= 1


def test_a_clip_that_cannot_be_read_is_left_to_be_counted() -> None:
    broken = Sample(b"no sound", "text", Language.JAPANESE, id="broken")
    assert list(noisy([broken], "noise", 10)) == [broken]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_header_names_the_noise(tmp_path: Path) -> None:
    output = tmp_path / "noisy.jsonl"
    command = ["generate", "--system", "phrasebook", "--data", str(TEST_SET), "--limit", "1"]
    assert run.main([*command, "--noise", "music", "--ratio", "15", "--output", str(output)]) == 0
    header, lines = read(output)
    assert header["data"] == f"{TEST_SET}, music at 15 dB"
    assert (header["noise"], header["ratio"]) == ("music", 15)
    assert [line.direction.value for line in lines] == ["en2ja", "ja2en"]
    assert json.loads(output.read_text("utf-8").splitlines()[-1]) == {"samples": 2}


def test_the_table_has_a_row_for_each_noise_and_marks_examples() -> None:
    head = {"title": "A", "engine": "e", "gpu": None, "machine": "m", "commit": "c"}
    head |= {"attention": "a", "missing": "only the first 60 of each direction"}
    score = {"metrics": {"chrF2": {"score": 90.0, "interval": [87.5, 91.0]}}, "exact": 0.5, "n": 60}
    many, few = score | {"sentences": 60}, score | {"sentences": 4}
    systems = [
        {"header": head, "scores": {"en2ja": many, "ja2en": few}},
        {
            "header": head | {"noise": "babble", "ratio": 5.0},
            "scores": {"en2ja": many | {"exact": 0.1}, "ja2en": few},
        },
    ]
    assert NOISES.keys() == {*KINDS, BABBLE}
    table = noise_table({"systems": systems, "date": "2001-02-03"}).splitlines()
    assert table[2] == "| none |  | 50.0 % | 90.0 [87.5, 91.0] | 50.0 % | 90.0 [87.5, 91.0] |"
    assert table[3].startswith("| five others talking | 5 dB | 10.0 % |")
    assert "- A: e, attention a, m, commit c." in table
    assert (
        "- EN->JA 60 clips, sentences 60; "
        "JA->EN 60 clips, sentences 4: an example, not a measurement." in table
    )
