"""From a folder to an engine: what its files say, what is asked for, and what goes wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import make_tiny_checkpoint

from speech_translation.engine import Request
from speech_translation.engine.load import load_local
from speech_translation.errors import EngineError
from speech_translation.types import SAMPLE_RATE

pytestmark = pytest.mark.usefixtures("one_thread")

TONE = (0.3 * np.sin(np.arange(SAMPLE_RATE) / 7)).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


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
