"""The Space's pieces without a page: texts, HTML, loading, and a translation as it grows."""

import asyncio
import io
import json
import re
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import av
import httpx
import numpy as np
import pytest
from clips import EXAMPLES, clip
from starlette.applications import Starlette

from speech_translation.audio import claimed_seconds
from speech_translation.captions import as_data
from speech_translation.engine import Engine, Request, load_engine
from speech_translation.errors import EngineError
from speech_translation.live import LiveTranslator
from speech_translation.segments import POLICIES
from speech_translation.types import (
    Direction,
    Hypothesis,
    Language,
    Remark,
    RemarkKind,
    Segment,
    Translation,
)
from web.html import PAGE, benchmark, remark_words
from web.live import LiveSessions, Session
from web.loading import Loading
from web.pages import routes
from web.posted import LONGEST, translation_of
from web.server import main
from web.service import Service
from web.settings import Settings
from web.streaming import stream
from web.texts import clock, interface_language, texts, words
from web.uploads import Expired, NotUploaded, upload


def test_both_languages_say_the_same_things() -> None:
    english, japanese = texts()["en"], texts()["ja"]
    assert list(english) == list(japanese)
    names = re.compile(r"\{(\w+)\}")
    for key in english:
        assert set(names.findall(english[key])) == set(names.findall(japanese[key])), key


@pytest.mark.parametrize(
    ("remark", "english", "japanese"),
    [
        (
            Remark(RemarkKind.TRACK, number=2, of=2, languages=("jpn", "eng")),
            "sound track 2 of 2 (jpn, eng).",
            "音声トラック 2 (jpn, eng) のうち 2 番目",
        ),
        (Remark(RemarkKind.UNTAGGED), "does not say its language", "言語の情報がありません"),
        (Remark(RemarkKind.LOST, 65, 70.5), "From 1:05 to 1:10 sound", "1:05 から 1:10 まで"),
        (Remark(RemarkKind.SILENT, 0, 4), "holds no sound", "音声が入っていません"),
        (Remark(RemarkKind.REPEATED, 0, 4), "the repetition is left out", "省きました"),
        (Remark(RemarkKind.MORE, number=3), "3 more places", "ほかに 3 か所"),
        (Remark(RemarkKind.UNREAD, number=1, of=3), "1 of the 3", "3 件のうち 1 件"),
        (Remark(RemarkKind.FIRST, number=1000), "the first 1000", "最初の 1000 件だけ"),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Remark) else "",
)
def test_what_is_odd_about_a_recording_is_said_in_both_languages(
    remark: Remark, english: str, japanese: str
) -> None:
    translation = Translation([], Direction.EN_JA, 9.0, remarks=(remark,))
    said = remark_words(translation)
    assert said is not None
    assert english in said[Language.ENGLISH]
    assert japanese in said[Language.JAPANESE]
    assert translation_of(as_data(translation)).remarks == (remark,)


def test_nothing_is_said_of_an_ordinary_recording() -> None:
    assert remark_words(Translation([], Direction.EN_JA, 9.0)) is None


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


def test_the_page_asks_for_texts_that_exist() -> None:
    page = "".join(path.read_text("utf-8") for path in sorted(PAGE.iterdir()))
    used = set(re.findall(r'data-(?:text|label|hint)="(\w+)"', page))
    used |= set(re.findall(r'say\("(\w+)"', page)) | set(re.findall(r'button\("(\w+)"', page))
    assert len(used) > 60
    assert used <= set(texts()["en"])


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


def test_a_program_that_sends_a_failed_chunk_again_loses_nothing() -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    talk = opened(sessions)
    sound = (clip("en_1") * 32767).astype("<i2").tobytes()

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=sessions.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            first, last = f"{talk}?seq=0&rate=16000", f"{talk}?seq=1&rate=16000&last=1"
            chunks = [(first, sound), (first, sound), (last, b"")]
            replies = [await client.post(url, content=body) for url, body in chunks]
            return [*replies, await client.get(f"{talk}/captions.txt")]

    failed, again, last, captions = asyncio.run(send())
    assert [reply.status_code for reply in (failed, again, last)] == [500, 200, 200]
    assert failed.json()["words"] == words("live_failed")  # not that something is lost
    assert captions.text.strip() == "駅です。"


