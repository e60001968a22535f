import json
from pathlib import Path

import numpy as np
import pytest

from evaluation import system_speed
from evaluation.system_speed import REPEATS, WARM_UP, fixed_clips, measure, qwen_tokens
from speech_translation.engine import Request
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Seconds

ROOT = Path(__file__).resolve().parents[2]
TEST_SET = ROOT / "evaluation" / "data" / "phrasebook.jsonl"


class Slow:
    """Takes a second for each clip on its own clock, and ten where it is not warm yet."""

    description, batch_size = "slow", 4

    def __init__(self) -> None:
        self.now: Seconds = 0.0
        self.sizes = list[int]()

    def generate(self, request: Request) -> list[Hypothesis]:
        self.now += 10 if len(self.sizes) < WARM_UP else len(request.batch)
        self.sizes.append(len(request.batch))
        return [Hypothesis("three short words", request.direction, 99) for _ in request.batch]


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 10), (4, [4, 4, 2])])
def test_warm_up_is_dropped_and_tokens_are_of_one_tokenizer(batch: int, sizes: list[int]) -> None:
    engine = Slow()
    clips = [np.zeros(2 * SAMPLE_RATE, np.float32)] * 10
    row = measure(
        clips, Direction.JA_EN, engine, batch, lambda text: len(text.split()), lambda: engine.now
    )
    assert engine.sizes == sizes[:WARM_UP] + sizes * REPEATS
    assert row.seconds == [10.0] * REPEATS
    assert (row.audio_seconds, row.tokens, row.batch, row.clips) == (20.0, 30, batch, 10)


def test_tokens_are_those_of_qwen() -> None:
    assert qwen_tokens()("Where is the station?") == 5
    assert qwen_tokens()("") == 0


def test_the_clips_are_always_the_same_and_of_one_direction() -> None:
    clips = fixed_clips(str(TEST_SET), Direction.JA_EN, 3)
    again = fixed_clips(str(TEST_SET), Direction.JA_EN, 3)
    assert all((a == b).all() for a, b in zip(clips, again, strict=True))
    assert not (clips[0][:8000] == fixed_clips(str(TEST_SET), Direction.EN_JA, 1)[0][:8000]).all()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_system_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "speed.json"
    command = ["--system", "phrasebook", "--data", str(TEST_SET), "--clips", "2"]
    assert system_speed.main([*command, "--batch-size", "2", "--output", str(output)]) == 0
    result = json.loads(output.read_text("utf-8"))
    rows = [(row["direction"], row["batch"], len(row["seconds"])) for row in result["rows"]]
    assert rows == [(x, batch, 3) for x in ("en2ja", "ja2en") for batch in (1, 2)]
    assert {"commit", "machine", "gpu", "torch", "attention"} < result["header"].keys()
    assert "| EN->JA | 2 | 2 |" in capsys.readouterr().out
    output.unlink()
    assert system_speed.main([*command[:-1], "9999", "--output", str(output)]) == 1
    assert "ask for fewer" in capsys.readouterr().err
    assert not output.exists()
