"""From a folder to an engine: what its files say, what is asked for, and what goes wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import make_tiny_checkpoint

from speech_translation.engine import Request
from speech_translation.engine.load import load_local
from speech_translation.engine.local import LocalEngine
from speech_translation.engine.prompt import END_OF_TEXT, TURN_END
from speech_translation.errors import EngineError
from speech_translation.types import SAMPLE_RATE, Direction, Flag, Hypothesis

pytestmark = pytest.mark.usefixtures("one_thread")

TONE = (0.3 * np.sin(np.arange(SAMPLE_RATE) / 7)).astype(np.float32)
Copy = Callable[[str], Path]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Copy:
    """Makes a copy of the tiny checkpoint that a test may damage."""
    return lambda name: Path(shutil.copytree(tiny, tmp_path / name))


def says(engine: LocalEngine) -> Hypothesis:
    return engine.generate(Request([TONE], Direction.EN_JA))[0]


class Says(torch.nn.Module):
    """An output layer that is sure of one token after the other."""

    def __init__(self, vocabulary: int, tokens: list[int]) -> None:
        super().__init__()
        self.tokens = iter(tokens)
        self.vocabulary = vocabulary

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*hidden.shape[:2], self.vocabulary)
        logits[..., next(self.tokens)] = 50
        return logits


@pytest.mark.parametrize("end", [TURN_END, END_OF_TEXT])
@pytest.mark.parametrize("stated", [None, TURN_END, END_OF_TEXT])
def test_a_reply_ends_at_both_ends_whatever_is_stated(
    copy: Copy, end: str, stated: str | None
) -> None:
    folder = copy("ends")
    settings = folder / "generation_config.json"
    settings.unlink()
    ids = load_local(str(folder), "cpu", "float32", True).asr.processor.tokenizer
    if stated:
        settings.write_text(json.dumps({"eos_token_id": ids.convert_tokens_to_ids(stated)}))
    engine = load_local(str(folder), "cpu", "float32", True)
    words = ids.encode("ab", add_special_tokens=False)
    head = engine.asr.model.thinker.lm_head
    script = [*words, ids.convert_tokens_to_ids(end), *words * 30]
    head.head = Says(head.head.weight.shape[0], script)
    hypothesis = says(engine)
    assert hypothesis.tokens == len(words) + 1
    assert Flag.TRUNCATED not in hypothesis.flags
    assert hypothesis.text == "ab"


class Broken(torch.nn.Module):
    """An output layer of numbers that are none."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.full((*hidden.shape[:2], 400), torch.nan, dtype=hidden.dtype)


@pytest.mark.parametrize(
    ("precision", "advice"), [("bfloat16", "use --precision float32"), ("float32", "copy the")]
)
@pytest.mark.parametrize("only_direction", [False, True])
def test_scores_that_are_no_numbers_end_the_translation(
    tiny: Path, precision: str, advice: str, only_direction: bool
) -> None:
    engine = load_local(str(tiny), "cpu", precision, True)
    engine.asr.model.thinker.lm_head.head = Broken()
    with pytest.raises(EngineError, match=f"no numbers on cpu in {precision}: .*{advice}"):
        engine.generate(Request([TONE], only_direction=only_direction))
