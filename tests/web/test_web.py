"""The Space's pieces without a page: texts, HTML, loading, and a translation as it grows."""

import asyncio
import re
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from clips import EXAMPLES, clip
from starlette.applications import Starlette

from speech_translation.engine import Request, load_engine
from speech_translation.errors import EngineError
from speech_translation.live import LiveTranslator
from speech_translation.segments import POLICIES
from speech_translation.types import Direction, Flag, Hypothesis, Language, Segment
from web.html import progress_bar, segment_table, status
from web.live import LiveSessions, Session
from web.loading import Loading
from web.server import main
from web.service import Service
from web.settings import Settings
from web.streaming import stream
from web.texts import clock, interface_language, say, texts
from web.uploads import Expired, NotUploaded, upload


def test_both_languages_say_the_same_things() -> None:
    english, japanese = texts()["en"], texts()["ja"]
    assert list(english) == list(japanese)
    names = re.compile(r"\{(\w+)\}")
    for key in english:
        assert set(names.findall(english[key])) == set(names.findall(japanese[key])), key


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "en"),
        ("fr,ja;q=0.5,en;q=0.7", "en"),
        ("en;q=0.2, ja;q=0.3", "ja"),
        ("fr-FR", "en"),
        ("", "en"),
        (None, "en"),
        ("ja;q=x", "ja"),
        ("en;q=1.2.3", "en"),
        ("ja;q=1.2.3, en;q=0.5", "ja"),
        ("ja;q=0", "en"),
        ("ja;q=0.0, *", "en"),
        ("en;q=0, *;q=0.1", "ja"),
        ("en;q=0", "ja"),
        ("en;q=0, ja;q=0", "en"),
        ("*", "en"),
        ("ja;level=1;q=0.1, EN;Q=0.9", "en"),
        ("q=1;;,,;q=", "en"),
    ],
)
def test_the_browser_chooses_the_language(header: str | None, language: str) -> None:
    assert interface_language(header).value == language


def test_times_are_short() -> None:
    assert [clock(x) for x in (0, 5.9, 65, 3723)] == ["0:00", "0:05", "1:05", "1:02:03"]


def test_what_a_model_writes_is_text_and_never_html() -> None:
    evil = '<img src=x onerror="alert(1)">'
    table = segment_table(
        [Segment(0, 1, evil, Direction.EN_JA, frozenset({Flag.REPEATED}))], Language.ENGLISH
    )
    assert "<img" not in table
    assert "&lt;img" in table
    assert "repeats itself" in table
    assert 'lang="ja"' in table
    assert "<img" not in status(evil)


def test_progress_says_how_much_is_left() -> None:
    bar = progress_bar(30, 90, 61, Language.ENGLISH)
    assert "0:30 of 1:30" in bar
    assert "about 1:01 left" in bar
    assert "left" not in progress_bar(0, 90, None, Language.ENGLISH)


def long_recording() -> np.ndarray:
    from speech_translation.audio import load_audio

    return np.tile(load_audio("examples/en_long.flac"), 3)


def test_text_only_grows_and_the_last_update_is_whole() -> None:
    engine = load_engine("phrasebook")
    event = threading.Event()
    updates = list(stream(long_recording(), engine, Direction.EN_JA, "", event, POLICIES["pause"]))
    last = updates[-1]
    assert last.translation is not None
    assert last.text == last.translation.text
    assert len(last.translation.segments) == 66
    done = [update.done for update in updates]
    assert done == sorted(done)
    assert all(update.translation is None for update in updates[:-1])


def test_who_stops_keeps_what_was_finished() -> None:
    engine, stopped = load_engine("phrasebook"), threading.Event()
    for update in stream(long_recording(), engine, Direction.EN_JA, "", stopped, POLICIES["pause"]):
        if update.done > 0:
            stopped.set()
    assert update.translation is not None
    assert 0 < len(update.translation.segments) < 66


