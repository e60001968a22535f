"""Live talks by their routes: places, chunks, an audience, and failures of the engine."""

import asyncio
import threading
import time

import httpx
import numpy as np
import pytest
from clips import clip
from starlette.applications import Starlette

from speech_translation.engine import Request
from speech_translation.errors import EngineError
from speech_translation.live import LiveTranslator
from speech_translation.types import Direction, Hypothesis
from web.live import LiveSessions, Session
from web.texts import words


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


class Waits(FailsOnce):
    """An engine that says nothing until it is let go."""

    def __init__(self) -> None:
        self.failed = True
        self.go = threading.Event()

    def generate(self, request: Request) -> list[Hypothesis]:
        assert self.go.wait(60)
        return super().generate(request)


async def visit(sessions: LiveSessions, *requests: tuple[str, str]) -> list[httpx.Response]:
    """The answers to requests, given by method and path, one after the other."""
    transport = httpx.ASGITransport(Starlette(routes=sessions.routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
        return [await client.request(*request) for request in requests]


def opened(sessions: LiveSessions) -> str:
    """The path of a new talk."""
    (reply,) = asyncio.run(visit(sessions, ("POST", "/live")))
    return f"/live/{reply.json()['id']}"


SOUND = (clip("en_1") * 32767).astype("<i2").tobytes()


def send(sessions: LiveSessions, *chunks: tuple[str, bytes]) -> list[httpx.Response]:
    """The answers to chunks, given by address and body, one after the other."""

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=sessions.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            return [await client.post(url, content=body) for url, body in chunks]

    return asyncio.run(all_of_them())


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


@pytest.mark.parametrize(
    ("rendered", "method", "path"),
    [
        ("render", "GET", "/captions.srt"),
        ("live_captions", "POST", "?seq=0&rate=16000"),  # whoever says not what is known gets all
    ],
)
def test_captions_of_a_long_talk_hold_up_nobody(
    rendered: str, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    talk, other = opened(sessions), opened(sessions)
    rendering, answered = threading.Event(), threading.Event()

    def slow(*_: object) -> str:
        if not rendering.is_set():
            rendering.set()
            assert answered.wait(20), "nobody else was answered meanwhile"
        return "captions"

    monkeypatch.setattr(f"web.live.{rendered}", slow)

    async def both() -> httpx.Response:
        captions = asyncio.create_task(visit(sessions, (method, talk + path)))
        while not rendering.is_set():
            await asyncio.sleep(0.01)
        (known,) = await visit(sessions, ("POST", f"{other}?seq=1&rate=16000"))
        assert known.status_code == 409
        answered.set()
        return (await captions)[0]

    assert "captions" in asyncio.run(both()).text


def test_who_clears_a_talk_waits_for_no_chunk_that_is_still_in_line() -> None:
    slow = Waits()
    sessions = LiveSessions(lambda: slow, limit=2)
    talk = opened(sessions)

    async def both() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=sessions.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            first, second = (
                asyncio.create_task(client.post(f"{talk}?seq={number}&rate=16000", content=SOUND))
                for number in range(2)
            )
            await asyncio.sleep(0.5)
            await client.delete(talk)
            slow.go.set()
            return [await first, await second]

    assert [reply.status_code for reply in asyncio.run(both())] == [200, 404]


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
        ("POST", "{talk}?seq=0&rate=3", 400, "at 8 to 768 kHz", "8～768 kHz"),
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
    asyncio.run(session.turn.acquire())
    assert sessions.working
    session.turn.release()
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


def test_a_talk_that_is_being_translated_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = LiveSessions(FailsOnce, limit=2)
    busy, idle = (Session(LiveTranslator(FailsOnce())) for _ in range(2))
    talks._sessions |= {"busy": busy, "idle": idle}
    later = time.monotonic() + 121
    monkeypatch.setattr(time, "monotonic", lambda: later)
    asyncio.run(busy.turn.acquire())
    talks._forget_idle()
    assert set(talks._sessions) == {"busy"}


def test_what_is_said_behind_the_end_is_refused_and_not_lost_in_silence() -> None:
    """A second tab, or a program that resends, may have ended a talk that somebody goes on with."""
    sessions = LiveSessions(FailsOnce, limit=2)
    talk = opened(sessions)
    end = f"{talk}?seq=1&rate=16000&last=1"
    *taken, behind = send(
        sessions,
        (f"{talk}?seq=0&rate=16000", bytes(32_000)),
        (end, bytes(32_000)),
        (end, bytes(32_000)),  # its answer was lost
        (f"{talk}?seq=2&rate=16000&last=1", b""),
        (f"{talk}?seq=2&rate=16000", SOUND),
    )
    assert [reply.status_code for reply in taken] == [200] * 4
    assert (behind.status_code, behind.json()["words"]) == (404, words("watch_over"))


@pytest.mark.parametrize("no", ["0", "false", "False", "no", ""])
def test_a_chunk_that_is_said_not_to_be_the_last_does_not_end_a_talk(no: str) -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    talk = opened(sessions)
    (reply,) = send(sessions, (f"{talk}?seq=0&rate=16000&last={no}", b""))
    assert reply.status_code == 200
    assert not next(iter(sessions._sessions.values())).finished


def test_an_audience_keeps_its_address_when_the_server_was_restarted() -> None:
    before, afterwards = LiveSessions(FailsOnce, limit=2), LiveSessions(FailsOnce, limit=2)
    (first,) = asyncio.run(visit(before, ("POST", "/live")))
    (second,) = asyncio.run(visit(before, ("POST", f"/live?after={first.json()['id']}")))
    watch, talk = second.json()["watch"], second.json()["id"]
    again, read, stranger = asyncio.run(
        visit(
            afterwards,
            ("POST", f"/live?after={talk}"),
            ("GET", f"/watch/{watch}/captions"),
            ("POST", f"/live?after={watch}"),  # who reads along cannot speak there
        )
    )
    assert again.json()["watch"] == watch
    assert read.status_code == 200
    assert stranger.json()["watch"] != watch
    assert again.json()["id"] not in (talk, watch)


def test_a_program_that_sends_a_chunk_again_and_again_holds_up_no_other_talk() -> None:
    slow = Waits()
    engines = iter([slow, Waits()])
    sessions = LiveSessions(lambda: next(engines), limit=2)
    busy, other = opened(sessions), opened(sessions)

    async def both() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=sessions.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            chunk = f"{busy}?seq=0&rate=16000"
            sent = [asyncio.create_task(client.post(chunk, content=SOUND)) for _ in range(40)]
            try:
                await asyncio.sleep(0.5)
                answer = client.post(f"{other}?seq=0&rate=16000", content=b"")
                assert (await asyncio.wait_for(answer, 20)).status_code == 200
                file = client.get(f"{other}/captions.srt")
                assert (await asyncio.wait_for(file, 20)).status_code == 200
            finally:
                slow.go.set()
            return await asyncio.gather(*sent)

    assert {reply.status_code for reply in asyncio.run(both())} == {200}


@pytest.mark.parametrize("known", ["9" * 5000, "-1", "\u0661", "1.5", "one"])
def test_an_odd_count_of_known_captions_is_none(known: str) -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    (talk,) = asyncio.run(visit(sessions, ("POST", "/live")))
    address = f"/watch/{talk.json()['watch']}/captions?known={known}"
    (reply,) = asyncio.run(visit(sessions, ("GET", address)))
    assert (reply.status_code, reply.json()["from"]) == (200, 0)


@pytest.mark.parametrize("seq", ["-1", "9" * 5000, "1.0", ""])
def test_a_number_that_is_none_is_refused(seq: str) -> None:
    sessions = LiveSessions(FailsOnce, limit=2)
    (reply,) = send(sessions, (f"{opened(sessions)}?seq={seq}&rate=16000", SOUND))
    assert (reply.status_code, reply.json()["words"]["en"][:7]) == (400, "A chunk")


class Sits(FailsOnce):
    """A server that does not answer until nobody waits for it."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def generate(self, request: Request) -> list[Hypothesis]:
        self.asked.set()
        end = time.monotonic() + 60
        while not request.abandoned:
            assert time.monotonic() < end
            time.sleep(0.01)
        return [Hypothesis("", Direction.EN_JA) for _ in request.batch]


@pytest.mark.parametrize("direction", ["en2ja", "auto"])
def test_who_clears_a_talk_ends_what_is_being_translated_of_it(direction: str) -> None:
    engine = Sits()
    sessions = LiveSessions(lambda: engine, limit=2)
    (reply,) = asyncio.run(visit(sessions, ("POST", f"/live?direction={direction}")))
    talk = f"/live/{reply.json()['id']}"

    async def clear() -> None:
        transport = httpx.ASGITransport(Starlette(routes=sessions.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            said = client.post(f"{talk}?seq=0&rate=16000&last=1", content=SOUND)
            chunk = asyncio.create_task(said)
            assert await asyncio.to_thread(engine.asked.wait, 60)
            assert (await client.delete(talk)).status_code == 204
            assert (await asyncio.wait_for(chunk, 20)).status_code == 200

    asyncio.run(clear())
    assert not sessions._sessions
