"""One engine for many callers, with the embedded checkpoint behind it."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from clips import clip, reference

from speech_translation.engine import Request, load_engine
from speech_translation.engine.batching import SharedEngine
from speech_translation.errors import EngineError
from speech_translation.translate import translate
from speech_translation.types import Direction, Hypothesis

NAMES = ("en_1", "ja_1", "en_2", "ja_2")
PATIENCE = 60.0  # seconds for what would otherwise wait for ever


class Watched:
    """The embedded checkpoint; notes the sizes of its batches and can be held up."""

    def __init__(self, batch_size: int) -> None:
        self._engine = load_engine("phrasebook")
        self.batch_size = batch_size
        self.description = self._engine.description
        self.batches, self.contexts = list[int](), list[str]()
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def generate(self, request: Request) -> list[Hypothesis]:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        self.batches.append(len(request.batch))
        self.contexts.append(request.context)
        return self._engine.generate(request)


class Arrivals:
    """Passes requests on to a shared engine and tells when they stand in line there.

    Only then does the engine ask whether their callers have given up.
    """

    def __init__(self, shared: SharedEngine) -> None:
        self._shared = shared
        self.batch_size = shared.batch_size
        self.description = shared.description
        self._arrived = threading.Semaphore(0)

    def generate(self, request: Request) -> list[Hypothesis]:
        asked = threading.Event()

        def cancelled() -> bool:
            if not asked.is_set():
                asked.set()
                self._arrived.release()
            return request.abandoned

        return self._shared.generate(replace(request, cancelled=cancelled))

    def wait_for(self, count: int) -> None:
        assert all(self._arrived.acquire(timeout=PATIENCE) for _ in range(count))


def test_everybody_gets_their_own_text_from_one_batch() -> None:
    engine = Watched(batch_size=8)
    shared = SharedEngine(engine)
    others = Arrivals(shared)
    engine.open.clear()
    heard: dict[str, list[str]] = {name: [] for name in NAMES}
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(shared.generate, Request([clip("en_1")], Direction.AUTO))
        assert engine.entered.wait(PATIENCE)  # that one is under way, the others wait
        jobs = {
            name: pool.submit(
                translate, clip(name), others, on_text=lambda _, text, n=name: heard[n].append(text)
            )
            for name in NAMES
        }
        others.wait_for(4)
        engine.open.set()
        assert first.result()[0].text == reference("en_1")
        assert {name: job.result().text for name, job in jobs.items()} == {
            name: reference(name) for name in NAMES
        }
    assert engine.batches[:2] == [1, 4]  # which languages they speak
    assert sum(engine.batches[2:]) == 4
    assert {name: texts[-1] for name, texts in heard.items()} == {
        name: reference(name) for name in NAMES
    }


def test_different_directions_do_not_share_a_batch() -> None:
    engine = Watched(batch_size=8)
    shared = SharedEngine(engine)
    others = Arrivals(shared)
    engine.open.clear()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(shared.generate, Request([clip("en_1")], Direction.AUTO))
        assert engine.entered.wait(PATIENCE)
        to_ja = pool.submit(others.generate, Request([clip("en_2")], Direction.EN_JA))
        to_en = pool.submit(others.generate, Request([clip("ja_2")], Direction.JA_EN))
        others.wait_for(2)
        engine.open.set()
        assert to_ja.result()[0].text == reference("en_2")
        assert to_en.result()[0].text == reference("ja_2")
    assert engine.batches == [1, 1, 1]


def test_who_has_read_nothing_goes_first_but_not_always() -> None:
    engine = Watched(batch_size=1)
    shared = SharedEngine(engine)
    others = Arrivals(shared)

    def ask(name: str, awaited: bool) -> None:
        others.generate(Request([clip("en_1")], Direction.EN_JA, name, awaited=awaited))

    with ThreadPoolExecutor(6) as pool:
        engine.open.clear()
        pool.submit(ask, "first", True)
        assert engine.entered.wait(PATIENCE)
        others.wait_for(1)
        for name in ("program 1", "program 2", "visitor 1", "visitor 2", "visitor 3"):
            pool.submit(ask, name, name.startswith("visitor"))
            others.wait_for(1)
        engine.open.set()
    # Two visitors, and then whoever came first; "first" was the first of two.
    assert engine.contexts[:3] == ["first", "visitor 1", "program 1"]
    assert engine.contexts[3:] == ["visitor 2", "visitor 3", "program 2"]


def test_a_short_request_does_not_wait_for_a_whole_talk() -> None:
    engine = Watched(batch_size=1)
    shared = SharedEngine(engine)
    talk = clip("en_long")
    finished = list[str]()

    def run(name: str, samples: np.ndarray) -> None:
        translate(samples, shared, Direction.EN_JA)
        finished.append(name)

    long = threading.Thread(target=run, args=("talk", talk))
    long.start()
    assert engine.entered.wait(PATIENCE)
    run("short", clip("en_1"))
    long.join()
    assert finished == ["short", "talk"]


def test_who_gives_up_is_let_go_and_the_others_are_served() -> None:
    engine = Watched(batch_size=8)
    shared = SharedEngine(engine)
    others = Arrivals(shared)
    engine.open.clear()
    gone = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        leaving = pool.submit(shared.generate, Request([clip("en_1")], cancelled=gone.is_set))
        assert engine.entered.wait(PATIENCE)
        staying = pool.submit(others.generate, Request([clip("ja_1")], Direction.AUTO))
        others.wait_for(1)
        gone.set()
        assert [hypothesis.text for hypothesis in leaving.result(PATIENCE / 2)] == [""]
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


class Stuck:
    """Fails once it may go on."""

    batch_size, description = 8, "stand-in"

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def generate(self, request: Request) -> list[Hypothesis]:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        raise EngineError("The model failed.")


def failure(shared: SharedEngine | Arrivals, direction: Direction) -> EngineError:
    with pytest.raises(EngineError) as caught:
        shared.generate(Request([np.zeros(8000, np.float32)], direction))
    return caught.value


def test_callers_in_several_threads_get_errors_of_their_own() -> None:
    engine = Stuck()
    shared = SharedEngine(engine)
    others = Arrivals(shared)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(failure, shared, Direction.AUTO)
        assert engine.entered.wait(PATIENCE)
        together = [pool.submit(failure, others, Direction.EN_JA) for _ in range(2)]
        others.wait_for(2)
        engine.open.set()
        one, two = (call.result(PATIENCE) for call in together)
        assert str(first.result(PATIENCE)) == str(one) == str(two) == "The model failed."
        assert one is not two


def test_a_closed_engine_refuses_and_lets_nobody_wait() -> None:
    engine = Stuck()
    shared = SharedEngine(engine)
    others = Arrivals(shared)
    with ThreadPoolExecutor(3) as pool:
        pool.submit(failure, shared, Direction.AUTO)
        assert engine.entered.wait(PATIENCE)
        waiting = pool.submit(failure, others, Direction.EN_JA)
        others.wait_for(1)
        closing = pool.submit(shared.close)
        while not shared._closed:
            threading.Event().wait(0.01)
        engine.open.set()
        closing.result(PATIENCE)
        assert "unloaded" in str(waiting.result(PATIENCE))
    assert "unloaded" in str(failure(shared, Direction.AUTO))


class Speaks:
    """Says each text while it is asked, once it may go on; counts the calls."""

    batch_size, description = 8, "stand-in"

    def __init__(self) -> None:
        self.entered, self.open, self.asked = threading.Event(), threading.Event(), 0

    def generate(self, request: Request) -> list[Hypothesis]:
        self.entered.set()
        self.asked += 1
        assert self.open.wait(PATIENCE)
        for index in range(len(request.batch)):
            if request.on_text is not None:
                request.on_text(index, "text")
        return [Hypothesis("text", request.direction) for _ in request.batch]


SOUND = [np.zeros(8000, np.float32)]


def test_a_callers_own_function_that_fails_costs_nobody_elses_result() -> None:
    engine = Speaks()
    shared = SharedEngine(engine)
    others = Arrivals(shared)

    def broken(*_: object) -> bool:
        raise SystemExit("broken")

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(shared.generate, Request(SOUND, Direction.JA_EN))
        assert engine.entered.wait(PATIENCE)
        told = pool.submit(others.generate, Request(SOUND, on_text=lambda _, text: broken()))
        good = pool.submit(others.generate, Request(SOUND, on_text=lambda _, text: None))
        others.wait_for(2)
        asked = pool.submit(shared.generate, Request(SOUND, cancelled=broken))
        with pytest.raises(SystemExit, match="broken"):
            asked.result(PATIENCE)  # while the others wait
        engine.open.set()
        with pytest.raises(SystemExit, match="broken"):
            told.result(PATIENCE)
        assert [x.text for x in first.result(PATIENCE) + good.result(PATIENCE)] == ["text"] * 2
    assert shared.generate(Request(SOUND))[0].text == "text"


def test_a_function_that_the_engine_calls_cannot_wait_for_the_engine() -> None:
    engine = Speaks()
    engine.open.set()
    shared = SharedEngine(engine)
    asked = Request(SOUND, on_text=lambda _, text: shared.generate(Request(SOUND)) and None)
    with ThreadPoolExecutor(1) as pool, pytest.raises(EngineError, match="cannot wait"):
        pool.submit(shared.generate, asked).result(PATIENCE)


def test_what_an_interrupted_caller_has_asked_for_is_not_computed() -> None:
    engine = Speaks()
    shared = SharedEngine(engine)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGALRM, interrupt)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared.generate, Request(SOUND, Direction.JA_EN))
        assert engine.entered.wait(PATIENCE)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            shared.generate(Request(SOUND))
        signal.signal(signal.SIGALRM, usual)
        engine.open.set()
        first.result(PATIENCE)
    assert shared.generate(Request(SOUND, context="next"))[0].text == "text"
    assert engine.asked == 2