def test_the_generation_ends_when_nobody_reads_on() -> None:
    engine = load_engine("phrasebook")
    updates = stream(long_recording(), engine, Direction.EN_JA, "", threading.Event())
    next(updates)
    updates.close()
    deadline = time.monotonic() + 60
    while any(thread.name == "translate" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_error_reaches_whoever_reads() -> None:
    class Broken:
        description, batch_size = "broken", 1

        def generate(self, _: object) -> list[Hypothesis]:
            raise EngineError("The model failed.")

    with pytest.raises(EngineError, match=r"The model failed\."):
        list(stream(long_recording(), Broken(), Direction.EN_JA, "", threading.Event()))


def test_every_text_can_be_filled_in() -> None:
    values = dict.fromkeys(
        (
            "time",
            "done",
            "total",
            "left",
            "duration",
            "compute",
            "speed",
            "tokens",
            "megabytes",
            "direction",
            "segments",
            "reason",
            "ahead",
            "model",
            "description",
            "needed",
            "wait",
        ),
        "7",
    )
    for language in Language:
        for key in texts()[language.value]:
            assert "{" not in say(language, key, **values)


class FailsOnce:
    """An engine that fails when it is first to translate."""

    description, batch_size, failed = "stand-in", 1, False

    def generate(self, request: Request) -> list[Hypothesis]:
        if request.only_direction:
            return [Hypothesis("", Direction.EN_JA, 0, -1e-5) for _ in request.batch]
        if not self.failed:
            self.failed = True
            raise EngineError("The server is away.")
        return [Hypothesis("駅です。", Direction.EN_JA, 4, -0.01) for _ in request.batch]


def test_a_talk_outlives_a_failure_of_the_engine_with_its_last_words() -> None:
    talk = Session(LiveTranslator(FailsOnce(), Direction.EN_JA, partial_every=100))
    assert talk.take(0, clip("en_1"), 16_000, last=False)
    with pytest.raises(EngineError):
        talk.take(1, np.empty(0, np.float32), 16_000, last=True)
    assert not talk.finished
    assert talk.take(1, np.empty(0, np.float32), 16_000, last=True)
    assert talk.finished
    assert [segment.text for segment in talk.translator.segments] == ["駅です。"]


async def visit(sessions: LiveSessions, *requests: tuple[str, str]) -> list[httpx.Response]:
    """The answers to requests, given by method and path, one after the other."""
    transport = httpx.ASGITransport(Starlette(routes=sessions.routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
        return [await client.request(*request) for request in requests]


def opened(sessions: LiveSessions) -> str:
    """The path of a new talk."""
    (reply,) = asyncio.run(visit(sessions, ("POST", "/live")))
    return f"/live/{reply.json()['id']}"


def test_a_finished_talk_gives_its_place_back() -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    first = opened(sessions)
    opened(sessions)
    new = ("POST", "/live")
    last = ("POST", f"{first}?seq=0&rate=16000&last=1")
    replies = asyncio.run(visit(sessions, new, last, new, new, ("GET", f"{first}/captions.srt")))
    assert [reply.status_code for reply in replies] == [503, 200, 200, 503, 200]


def test_what_is_wrong_with_a_request_is_said() -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    talk = opened(sessions)
    early, other, gone = asyncio.run(
        visit(
            sessions,
            ("POST", f"{talk}?seq=3&rate=16000"),
            ("GET", f"{talk}/captions.doc"),
            ("GET", "/live/gone/captions.srt"),
        )
    )
    assert (early.status_code, other.status_code, gone.status_code) == (409, 404, 404)
    assert early.json()["error"] == "a chunk before this one is missing: send chunk 0"
    assert early.json()["next"] == 0
    assert other.json()["error"] == "there is no format doc: choose from txt, srt, vtt, tsv, json"
    assert gone.json()["error"] == "this talk is over"


def test_a_chunk_under_way_is_awaited_at_the_end_and_new_talks_are_refused() -> None:
    ending = threading.Event()
    sessions = LiveSessions(FailsOnce, limit=2, ending=ending.is_set)
    talk = opened(sessions)
    (session,) = sessions._sessions.values()
    assert not sessions.working
    with session.lock:
        assert sessions.working
    ending.set()
    chunk, new = asyncio.run(
        visit(sessions, ("POST", f"{talk}?seq=0&rate=16000"), ("POST", "/live"))
    )
    assert (chunk.status_code, new.status_code) == (200, 503)
    assert "being restarted" in new.json()["error"]


def test_who_waits_for_the_model_holds_up_nobody() -> None:
    loaded = threading.Event()

    def engine() -> FailsOnce:
        assert loaded.wait(60)
        return FailsOnce()

    sessions = LiveSessions(engine, limit=100)
    sessions._sessions["talk"] = Session(LiveTranslator(FailsOnce()))

    async def crowd() -> None:
        waiting = [asyncio.create_task(visit(sessions, ("POST", "/live"))) for _ in range(40)]
        try:
            chunk = visit(sessions, ("POST", "/live/talk?seq=0&rate=16000"))
            assert (await asyncio.wait_for(chunk, 20))[0].status_code == 200
        finally:
            loaded.set()
        assert {
            reply.status_code for replies in await asyncio.gather(*waiting) for reply in replies
        } == {200}

    asyncio.run(crowd())


def test_stop_before_the_first_segment_says_so() -> None:
    class Slow(FailsOnce):
        def generate(self, request: Request) -> list[Hypothesis]:
            while not request.abandoned:
                time.sleep(0.01)
            return [Hypothesis("", Direction.EN_JA) for _ in request.batch]

    loading = Loading(Slow, "slow")
    loading.run()
    service = Service(Settings(), loading)
    visitor = SimpleNamespace(headers={"accept-language": "en"}, session_hash="me")
    run = service.updates(str(EXAMPLES / "en_1.flac"), "en2ja", "", visitor)  # type: ignore[arg-type]
    next(run)
    service.stop(visitor)  # type: ignore[arg-type]
    *_, last = run
    assert last.translation is not None
    assert not last.translation.segments
    assert last.missing == say(Language.ENGLISH, "stopped")


def test_an_upload_that_was_deleted_is_called_so(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    (uploads / "folder").mkdir(parents=True)
    with pytest.raises(Expired):
        upload({"path": str(uploads / "abc" / "talk.wav")}, uploads)
    for path in (
        uploads / "folder",
        uploads / ".." / "gone.wav",
        tmp_path / "gone.wav",
        "gone.wav",
    ):
        with pytest.raises(NotUploaded) as caught:
            upload({"path": str(path)}, uploads)
        assert not isinstance(caught.value, Expired)
    service = Service(Settings(), Loading(FailsOnce, "m"))
    with pytest.raises(Exception, match="deleted after an hour"):
        service.read(str(uploads / "gone.wav"), Language.ENGLISH)


def test_a_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(pytest.fail, "", ["--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"error: Port {port} on 127.0.0.1 is in use: choose another with --port or SPEECH_PORT.\n"
    )
    assert main(pytest.fail, "", ["--host", "no.such.host.invalid"]) == 1
    assert "no.such.host.invalid cannot be listened on" in capsys.readouterr().err
    assert main(pytest.fail, "", ["--port", "70000"]) == 1
    assert "There is no port 70000" in capsys.readouterr().err


def test_a_talk_that_is_being_translated_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = LiveSessions(FailsOnce, limit=2)
    busy, idle = (Session(LiveTranslator(FailsOnce())) for _ in range(2))
    talks._sessions |= {"busy": busy, "idle": idle}
    later = time.monotonic() + 121
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with busy.lock:
        talks._forget_idle()
    assert set(talks._sessions) == {"busy"}
