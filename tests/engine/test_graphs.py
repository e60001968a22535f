"""Decode steps in memory that never moves: the same tokens, and nothing a CUDA graph forbids.

Everything but the capture runs here. The engine is the one of a card, with the CPU in its place.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import DIRECTIONS
from fake_card import Watch, cpu_for_card

from evaluation.samples import read_samples
from speech_translation.audio import load_audio
from speech_translation.engine import Request
from speech_translation.engine.generation import key_value_cache
from speech_translation.engine.graphs import StaticDecoding, StaticStep, capture
from speech_translation.engine.load import load_local
from speech_translation.engine.local import LocalEngine
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis

pytestmark = pytest.mark.usefixtures("one_thread")

MANIFEST = Path(__file__).resolve().parents[2] / "evaluation" / "data" / "phrasebook.jsonl"


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    with pytest.MonkeyPatch.context() as patch:
        cpu_for_card(patch)
        return load_local("phrasebook", "cuda", "float32", windowed=True)


@pytest.fixture
def static(engine: LocalEngine) -> Iterator[StaticDecoding]:
    decoding = StaticDecoding(engine.asr.model.thinker)
    yield decoding
    decoding.stop()


@cache
def clips(language: str) -> list[np.ndarray]:
    """The first twenty clips of the benchmark in a language."""
    direction = DIRECTIONS[language]
    samples = [x for x in read_samples(MANIFEST) if x.direction is direction][:20]
    return [load_audio(x.audio)[slice(*_ends(x.start, x.end))] for x in samples]


def _ends(start: float | None, end: float | None) -> tuple[int, int | None]:
    return round((start or 0) * SAMPLE_RATE), None if end is None else round(end * SAMPLE_RATE)


def replies(engine: LocalEngine, request: Request) -> list[list[int]]:
    """The tokens of prompts and replies, as `generate` returns them, padding included."""
    out = list[list[int]]()
    model = engine.asr.model
    generate = model.generate

    def record(**inputs: object) -> object:
        answer = generate(**inputs)
        out.extend(answer.sequences.tolist())
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "generate", record)
        engine.generate(request)
    return out


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(("rows", "sizes"), [(1, {1}), (3, {4, 2}), (8, {8, 4})])
def test_the_tokens_are_those_of_the_ordinary_steps(
    engine: LocalEngine, language: str, rows: int, sizes: set[int]
) -> None:
    requests = [
        Request(clips(language)[first : first + rows], DIRECTIONS[language])
        for first in range(0, 20, rows)
    ]
    ordinary = [replies(engine, request) for request in requests]
    static = StaticDecoding(engine.asr.model.thinker)
    replayed = [replies(engine, request) for request in requests]
    assert {batch for batch, _ in static.sizes} == sizes
    static.stop()
    assert replayed == ordinary
    assert sum(map(len, ordinary)) == 20


def test_all_that_generate_is_given_has_its_effect(engine: LocalEngine) -> None:
    """A growing text, a repetition penalty, an automatic direction, and scores."""

    def heard() -> tuple[list[Hypothesis], list[tuple[int, str]]]:
        texts = list[tuple[int, str]]()
        request = Request(
            clips("en")[:3],
            Direction.AUTO,
            repetition_penalty=1.2,
            on_text=lambda row, text: texts.append((row, text)),
        )
        return engine.generate(request), texts

    theirs, grown = heard()
    static = StaticDecoding(engine.asr.model.thinker)
    ours, replayed = heard()
    static.stop()
    assert replayed == grown != []
    for a, b in zip(ours, theirs, strict=True):
        assert (a.text, a.tokens, a.flags, a.direction) == (b.text, b.tokens, b.flags, b.direction)
        assert a.mean_logprob == pytest.approx(b.mean_logprob, abs=1e-4)


def test_what_is_larger_than_every_size_is_decoded_as_ever(engine: LocalEngine) -> None:
    request = Request(clips("ja")[:2], Direction.JA_EN)
    ordinary = replies(engine, request)
    few = StaticDecoding(engine.asr.model.thinker, batches=(1,))
    assert replies(engine, request) == ordinary
    assert not few.sizes
    few.stop()


def test_a_batch_without_numbers_does_not_spoil_the_next(
    engine: LocalEngine, static: StaticDecoding
) -> None:
    request = Request(clips("en")[:3], Direction.EN_JA)
    said = replies(engine, request)
    (step,) = static._steps.values()
    with torch.inference_mode():
        for layer in step._cache.layers:
            layer.keys.fill_(float("nan"))
            layer.values.fill_(float("nan"))
    assert replies(engine, request) == said


def test_steps_keep_their_memory_and_their_size(
    engine: LocalEngine, static: StaticDecoding
) -> None:
    """What a graph was captured with has to be where it was, whatever comes between."""

    def places() -> dict[tuple[int, int], list[int]]:
        return {
            size: [x.data_ptr() for x in (step._ids, step._seen, step._cache.layers[0].keys)]
            for size, step in static._steps.items()
        }

    alone, three = (Request(clips("en")[:rows], Direction.EN_JA) for rows in (1, 3))
    said = replies(engine, three)
    replies(engine, alone)
    before = places()
    assert len(before) == 2
    assert replies(engine, three) == said
    assert places() == before


def test_a_step_waits_for_nothing_and_stays_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture fails where the CPU asks for a number, or where a tensor is on the CPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no "meta"
    thinker = load_local("phrasebook", "cpu", "bfloat16", windowed=True).asr.model.thinker
    config = thinker.config.text_config
    thinker.to("meta")
    with torch.inference_mode():
        prompt = key_value_cache(config.num_hidden_layers, 200)
        shape = (3, config.num_key_value_heads, 150, config.head_dim)
        for layer in prompt.layers:
            layer.update(*(torch.empty(shape, dtype=torch.bfloat16, device="meta") for _ in "kv"))
        step = StaticStep(thinker, prompt, 4, 256)
        step.begin(prompt)
        with Watch() as watch:
            logits = step.compute()
    assert logits.is_meta
    assert logits.shape == (4, 1, config.vocab_size)
    assert not watch.waits


def test_without_a_gpu_the_replay_is_the_step() -> None:
    def step() -> torch.Tensor:
        return torch.ones(1)

    assert capture(step, torch.device("cpu")) is step


def test_a_step_is_run_before_it_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls; CUDA itself has never been asked."""
    done = list[str]()

    class Stream:
        def wait_stream(self, other: object) -> None:
            done.append("wait")

    class Graph:
        def replay(self) -> None:
            done.append("replay")

    def graph(made: object, **_: object) -> AbstractContextManager[None]:
        done.append("capture")
        return nullcontext()

    def step() -> torch.Tensor:
        done.append("step")
        return out

    for name, stand_in in {
        "device": nullcontext,
        "stream": nullcontext,
        "current_stream": Stream,
        "Stream": Stream,
        "CUDAGraph": Graph,
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    out = torch.ones(1)
    replay = capture(step, torch.device("cuda", 0))
    assert done == ["wait", "step", "step", "wait", "capture", "step"]
    assert replay() is out
    assert replay() is out
    assert done[6:] == ["replay", "replay"]


def test_graphs_are_for_a_card_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced(device: str) -> bool:
        return "forward" in vars(
            load_local("phrasebook", device, "bfloat16", True).asr.model.thinker
        )

    monkeypatch.setenv("SPEECH_CUDA_GRAPHS", "1")
    assert not replaced("cpu")
    cpu_for_card(monkeypatch)
    assert replaced("cuda")
    monkeypatch.delenv("SPEECH_CUDA_GRAPHS")
    assert not replaced("cuda")
