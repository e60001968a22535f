"""From a folder to an engine: what its files say, what is asked for, and what goes wrong."""

import gc
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripts
import torch
from clips import ROOT
from fake_card import cpu_for_card
from qwen_asr import Qwen3ASRModel
from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration
from safetensors.torch import load_file, save_file
from tiny_checkpoint import make_tiny_checkpoint
from transformers import PreTrainedModel

from speech_translation.engine import Request, load_engine
from speech_translation.engine import load as loading
from speech_translation.engine.attention import set_encoder_window
from speech_translation.engine.checkpoint import HEAD
from speech_translation.engine.load import load_local
from speech_translation.engine.local import LocalEngine
from speech_translation.engine.prompt import END_OF_TEXT, TURN_END
from speech_translation.errors import EngineError, ModelError
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


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A CUDA card, whose place the CPU takes; the options with which models are put on it."""
    return cpu_for_card(monkeypatch)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a checkpoint's config.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_memory_is_asked_for_before_the_int8_weights_take_any(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list[str]()
    kept = loading.Kept
    monkeypatch.setattr(loading, "_SMALL", 0)
    monkeypatch.setattr(loading, "require_memory", lambda *_: steps.append("memory"))
    monkeypatch.setattr(loading, "Kept", lambda folder: steps.append("weights") or kept(folder))
    load_local(str(tiny), "cpu", "int8", windowed=True)
    assert steps == ["memory", "weights"]


def tie(folder: Path, tied: bool) -> None:
    edit(
        folder,
        lambda x: x["thinker_config"]["text_config"].update(tie_word_embeddings=tied),
    )


def stock(folder: Path) -> LocalEngine:
    """qwen-asr's own way of loading, in float32."""
    asr = Qwen3ASRModel.from_pretrained(str(folder), dtype=torch.float32)
    set_encoder_window(asr.model, True)
    return LocalEngine(asr, "stock", "float32", 1)


def says(engine: LocalEngine) -> Hypothesis:
    return engine.generate(Request([TONE], Direction.EN_JA))[0]


def same(ours: Hypothesis, theirs: Hypothesis, tolerance: float = 1e-4) -> bool:
    close = math.isclose(ours.mean_logprob, theirs.mean_logprob, abs_tol=tolerance)
    return (ours.text, ours.tokens) == (theirs.text, theirs.tokens) and close


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


# What is asked for


