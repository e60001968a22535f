"""The CPU's engine: weights kept narrow, products as exact as in float32, int8 close to it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clips import DIRECTIONS, ROOT, clip, reference
from qwen_asr import Qwen3ASRModel
from safetensors.torch import load_file, save_file
from torch.nn.functional import linear

from speech_translation.engine import Request, load_engine
from speech_translation.engine.attention import set_encoder_window
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.engine.cpu import prefetching
from speech_translation.engine.cpu.layer import CompiledLayer
from speech_translation.engine.cpu.narrow import FEW_ROWS, NarrowEmbedding, NarrowLinear, quantised
from speech_translation.engine.generation import LastPosition, key_value_cache
from speech_translation.engine.local import LocalEngine
from speech_translation.errors import ModelError
from speech_translation.segments import POLICIES, cut, find_segments
from speech_translation.types import Direction


@pytest.fixture(scope="module")
def bfloat16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phrasebook in bfloat16, as the published checkpoint is, in two files as it is too."""
    folder = tmp_path_factory.mktemp("models") / "bfloat16"
    shutil.copytree(PHRASEBOOK_FOLDER, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    places = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        save_file({name: weights[name].bfloat16() for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    index = json.dumps({"metadata": {}, "weight_map": places})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    return folder


def local(model: Path | str, precision: str = "auto") -> LocalEngine:
    engine = load_engine(str(model), "cpu", precision=precision)
    assert isinstance(engine, LocalEngine)
    return engine


def mapped(folder: Path) -> bool:
    return str(folder) in Path("/proc/self/maps").read_text("utf-8")


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, FEW_ROWS, FEW_ROWS + 1, 200])
@pytest.mark.parametrize("outputs", [1, 6, 1025])
def test_bfloat16_weights_multiply_as_float32(rows: int, outputs: int) -> None:
    torch.manual_seed(rows + outputs)
    x, weight = torch.randn(rows, 192), torch.randn(outputs, 192).bfloat16()
    bias = torch.randn(outputs)
    product = NarrowLinear(weight, None, bias)(x[None])
    wanted = linear(x.double(), weight.double(), bias.double())
    assert product.shape == (1, rows, outputs)
    assert product.dtype == torch.float32
    assert (product[0] - wanted).abs().max() < 1e-4


def test_more_threads_than_processors_are_as_many_as_there_are() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 192), torch.randn(64, 192).bfloat16()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4096)  # as OMP_NUM_THREADS would
        narrow, scale = quantised(weight)
        product = NarrowLinear(weight, None, None)(x)
    finally:
        torch.set_num_threads(before)
    assert (product - linear(x, weight.float())).abs().max() < 1e-4
    assert torch.equal(narrow, quantised(weight)[0])
    assert len(scale) == 64


@pytest.mark.parametrize("rows", [1, 4, 5, FEW_ROWS, 200])
@pytest.mark.parametrize("inputs", [512, 100])  # in whole vectors, and not
def test_int8_rounds_the_weights_and_hardly_anything_else(rows: int, inputs: int) -> None:
    torch.manual_seed(rows)
    x = torch.randn(rows, inputs) * 10 ** torch.linspace(-2, 2, rows)[:, None]
    x[:, 7] *= 300  # one large activation, as language models have
    weight = torch.randn(300, inputs)
    narrow, scale = quantised(weight.bfloat16())
    layer = NarrowLinear(narrow, scale, None)
    wanted = x.double() @ (narrow.double() * scale.double()[:, None]).T
    size = x.abs().amax(1, keepdim=True)
    assert ((layer(x) - wanted).abs() / size).max() < 3e-3  # 512 x 2^-16 at the very most
    assert ((layer._multiply_in_halves(x) - wanted).abs() / size).max() < 3e-3


