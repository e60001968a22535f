"""What a program leaves out of its imports: it is out, it is missed by nobody, it can be had."""

import json
from importlib.metadata import version

import pytest
import scripts
import torch
from clips import ROOT

from speech_translation.engine import light_imports

HEAVY = {
    *("torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy"),
    *("scipy.optimize", "sklearn", "pandas", "nagisa", "numba"),
}
NUMBERLESS = f"""
    import json, sys
    from speech_translation.process import own_process
    own_process()
    from speech_translation import load_engine, translate

    engine = load_engine("phrasebook", "cpu")
    print(translate({str(ROOT / "examples" / "en_1.flac")!r}, engine).text)
"""
PLAIN = """
    import json, sys
    import accelerate
    from qwen_asr import Qwen3ASRModel
    from transformers import AutoProcessor
"""
LISTED = f"""
    print(json.dumps([len(sys.modules), sorted({HEAVY!r} & set(sys.modules))]))
"""


def run(script: str) -> list[str]:
    return scripts.run(script).splitlines()


@pytest.mark.slow
def test_a_program_translates_without_heavy_packages_and_can_have_them_later() -> None:
    text, listed, frozen, later = run(
        NUMBERLESS
        + LISTED
        + """
    import gc, inspect
    print(gc.isenabled() and gc.get_freeze_count() > 100_000)
    import nagisa, scipy.optimize, sklearn, sympy, torch
    from torch.distributed.tensor import DTensor
    from torch.nn.attention.flex_attention import create_block_mask
    from accelerate.utils.imports import is_torch_distributed_available
    from transformers.utils import import_utils

    assert inspect.getmodule(DTensor).__name__ == "torch.distributed.tensor"
    print(
        len(nagisa.tagging("東京都").words) > 0,
        float(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))) == 2,
        torch.distributed.is_available() and is_torch_distributed_available(),
        import_utils.is_torch_flex_attn_available(),
        import_utils.is_scipy_available() and import_utils.is_sklearn_available(),
    )
        """
    )
    assert text == (ROOT / "examples" / "en_1.txt").read_text("utf-8").strip()
    modules, heavy = json.loads(listed)
    assert heavy == []
    assert modules < 2300  # plainly imported, they are 3,400
    assert frozen == "True"
    assert later == "True True True True True"


@pytest.mark.slow
def test_everything_that_is_left_out_would_be_imported() -> None:
    """Where one is no longer imported, its part of light_imports.py can go."""
    modules, heavy = json.loads(run(PLAIN + LISTED)[0])
    assert set(heavy) == HEAVY - {"numba"}  # which is ours
    assert modules > 3000


def test_the_versions_are_those_that_were_read() -> None:
    assert version("transformers") == "4.57.6"
    assert version("qwen-asr") == "0.0.6"


def test_masks_are_those_that_torch_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
    from transformers import masking_utils

    padding = torch.ones(3, 9, dtype=torch.bool)
    padding[0, :4] = padding[2, :1] = False

    def mask(indexing: type) -> torch.Tensor:
        monkeypatch.setattr(masking_utils, "TransformGetItemToIndex", indexing)
        made: torch.Tensor = masking_utils.sdpa_mask_recent_torch(
            3, torch.arange(5, 9), 9, attention_mask=padding, allow_is_causal_skip=False
        )
        return made

    ours = mask(light_imports._indexing().TransformGetItemToIndex)
    assert ours.tolist() == mask(TransformGetItemToIndex).tolist()
    assert not ours.all()
    assert ours.any()