def test_flash_attention_is_not_asked_for_even_where_it_is_installed(
    card: list[dict[str, Any]], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    engine = load_local(str(tiny), "auto", "bfloat16", windowed=True)
    assert [x["attn_implementation"] for x in card] == ["sdpa"]
    assert [x["device_map"] for x in card] == ["cuda:0"]
    assert engine.batch_size == 8
    assert says(engine).tokens > 0


BROKEN = """
import sys, torch
torch.version.cuda, torch.cuda.is_available = "13.0", lambda: True
from transformers.utils import is_flash_attn_2_available
print(is_flash_attn_2_available())
from speech_translation.engine import load_engine
print(load_engine(sys.argv[1], "cpu", precision="bfloat16").description)
"""


@pytest.mark.slow
def test_a_broken_package_of_flash_attention_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    """Its wheels are built for one torch each; transformers believes that it is there."""
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn/__init__.py").write_text("raise ImportError('undefined symbol')")
    (tmp_path / "flash_attn-2.8.3.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: flash_attn\nVersion: 2.8.3\n"
    (tmp_path / "flash_attn-2.8.3.dist-info/METADATA").write_text(about)
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, str(tiny)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["True", f"{tiny} on cpu in bfloat16"], done.stderr


def test_clips_are_encoded_together_on_a_card(card: list[dict[str, Any]], tiny: Path) -> None:
    engine = load_local(str(tiny), "auto", "float32", windowed=True)
    request = Request([TONE, np.tile(TONE, 9)], Direction.EN_JA)
    for ours, theirs in zip(engine.generate(request), stock(tiny).generate(request), strict=True):
        assert same(ours, theirs, 1e-3)


def test_what_python_reads_of_a_batch_is_not_on_the_card(tiny: Path) -> None:
    engine = load_local(str(tiny), "cpu", "bfloat16", windowed=True)
    engine.asr.model.to("meta")
    inputs = engine._inputs(Request([TONE, TONE], Direction.EN_JA))
    places = {name: tensor.device.type for name, tensor in inputs.items()}
    assert places.pop("feature_attention_mask") == "cpu"
    assert set(places.values()) == {"meta"}


@pytest.mark.parametrize(("nested", "asked"), [("bfloat16", "float16"), ("float16", "bfloat16")])
def test_the_precision_of_a_part_does_not_win(copy: Copy, nested: str, asked: str) -> None:
    folder = copy("nested")
    edit(folder, lambda x: x["thinker_config"]["text_config"].update(dtype=nested))
    engine = load_local(str(folder), "cpu", asked, windowed=True)
    wanted = getattr(torch, asked)
    assert {x.dtype for x in engine.asr.model.parameters()} == {wanted}
    assert engine.asr.model.dtype == wanted
    assert {x.dtype for x in engine.asr.model.buffers()} == {torch.float32}
    assert engine.description.endswith(f"in {asked}")


# What the files say


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_file_of_any_type_gives_the_tokens_of_qwen_asr(copy: Copy, dtype: torch.dtype) -> None:
    folder = copy("stored")
    weights = load_file(folder / "model.safetensors")
    save_file({k: x.to(dtype) for k, x in weights.items()}, folder / "model.safetensors")
    assert same(says(load_local(str(folder), "cpu", "float32", True)), says(stock(folder)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("on_card", [False, True])
def test_a_stored_output_layer_is_used_as_qwen_asr_uses_it(
    copy: Copy, request: pytest.FixtureRequest, tied: bool, on_card: bool
) -> None:
    folder = copy("head")
    tie(folder, tied)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(3)
    embedding = weights["thinker.model.embed_tokens.weight"]
    save_file(weights | {HEAD: torch.randn_like(embedding) / 9}, folder / "model.safetensors")
    theirs = says(stock(folder))
    if on_card:
        request.getfixturevalue("card")
    assert same(says(load_local(str(folder), "cpu", "float32", True)), theirs)
    tie(folder, not tied)
    assert not same(says(stock(folder)), theirs)  # the two layers do differ


def test_without_a_stored_output_layer_it_is_the_embedding(
    copy: Copy, tiny: Path, request: pytest.FixtureRequest
) -> None:
    """transformers would go on with random numbers."""
    folder = copy("no head")
    tie(folder, False)
    theirs = says(stock(tiny))
    assert same(says(load_local(str(folder), "cpu", "float32", True)), theirs)
    request.getfixturevalue("card")
    assert same(says(load_local(str(folder), "cpu", "float32", True)), theirs)


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


def test_a_missing_weight_is_named_on_a_card_too(copy: Copy, card: list[dict[str, Any]]) -> None:
    folder = copy("half")
    weights = load_file(folder / "model.safetensors")
    del weights["thinker.model.norm.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"thinker\.model\.norm\.weight is missing"):
        load_local(str(folder), "auto", "bfloat16", True)


def test_the_layout_of_transformers_own_class_is_named(copy: Copy) -> None:
    folder = copy("Qwen3-ASR-1.7B-hf")

    def flatten(config: dict[str, Any]) -> None:
        thinker = config.pop("thinker_config")
        config |= {key: thinker[key] for key in ("audio_config", "text_config")}

    edit(folder, flatten)
    with pytest.raises(ModelError, match=r'use the one in the layout of qwen-asr, .* no "-hf"'):
        load_local(str(folder), "cpu", "float32", True)


def test_another_kind_of_model_is_named(copy: Copy) -> None:
    folder = copy("whisper")
    (folder / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ModelError, match="whisper is of the kind whisper"):
        load_local(str(folder), "cpu", "float32", True)


# What goes wrong

TOO_OLD = "The NVIDIA driver on your system is too old (found version 12020)."
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "does not fit into the memory of cuda:0"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "does not fit into the memory of cuda:0"),
        (RuntimeError(TOO_OLD), "too old .* update its driver"),
        (RuntimeError(NO_KERNEL), "no kernel image .* --device cpu"),
        (PermissionError(13, "Permission denied", "model.safetensors"), "may not be read"),
    ],
    ids=str,
)
def test_what_is_not_about_files_does_not_blame_the_checkpoint(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", fail)
    monkeypatch.setattr(loading, "choose_device", lambda _: "cuda:0")
    with pytest.raises(ModelError, match=words) as caught:
        load_local(str(tiny), "auto", "bfloat16", True)
    assert str(tiny) in str(caught.value) or "cuda:0" in str(caught.value)
    assert "again" not in str(caught.value)


@pytest.mark.parametrize(
    "package", ["qwen_asr.core.transformers_backend", "speech_translation.engine.cpu.weights"]
)
def test_a_missing_package_is_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=r"requirements\.txt") as caught:
        load_local(str(tiny), "cpu", "float32", True)
    assert f"The package {package} is missing" in str(caught.value)
    assert "train" not in str(caught.value)


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


def models() -> int:
    """How many models there are in this process, whole or in part."""
    return sum(type(x) is Qwen3ASRForConditionalGeneration for x in gc.get_objects())


def test_a_load_that_failed_leaves_no_half_model_in_memory(
    copy: Copy, card: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy("no tokenizer")  # which is read after the weights
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).unlink()
    before, left = models(), list[int]()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: left.append(models()))
    with pytest.raises(ModelError) as kept:
        load_local(str(folder), "auto", "bfloat16", True)
    assert len(card) == 1  # the weights were loaded
    assert kept.value.__cause__ is not None
    assert left == [before]  # emptied once there was nothing left in it
    assert models() == before


def test_a_failed_load_is_tried_again_when_it_is_asked_for_again(copy: Copy) -> None:
    folder = copy("later")
    weights = folder / "model.safetensors"
    weights.rename(folder / "elsewhere")
    with pytest.raises(ModelError, match="later"):
        load_engine(str(folder), "cpu")
    (folder / "elsewhere").rename(weights)
    assert load_engine(str(folder), "cpu").description.startswith(str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("owned", [False, True])
def test_a_library_leaves_its_process_alone_and_a_program_does_not(owned: bool) -> None:
    said = scripts.run(
        f"""
        import builtins, gc, logging, os, sys
        from speech_translation.process import own_process

        def state():
            root, smallest = logging.getLogger(), float("5e-324")
            names = set(vars(builtins))
            return root.level, root.handlers[:], sys.path[:], names, smallest * 1.0 > 0

        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "TRANSFORMERS_VERBOSITY"):
            os.environ.pop(name, None)
        before, found = dict(os.environ), state()
        if {owned}:
            own_process()
        from speech_translation import load_engine, translate

        engine = load_engine("phrasebook", "cpu")
        assert state() == found
        translate({str(ROOT / "examples" / "en_1.flac")!r}, engine)
        assert state() == found
        new = {{name for name in os.environ if os.environ[name] != before.get(name)}}
        print(bool(new & {{"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "TRANSFORMERS_VERBOSITY"}}))
        print(not {{"torch._dynamo", "sympy", "sklearn"}} & set(sys.modules))
        print(gc.get_freeze_count() > 0)

        from qwen_asr.inference import qwen3_forced_aligner

        assert qwen3_forced_aligner.nagisa.tagging("東京都").words == ["東京", "都"]  # as ever
        """
    )
    assert said == f"{owned}\n" * 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", "{{ messages[0].content }}"),  # without a place for the sound
        ("chat_template.jinja", "{% if %}"),
        ("tokenizer.json", "<|audio_pad|>"),  # under another number
    ],
)
def test_a_template_or_tokenizer_of_another_model_is_refused(
    copy: Copy, name: str, content: str
) -> None:
    folder = copy("other")
    if name == "tokenizer.json":
        tokenizer = json.loads((folder / name).read_text("utf-8"))
        (token,) = (x for x in tokenizer["added_tokens"] if x["content"] == content)
        token["content"] = "<|another|>"
        content = json.dumps(tokenizer)
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match="other cannot be loaded"):
        load_local(str(folder), "cpu", "float32", True)