@pytest.mark.slow
def test_a_request_finds_everything_compiled() -> None:
    code = (
        "from speech_translation import Request, load_audio, load_engine\n"
        "from speech_translation.engine.cpu import decode_step, products\n"
        "from speech_translation.types import Direction\n"
        "def compiled():\n"
        "    named = {**vars(decode_step), **vars(products)}.values()\n"
        "    functions = [x for x in named if hasattr(x, 'signatures')]\n"
        "    return sum(len(function.signatures) for function in functions)\n"
        "engine = load_engine('phrasebook', 'cpu', precision='int8')\n"
        "before = compiled()\n"
        "clip = load_audio('examples/en_1.flac')\n"
        "engine.generate(Request([clip, clip], Direction.EN_JA))\n"
        "print(before > 0, compiled() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "True 0", run.stdout + run.stderr


def test_the_fastest_prefetching_is_found_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(prefetching.time, "perf_counter", lambda: now)
    found, used = prefetching.Prefetching(), list[int]()
    for step in range(100):
        with found.tried() as distance:
            used.append(distance)
            now += 0.2 if distance == 4096 else 0.3
            now += 9.0 if step == 2 else 0.0  # something else ran, in a turn of the fastest
    assert set(used[:56]) == set(prefetching.DISTANCES)
    assert set(used[56:]) == {4096} == {found.distance}


@pytest.mark.parametrize("distance", prefetching.DISTANCES)
def test_prefetching_changes_no_bit(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 1024), torch.randn(300, 1024).bfloat16()
    narrow, scale = quantised(weight)
    layers = NarrowLinear(weight, None, None), NarrowLinear(narrow, scale, None)
    before = [layer(x) for layer in layers]
    for kind in (1, 2):
        monkeypatch.setattr(prefetching.PREFETCHING[kind], "distance", distance)
    assert all(torch.equal(layer(x), old) for layer, old in zip(layers, before, strict=True))


def test_quantised_weights_are_within_half_a_step() -> None:
    weight = torch.randn(700, 64)
    weight[3] = 0
    before = weight.clone()
    narrow, scale = quantised(weight)
    assert torch.equal(weight, before)
    assert narrow[3].eq(0).all()
    assert narrow.abs().amax(1)[[0, 1, 2, 699]].eq(127).all()
    assert ((narrow * scale[:, None] - weight).abs() <= scale[:, None] / 2 + 1e-6).all()


def test_an_embedding_is_its_rows() -> None:
    table = torch.randn(50, 8).bfloat16()
    ids = torch.tensor([[3, 3, 49]])
    assert torch.equal(NarrowEmbedding(table, None)(ids), table.float()[ids])
    narrow, scale = quantised(table)
    assert (NarrowEmbedding(narrow, scale)(ids) - table.float()[ids]).abs().max() <= scale.max()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_exact_says_what_qwen_asr_says_in_float32(bfloat16: Path, language: str) -> None:
    exact = local(bfloat16)
    assert exact.description.endswith("in float32")
    assert exact.asr.model.thinker.model.embed_tokens.weight.dtype == torch.bfloat16
    assert mapped(bfloat16)  # not copied
    assert all(isinstance(x, CompiledLayer) for x in exact.asr.model.thinker.model.layers)
    stock = Qwen3ASRModel.from_pretrained(str(bfloat16), dtype=torch.float32, device_map="cpu")
    set_encoder_window(stock.model, True)
    same = LocalEngine(stock, "stock", "float32", 1)
    samples = clip(f"{language}_long")
    whole = samples[: 20 * 16_000]  # three windows of the encoder
    clips = [*(cut(samples, span) for span in find_segments(samples, POLICIES["pause"])[:8]), whole]
    for asked in (DIRECTIONS[language], Direction.AUTO):
        together = [
            *exact.generate(Request(clips[:-1], asked)),
            *exact.generate(Request(clips[-1:], asked)),
        ]
        for ours, sound in zip(together, clips, strict=True):
            theirs = same.generate(Request([sound], asked))[0]
            assert (ours.text, ours.tokens, ours.flags) == (
                theirs.text,
                theirs.tokens,
                theirs.flags,
            )
            assert ours.mean_logprob == pytest.approx(theirs.mean_logprob, abs=1e-3)


@pytest.mark.parametrize("name", ["en_1", "ja_1", "en_two_sentences", "ja_2"])
def test_int8_translates_the_bundled_clips_alike(bfloat16: Path, name: str) -> None:
    samples = clip(name)
    for model in ("phrasebook", bfloat16):
        engine = local(model, "int8")
        assert engine.description.endswith("in int8")
        clips = [cut(samples, span) for span in find_segments(samples, POLICIES["pause"])]
        texts = [engine.generate(Request([sound], DIRECTIONS[name[:2]]))[0].text for sound in clips]
        joined = "".join(texts) if name.startswith("en") else " ".join(texts)
        assert joined == reference(name)


def test_int8_keeps_nothing_of_the_file(bfloat16: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bfloat16, tmp_path / "copy")
    engine = local(copy, "int8")
    assert engine.asr.model.thinker.lm_head.head.weight.dtype == torch.int8
    assert not mapped(copy)


@pytest.mark.parametrize("damage", ["missing", "shape", "cut"])
def test_a_damaged_checkpoint_names_the_weight(tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(PHRASEBOOK_FOLDER, tmp_path / damage)
    name = "thinker.model.layers.1.mlp.up_proj.weight"
    file = folder / "model.safetensors"
    weights = load_file(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        weights[name] = weights[name][1:].contiguous()
        if damage == "missing":
            del weights[name]
        save_file(weights, file)
    with pytest.raises(ModelError) as refusal:
        load_engine(str(folder), "cpu")
    said = {"missing": f"{name} is missing", "shape": f"{name} has the shape", "cut": "checkpoint"}
    assert said[damage] in str(refusal.value)
    assert "copy or train it again" in str(refusal.value)


def test_only_the_last_position_reaches_the_vocabulary() -> None:
    head = torch.nn.Linear(8, 30, bias=False)
    hidden = torch.randn(3, 17, 8)
    logits = LastPosition(head)(hidden)
    assert logits.shape == (3, 1, 30)
    assert torch.allclose(logits[:, 0], head(hidden)[:, -1])


def test_the_cache_holds_what_was_written_to_it() -> None:
    cache = key_value_cache(layers=2, tokens=9)
    parts = [torch.randn(2, 4, n, 8) for n in (5, 1, 3)]
    for part in parts:
        for layer in range(2):
            keys, values = cache.update(part, 2 * part, layer)
    assert cache.get_seq_length() == 9
    assert torch.equal(keys, torch.cat(parts, dim=2))
    assert torch.equal(values, 2 * torch.cat(parts, dim=2))