def test_captions_of_a_long_talk_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    talk = opened(sessions)
    rendering, answered = threading.Event(), threading.Event()

    def slow(*_: object) -> str:
        rendering.set()
        assert answered.wait(20), "nobody else was answered meanwhile"
        return "captions"

    monkeypatch.setattr("web.live.render", slow)

    async def both() -> httpx.Response:
        captions = asyncio.create_task(visit(sessions, ("GET", f"{talk}/captions.srt")))
        while not rendering.is_set():
            await asyncio.sleep(0.01)
        (other,) = await visit(sessions, ("POST", f"{talk}?seq=0&rate=16000"))
        assert other.status_code == 200
        answered.set()
        return (await captions)[0]

    assert asyncio.run(both()).text == "captions"


@pytest.mark.parametrize(
    "change",
    [
        {"segments": [{"start": 2, "end": 1, "text": "a", "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1, "text": 5, "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1, "text": "a" * 5001, "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1e300, "text": "a", "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1, "text": "a", "direction": "up"}]},
        {"segments": [{"start": 0, "end": 1, "text": "a", "direction": "auto", "flags": ["x"]}]},
        {"segments": "none"},
        {
            "segments": [
                {"start": 0, "end": 1, "text": "a", "direction": "auto", "regions": [(0, 1)] * 101}
            ]
        },
        {"remarks": [{"kind": "spoilt"}]},
        {"duration": "nan"},
        {"duration": None},
    ],
    ids=range(11),
)
def test_what_is_no_translation_makes_no_file(change: dict[str, object]) -> None:
    whole = as_data(Translation([Segment(0, 1, "駅です。", Direction.EN_JA)], Direction.EN_JA, 1.0))
    assert as_data(translation_of(whole)) == whole
    with pytest.raises((ValueError, TypeError)):
        translation_of({**whole, **change})


def no_engine() -> Engine:
    raise AssertionError("nobody translates")


