"""What was said, for visitors who ask for it: which model writes it down, and where it is shown."""

import asyncio
import threading
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from clips import EXAMPLES, clip, reference
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from starlette.applications import Starlette

from speech_translation.engine import Engine, load_engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.errors import ModelError
from speech_translation.segments import SENTENCE, Utterance
from speech_translation.session import Memory
from speech_translation.types import Direction, Span
from web import zerogpu
from web.live import LiveSessions
from web.loading import Loading
from web.service import Service
from web.settings import Settings, parser
from web.transcriber import Transcriber

SAID = "10時から6時まで働きます。"
PATH = str(EXAMPLES / "ja_1.flac")


def loaded() -> Loading:
    loading = Loading(lambda: load_engine("phrasebook", "cpu"), "phrasebook")
    loading.run()
    return loading


def settings(**values: str) -> Settings:
    return Settings(**{"model": "phrasebook", "device": "cpu", **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chosen", "available"),
    [
        (Settings(), True),
        (Settings(model="phrasebook"), True),
        (Settings(transcript="off"), False),
        (Settings(engine_url="http://127.0.0.1:9/v1"), False),
        (Settings(engine_url="http://127.0.0.1:9/v1", transcript="same"), True),
    ],
)
def test_which_spaces_write_down_what_is_said(chosen: Settings, available: bool) -> None:
    assert Transcriber(chosen, loaded()).available is available


def test_none_can_be_loaded_later_on_zerogpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zerogpu, "ACTIVE", True)
    assert not Transcriber(Settings(), loaded()).available
    assert Transcriber(Settings(transcript="same"), loaded()).available


def test_a_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECH_TRANSCRIPT", "same")
    assert Settings(**vars(parser().parse_args([]))).transcript == "same"


def test_another_model_is_loaded_when_it_is_asked_for_and_once(tmp_path: Path) -> None:
    second = tmp_path / "second"
    service = Service(settings(transcript=str(second)), loaded())
    assert service.translate(PATH, "ja2en", "", None).source_text == ""
    with pytest.raises(gr.Error, match="second"):  # it is not there yet
        service.translate(PATH, "ja2en", "", None, transcript=True)
    second.symlink_to(PHRASEBOOK_FOLDER)
    engines = set[int]()

    def ask() -> None:
        translation = service.translate(PATH, "ja2en", "", None, transcript=True)
        assert (translation.text, translation.source_text) == (reference("ja_1"), SAID)
        engines.add(id(service.transcriber.engine()))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines) == 1


def test_no_copy_of_its_weights_is_kept_where_none_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()

    def load(name: str, engine: Engine, *_: object, cache: bool, **__: object) -> Engine:
        asked.append(cache)
        return engine

    monkeypatch.setattr("web.transcriber.load_transcriber", load)
    for no_cache in (True, False):
        chosen = Settings(model="phrasebook", transcript="second", no_cache=no_cache)
        Transcriber(chosen, loaded()).engine()
    assert asked == [False, True]


def test_a_space_without_one_says_so() -> None:
    service = Service(settings(transcript="off"), loaded())
    with pytest.raises(gr.Error, match="does not write down what is said"):
        service.translate(PATH, "ja2en", "", None, transcript=True)


def test_a_gpu_is_borrowed_for_as_long_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine("phrasebook", "cpu")
    monkeypatch.setattr(zerogpu, "_engine", None)
    monkeypatch.setattr(zerogpu, "_transcriber", None)
    zerogpu.prepare(engine, engine)
    sound = clip("ja_1")
    utterance = Utterance((Span(0, len(sound)),), sound)

    def batch(transcript: bool) -> zerogpu.Batch:
        memory = Memory(Direction.JA_EN, {})
        return zerogpu.Batch(
            [utterance], [], Direction.JA_EN, "", SENTENCE, memory, transcript=transcript
        )

    for transcript, said in ((True, SAID), (False, "")):
        *_, last = zerogpu.on_gpu(batch(transcript))
        assert [segment.source_text for segment in last.segments] == [said]
    assert zerogpu.gpu_seconds(batch(True)) > zerogpu.gpu_seconds(batch(False))


def test_a_model_that_is_missing_on_zerogpu_is_done_without(
    capsys: pytest.CaptureFixture[str],
) -> None:
    transcriber = Transcriber(settings(transcript="/nowhere"), loaded())
    assert transcriber.loaded_now() is None
    assert not transcriber.available
    assert "/nowhere" in capsys.readouterr().err
    with pytest.raises(ModelError):
        Transcriber(settings(transcript="/nowhere"), loaded()).engine()


def test_a_talk_has_what_was_said_if_it_is_asked_for() -> None:
    loading = loaded()
    talks = LiveSessions(
        loading.engine, limit=9, transcriber=Transcriber(settings(transcript="same"), loading)
    )
    pcm = (np.concatenate([clip("ja_1"), np.zeros(16_000)]) * 32767).astype("<i2").tobytes()

    async def talk(query: str) -> tuple[dict[str, str], str]:
        transport = httpx.ASGITransport(Starlette(routes=talks.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            name = (await client.post(f"/live?direction=ja2en{query}")).json()["id"]
            said = await client.post(f"/live/{name}?seq=0&rate=16000&last=1", content=pcm)
            file = await client.get(f"/live/{name}/captions.txt?show=both")
            wrong = await client.get(f"/live/{name}/captions.txt?show=all")
            assert wrong.status_code == 400
            return said.json()["segments"][0], file.text

    segment, file = asyncio.run(talk("&transcript=1"))
    assert (segment["text"], segment["source"]) == (reference("ja_1"), SAID)
    assert segment["source_lang"] == "ja"
    assert file == f"{reference('ja_1')}\n{SAID}\n"
    assert asyncio.run(talk(""))[0]["source"] == ""


def test_a_talk_is_refused_where_nobody_writes_it_down() -> None:
    talks = LiveSessions(loaded().engine, limit=9)

    async def opened() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=talks.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            return await client.post("/live?transcript=1")

    reply = asyncio.run(opened())
    assert reply.status_code == 400
    assert "does not write down what is said" in reply.json()["error"]


@pytest.mark.slow
def test_programs_get_both_texts(space: str) -> None:
    client = Client(space, verbose=False)
    recording = handle_file(PATH)
    data = client.predict(recording, show="both", api_name="/translate_segments")
    assert (data["text"], data["source_text"]) == (reference("ja_1"), SAID)
    assert data["segments"][0]["source_text"] == SAID
    assert data["segments"][0]["source_flags"] == []
    assert "source_text" not in client.predict(recording, api_name="/translate_segments")
    data = client.predict(recording, show="source", readings=True, api_name="/translate_segments")
    assert data["segments"][0]["readings"][1] == ["時", "じ"]
    assert data["segments"][0]["romaji"] == "10 ji kara 6 ji made hatarakimasu."
    path = client.predict(recording, format="txt", show="both", api_name="/captions")
    assert Path(path).read_text("utf-8") == f"{reference('ja_1')}\n{SAID}\n"
    with pytest.raises(AppError, match="translation, both or source"):
        client.predict(recording, show="all", api_name="/captions")