def test_a_file_that_may_not_be_read_is_named(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """safetensors says that there is none."""
    folder = copy("closed")
    (folder / "model.safetensors").write_bytes(b"")
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "tensors" not in str(path) and allowed(path, mode)
    )
    with pytest.raises(ModelError, match=r"closed may not be read \(model\.safetensors\): change"):
        load_local(str(folder), "cpu", "float32", True)
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    with pytest.raises(ModelError, match="closed may not be read: change its rights"):
        load_local(str(folder), "cpu", "float32", True)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_clone_without_git_lfs_is_called_so(copy: Copy, name: str) -> None:
    folder = copy("clone")
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")
    with pytest.raises(ModelError, match=f"without Git LFS, which has {name}: install it"):
        load_local(str(folder), "cpu", "float32", True)


def test_a_file_is_no_checkpoint(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it asked for on the Hub, whose names look like `folder/file`."""
    monkeypatch.chdir(copy("whole").parent)
    with pytest.raises(ModelError, match=r"^whole/config\.json is a file: name the folder of"):
        load_local("whole/config.json", "cpu", "float32", True)


def test_a_checkpoint_without_its_template_is_refused_and_not_each_request(copy: Copy) -> None:
    folder = copy("bare")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded \(.*chat_template\.jinja"):
        load_local(str(folder), "cpu", "float32", True)
