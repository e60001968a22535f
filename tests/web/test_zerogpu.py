"""ZeroGPU without a Space: what a batch of segments is, and what a visitor without quota is told.

on_zerogpu.py runs the whole Space with the package `spaces`.
"""

import importlib
import itertools
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from clips import EXAMPLES, clip, reference, two_languages

from speech_translation.engine import Engine, load_engine
from speech_translation.segments import POLICIES, Utterance
from speech_translation.session import Memory
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Flag,
    Hypothesis,
    Language,
    RemarkKind,
    Span,
)
from web import streaming, zerogpu
from web.answers import Answers, question
from web.loading import Loading
from web.quota import WORKER, explained
from web.service import Service
from web.settings import Settings
from web.streaming import Update
from web.zerogpu import Batch, gpu_seconds, on_gpu


@pytest.fixture
def borrowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is put on a GPU by `spaces`, which stands in for the package of that name."""
    functions = list[Any]()

    def gpu(duration: Callable[..., int]) -> Callable[[Any], Any]:
        return lambda function: functions.append((function, duration)) or function

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    yield functions
    monkeypatch.undo()
    importlib.reload(zerogpu)


@pytest.mark.parametrize("value", [None, "", "false", "0"])
def test_spaces_alone_changes_nothing(
    borrowed: list[Any], monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    else:
        monkeypatch.setenv("SPACES_ZERO_GPU", value)
    importlib.reload(zerogpu)
    assert not zerogpu.ACTIVE
    assert borrowed == []


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_zerogpu_lends_a_gpu_for_a_batch(
    borrowed: list[Any], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", value)
    importlib.reload(zerogpu)
    assert zerogpu.ACTIVE
    ((function, duration),) = borrowed
    assert function is zerogpu.on_gpu
    assert duration is zerogpu.gpu_seconds


def batch(*seconds: float, direction: Direction = Direction.EN_JA) -> Batch:
    """A batch of silent segments."""
    utterances = [
        Utterance((Span(0, int(s * SAMPLE_RATE)),), np.zeros(int(s * SAMPLE_RATE), np.float32))
        for s in seconds
    ]
    return Batch(utterances, [], direction, "", POLICIES["sentence"], Memory(direction, {}))


def test_a_call_asks_for_no_more_than_a_visitor_can_have() -> None:
    short, middle, long = (
        gpu_seconds(batch(3.0)),
        gpu_seconds(batch(15.0)),
        gpu_seconds(batch(30.0)),
    )
    assert 10 <= short < middle < long <= 25
    assert gpu_seconds(batch(*8 * [30.0])) == long  # segments of a batch are decoded together
    assert 3 * 1.5 * long <= 120  # the day of a visitor without an account, on today's hardware


@pytest.fixture
def engine() -> Engine:
    """The embedded checkpoint, for `on_gpu` in this process."""
    engine = load_engine("phrasebook")
    zerogpu.prepare(engine)
    return engine


def last(updates: Iterator[Update]) -> Update:
    *_, update = updates
    return update


@pytest.mark.parametrize(
    ("samples", "direction", "policy", "size"),
    [
        (two_languages(), Direction.AUTO, "sentence", 1),
        (two_languages(), Direction.AUTO, "pause", 2),
        (clip("en_long"), Direction.EN_JA, "pause", 4),
        (np.zeros(SAMPLE_RATE, np.float32), Direction.AUTO, "sentence", 8),
    ],
    ids=["languages", "languages in batches", "one language", "silence"],
)
def test_in_batches_a_recording_has_the_same_segments(
    engine: Engine, samples: np.ndarray, direction: Direction, policy: str, size: int
) -> None:
    stopped = threading.Event()
    whole = last(streaming.stream(samples, engine, direction, "", stopped, POLICIES[policy]))
    calls = list[Batch]()

    def lent(batch: Batch) -> Any:
        calls.append(pickle.loads(pickle.dumps(batch)))
        return (pickle.loads(pickle.dumps(news)) for news in on_gpu(calls[-1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zerogpu, "lent", lent)
        parts = last(
            zerogpu.stream(samples, size, direction, "", threading.Event(), POLICIES[policy])
        )
    assert whole.translation is not None
    assert parts.translation is not None
    assert [(s.start, s.end, s.text, s.direction, s.flags) for s in parts.translation.segments] == [
        (s.start, s.end, s.text, s.direction, s.flags) for s in whole.translation.segments
    ]
    assert sum(len(call.utterances) for call in calls) <= len(whole.translation.segments)
    assert all(len(call.utterances) <= size for call in calls)
    assert parts.translation.direction == whole.translation.direction


@pytest.mark.parametrize(
    ("name", "asked", "offered"),
    [("ja_1", Direction.EN_JA, Direction.JA_EN), ("en_1", Direction.EN_JA, None)],
)
def test_the_other_direction_is_part_of_the_first_call(
    engine: Engine, name: str, asked: Direction, offered: Direction | None
) -> None:
    def other(direction: Direction, *, offer: bool) -> Direction | None:
        event = threading.Event()
        return last(zerogpu.stream(clip(name), 8, direction, "", event, offer=offer)).other

    assert other(asked, offer=True) is offered
    assert other(asked, offer=False) is None
    assert other(Direction.AUTO, offer=True) is None


def test_what_fails_in_the_worker_is_an_error_with_words_or_none(
    engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    from speech_translation.errors import EngineError

    class Broken:
        description, batch_size = "broken", 8

        def __init__(self, error: Exception) -> None:
            self.error = error

        def generate(self, _: object) -> Any:
            raise self.error

    for error, words in ((EngineError("Too long."), "Too long."), (ValueError("secret"), "")):
        zerogpu.prepare(Broken(error))
        with pytest.raises(gr.Error) as raised:
            list(on_gpu(batch(1.0)))
        arrived = pickle.loads(pickle.dumps(raised.value))
        assert (arrived.title, arrived.message, arrived.print_exception) == (WORKER, words, False)
    logged = capfd.readouterr().err
    assert "ValueError" in logged
    assert "secret" not in logged


@pytest.mark.parametrize(("tick", "calls"), [(0.0, 2), (60.0, 1)])
def test_a_spoilt_segment_is_tried_again_while_the_gpu_is_borrowed(
    monkeypatch: pytest.MonkeyPatch, tick: float, calls: int
) -> None:
    class Loops:
        description, batch_size, calls = "loops", 8, 0

        def generate(self, request: Any) -> list[Hypothesis]:
            self.calls += 1
            flags = frozenset({Flag.REPEATED})
            return [Hypothesis("no no", Direction.EN_JA, flags=flags) for _ in request.batch]

    clock = itertools.count(0.0, tick)
    monkeypatch.setattr(zerogpu, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    loops = Loops()
    zerogpu.prepare(loops)
    assert sum(len(news.segments) for news in on_gpu(batch(1.0))) == 1
    assert loops.calls == calls


QUOTA = "ZeroGPU quota exceeded"
SPENT = "You have exceeded your {} quota (23s requested vs. 4s left). Try again in {}. "


@pytest.mark.parametrize(
    ("title", "message", "english", "japanese"),
    [
        (
            QUOTA,
            SPENT.format("ZeroGPU", "21:05:09"),
            r"asks for 23 s, and 4 s are left\. There is more in 21:05:09\. Sign in",
            "23 秒必要ですが、残りは 4 秒です。21:05:09 後に再び使えます。Hugging Face にログイン",
        ),
        (
            QUOTA,
            SPENT.format("free ZeroGPU", "1 day, 1:00:00"),
            r"There is more in 25:00:00\. A PRO account",
            "25:00:00 後に再び使えます。Hugging Face の PRO",
        ),
        (QUOTA, SPENT.format("Pro ZeroGPU", "0:10:00"), "more in 10:00.*Credits", "クレジット"),
        (QUOTA, "Space app has reached its GPU limit.", "used up for now. Sign in", "ログイン"),
        (QUOTA, "You have exceeded your ZeroGPU runs limit. ", "used up for now", "使い切り"),
        ("ZeroGPU illegal duration", "The requested GPU duration (25s)", "used up", "使い切り"),
        ("ZeroGPU pending credits exceeded", "You have too many", "are still running", "実行中"),
        ("ZeroGPU queue timeout", "No GPU was available", "All GPUs .* are in use", "使用中"),
        ("ZeroGPU client error", "No GPU was available", "All GPUs .* are in use", "使用中"),
        ("ZeroGPU worker error", "GPU task aborted", "was taken away", "打ち切られ"),
        (WORKER, "Too long.", r"^Too long\.$", r"^Too long\.$"),
        (WORKER, "", "failed on our side", "サーバー側"),
    ],
)
def test_a_refusal_says_what_is_left_and_what_to_do(
    title: str, message: str, english: str, japanese: str
) -> None:
    assert re.search(english, explained(title, message, Language.ENGLISH))
    assert re.search(japanese, explained(title, message, Language.JAPANESE))


def test_a_program_whose_quota_ends_on_the_way_gets_a_part_as_segments_and_never_as_a_text(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[Batch]()

    def lent(batch: Batch) -> Any:
        calls.append(batch)
        if len(calls) % 2 == 0:
            raise gr.Error(SPENT.format("free ZeroGPU", "0:10:00"), title=QUOTA)
        return on_gpu(batch)

    monkeypatch.setattr(engine, "batch_size", 1)
    monkeypatch.setattr(zerogpu, "ACTIVE", True)
    monkeypatch.setattr(zerogpu, "lent", lent)
    loading = Loading(lambda: engine, "phrasebook")
    loading.run()
    service = Service(Settings(), loading)
    asked = (str(EXAMPLES / "en_two_sentences.flac"), "en2ja", "", None, "pause")
    part = service.finished(*asked)
    assert part.translation is not None
    assert len(part.translation.segments) == 1
    assert reference("en_two_sentences").startswith(part.text)
    assert part.missing is not None
    assert "4 s are left" in part.missing[Language.ENGLISH]
    (remark,) = part.translation.remarks
    assert remark.kind is RemarkKind.UNTRANSLATED
    assert 0 < remark.start < remark.end == part.translation.duration
    with pytest.raises(gr.Error, match=r"4 s are left.* by /translate_segments only"):
        service.translate(*asked)
    assert len(calls) == 4


def test_a_copy_of_an_example_clip_is_known_by_its_content(tmp_path: Any) -> None:
    copied = tmp_path / "recording.flac"
    copied.write_bytes((EXAMPLES / "en_1.flac").read_bytes())
    asked = question(str(copied), "en2ja", " ", "sentence", offer=True)
    assert asked is not None
    assert asked.clip == "en_1"
    assert question(str(copied), "en2ja", "a name", "sentence", offer=True) is None
    copied.write_bytes((EXAMPLES / "en_1.flac").read_bytes()[:-1] + b"x")
    assert question(str(copied), "en2ja", "", "sentence", offer=True) is None
    assert question(None, "en2ja", "", "sentence", offer=True) is None
    answers = Answers()
    answers.keep(asked, Update("half", 1.0, 2.0, None))
    assert answers.known(asked) is None
