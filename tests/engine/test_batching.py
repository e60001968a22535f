"""One engine for many callers, with the embedded checkpoint behind it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from speech_translation.audio import load_audio
from speech_translation.engine import Engine, Request, load_engine
from speech_translation.engine.batching import SharedEngine
from speech_translation.errors import EngineError
from speech_translation.translate import translate
from speech_translation.types import Direction, Hypothesis

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("en_1", "ja_1", "en_2", "ja_2")


class Watched:
    """The embedded checkpoint; notes the sizes of its batches and can be held up."""

    def __init__(self, batch_size: int) -> None:
        self._engine = load_engine("phrasebook")
        self.batch_size = batch_size
        self.description = self._engine.description
        self.batches = list[int]()
        self.open = threading.Event()
        self.open.set()

    def generate(self, request: Request) -> list[Hypothesis]:
        self.open.wait()
        self.batches.append(len(request.batch))
        return self._engine.generate(request)


def clip(name: str) -> np.ndarray:
    return load_audio(EXAMPLES / f"{name}.flac")


def reference(name: str) -> str:
    return (EXAMPLES / f"{name}.txt").read_text("utf-8").strip()


def wait_for_calls(shared: SharedEngine, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(shared._waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_everybody_gets_their_own_text_from_one_batch() -> None:
    engine = Watched(batch_size=8)
    shared: Engine = SharedEngine(engine)
    engine.open.clear()
    heard: dict[str, list[str]] = {name: [] for name in NAMES}
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(shared.generate, Request([clip("en_1")], Direction.AUTO))
        time.sleep(0.2)  # that one is under way, the others wait
        jobs = {
            name: pool.submit(
                translate, clip(name), shared, on_text=lambda _, text, n=name: heard[n].append(text)
            )
            for name in NAMES
        }
        wait_for_calls(shared, 4)  # type: ignore[arg-type]
        engine.open.set()
        assert first.result()[0].text == reference("en_1")
        assert {name: job.result().text for name, job in jobs.items()} == {
            name: reference(name) for name in NAMES
        }
    assert engine.batches == [1, 4]
    assert {name: texts[-1] for name, texts in heard.items()} == {
        name: reference(name) for name in NAMES
    }


def test_different_directions_do_not_share_a_batch() -> None:
    engine = Watched(batch_size=8)
    shared = SharedEngine(engine)
    engine.open.clear()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(shared.generate, Request([clip("en_1")], Direction.AUTO))
        time.sleep(0.2)
        to_ja = pool.submit(shared.generate, Request([clip("en_2")], Direction.EN_JA))
        to_en = pool.submit(shared.generate, Request([clip("ja_2")], Direction.JA_EN))
        wait_for_calls(shared, 2)
        engine.open.set()
        assert to_ja.result()[0].text == reference("en_2")
        assert to_en.result()[0].text == reference("ja_2")
    assert engine.batches == [1, 1, 1]


def test_a_short_request_does_not_wait_for_a_whole_talk() -> None:
    shared = SharedEngine(Watched(batch_size=1))
    talk = np.tile(clip("en_long"), 2)
    finished = list[str]()

    def run(name: str, samples: np.ndarray) -> None:
        translate(samples, shared, Direction.EN_JA)
        finished.append(name)

    long = threading.Thread(target=run, args=("talk", talk))
    long.start()
    time.sleep(0.3)
    run("short", clip("en_1"))
    long.join()
    assert finished == ["short", "talk"]


def test_who_gives_up_is_let_go_and_the_others_are_served() -> None:
    engine = Watched(batch_size=8)
    shared = SharedEngine(engine)
    engine.open.clear()
    gone = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        leaving = pool.submit(shared.generate, Request([clip("en_1")], cancelled=gone.is_set))
        time.sleep(0.2)
        staying = pool.submit(shared.generate, Request([clip("ja_1")], Direction.AUTO))
        gone.set()
        assert [hypothesis.text for hypothesis in leaving.result(timeout=2)] == [""]
        engine.open.set()
        assert staying.result()[0].text == reference("ja_1")


def test_an_error_reaches_its_callers_and_the_next_call_works() -> None:
    class Fails(Watched):
        def generate(self, request: Request) -> list[Hypothesis]:
            if request.direction is Direction.EN_JA:
                raise EngineError("The model failed.")
            return super().generate(request)

    shared = SharedEngine(Fails(batch_size=1))
    with pytest.raises(EngineError, match=r"The model failed\."):
        shared.generate(Request([clip("en_1")], Direction.EN_JA))
    assert shared.generate(Request([clip("ja_1")], Direction.AUTO))[0].text == reference("ja_1")