def test_a_result_longer_than_any_talk_makes_no_file() -> None:
    segments = [Segment(n, n + 1, "a" * 5000, Direction.EN_JA) for n in range(LONGEST // 5000 + 1)]
    body = as_data(Translation(segments, Direction.EN_JA, 100.0))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(
            Starlette(routes=routes(Service(Settings(), Loading(no_engine, "none"))))
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            return await client.post("/captions/txt", json=body)

    assert asyncio.run(ask()).status_code == 413
    body["segments"].pop()  # type: ignore[attr-defined]
    assert asyncio.run(ask()).status_code == 200


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


def test_an_audience_reads_by_an_address_that_is_not_the_talks() -> None:
    sessions = LiveSessions(FailsOnce, limit=3)
    (reply,) = asyncio.run(visit(sessions, ("POST", "/live")))
    talk, watch = reply.json()["id"], reply.json()["watch"]
    assert len(watch) >= 20
    replies = asyncio.run(
        visit(
            sessions,
            ("GET", f"/watch/{talk}/captions"),
            ("POST", f"/live/{watch}?seq=0&rate=16000"),
            ("DELETE", f"/live/{watch}"),
            ("GET", f"/watch/{watch}/captions?known=7"),
            ("POST", f"/live?after={talk}"),
        )
    )
    assert [reply.status_code for reply in replies] == [404, 404, 204, 200, 200]
    assert replies[3].json() == {"from": 0, "segments": [], "settled": "", "tentative": ""}
    next_talk = replies[4].json()
    assert next_talk["watch"] == watch  # it goes on: who has the link need not get another
    gone, over = asyncio.run(
        visit(
            sessions,
            ("DELETE", f"/live/{next_talk['id']}"),
            ("GET", f"/watch/{watch}/captions"),
        )
    )
    assert (gone.status_code, over.status_code) == (204, 404)


def test_what_is_wrong_with_a_request_is_said() -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    talk = opened(sessions)
    early, gone = asyncio.run(
        visit(
            sessions,
            ("POST", f"{talk}?seq=3&rate=16000"),
            ("GET", "/live/gone/captions.srt"),
        )
    )
    assert (early.status_code, gone.status_code) == (409, 404)
    assert early.json()["error"] == "A chunk before this one is missing: send chunk 0."
    assert early.json()["next"] == 0
    assert early.json()["words"] == words("live_gap")
    assert gone.json()["words"] == words("watch_over")


@pytest.mark.parametrize(
    ("method", "path", "status", "english", "japanese"),
    [
        ("POST", "?direction=xx", 400, "no direction xx: choose en2ja", "xx はありません。"),
        ("POST", "{talk}?seq=one&rate=16000", 400, "are whole numbers.", "整数で"),
        ("POST", "{talk}?seq=0&rate=3", 400, "at 8 to 192 kHz", "8～192 kHz"),
        ("GET", "{talk}/captions.doc", 404, "no format doc: choose from", "形式 doc は"),
        ("GET", "{talk}/captions.srt?show=all", 400, "no such choice of texts", "表示の種類"),
    ],
)
def test_what_a_talk_is_refused_for_is_said_in_both_languages(
    method: str, path: str, status: int, english: str, japanese: str
) -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    talk = opened(sessions).removeprefix("/live")
    (refused,) = asyncio.run(visit(sessions, (method, "/live" + path.format(talk=talk))))
    assert refused.status_code == status
    said = refused.json()
    assert said["error"] == said["words"]["en"]
    assert english in said["words"]["en"]
    assert japanese in said["words"]["ja"]


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
    assert last.missing == words("stopped")
    (remark,) = last.translation.remarks
    assert remark.kind is RemarkKind.UNTRANSLATED
    assert (remark.start, remark.end) == (0.0, last.translation.duration)


def without_length(path: Path, seconds: int) -> str:
    """The path of a WebM as browsers record it: its header has no length."""
    with path.open("wb") as file, av.open(Unseekable(file), "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000)
        for n in range(seconds):
            tone = 0.1 * np.sin(np.arange(48_000) * 0.06)[None].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone, "flt", "mono")
            frame.sample_rate, frame.pts = 48_000, 48_000 * n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert claimed_seconds(path) is None
    return str(path)


class Unseekable(io.RawIOBase):
    """A file that only grows, as what comes from a microphone."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


def test_a_recording_without_a_length_waits_only_once_it_proves_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.service.SHORT", 60.0)
    service = Service(Settings(), Loading(lambda: load_engine("phrasebook", "cpu"), "phrasebook"))
    service.loading.run()
    others = [service.line.join(service.settings.max_seconds) for _ in range(2)]
    short = service.updates(without_length(tmp_path / "short.webm", 12), "en2ja", "", None)
    assert next(short).place == 0
    assert [update.place for update in short if update.place] == []
    long = service.updates(without_length(tmp_path / "long.webm", 200), "en2ja", "", None)
    assert next(long).place == 1
    others[0].leave()
    *_, last = long
    assert last.translation is not None
    assert last.translation.duration == pytest.approx(200, abs=1)


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
        next(service.updates(str(uploads / "gone.wav"), "auto", "", None))


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


def test_the_page_has_every_published_figure() -> None:
    published = json.loads(
        (EXAMPLES.parent / "evaluation" / "results" / "published.json").read_text("utf-8")
    )
    shown = benchmark("<svg/>", "<svg/>", published)
    for system in published["systems"]:
        assert system["title"] in shown
        for figure in (system["ja2en"], system["speed"]):
            assert f"{figure:.1f}" in shown
