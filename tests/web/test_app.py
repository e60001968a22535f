"""The Space as programs see it: endpoints, MCP, live captions, refusals. The page: test_browser."""

import asyncio
import base64
import json
import queue
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import soxr
from clips import EXAMPLES, ROOT, TWO_LANGUAGES, reference, two_languages
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from own_space import free_port, running_space
from recordings import film, tracks

import web.line
from app import build_page
from speech_translation.audio import load_audio
from speech_translation.types import SAMPLE_RATE
from web.loading import Loading
from web.server import launch
from web.service import Service
from web.settings import Settings, parser

pytestmark = pytest.mark.slow


def clip(name: str) -> Any:
    return handle_file(str(EXAMPLES / f"{name}.flac"))


@pytest.fixture(scope="module")
def client(space: str) -> Client:
    return Client(space, verbose=False)


def test_importing_the_app_loads_no_weights() -> None:
    code = "import sys, app; print('torch' in sys.modules, 'qwen_asr' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False"], run.stderr


def test_a_space_starts_behind_a_proxy_that_does_not_know_it() -> None:
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    with running_space(environment={**dead, "NO_PROXY": "example.org"}) as space:
        assert httpx.get(space.url).is_success


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_a_space_has_an_ipv6_address(host: str) -> None:
    settings = Settings(model="phrasebook", host=host, port=free_port())
    demo, url = launch(build_page, settings, wait=False)
    try:
        assert url == f"http://[::1]:{settings.port}/"
        assert f'"root":"{url[:-1]}"' in httpx.get(url).text
    finally:
        demo.close()


def test_settings_come_from_options_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECH_MODEL", "phrasebook")
    monkeypatch.setenv("SPEECH_MAX_SECONDS", "90")
    monkeypatch.setenv("SPEECH_PORT", "9000")
    options = parser().parse_args(["--port", "9001"])
    assert (options.model, options.max_seconds, options.port) == ("phrasebook", 90.0, 9001)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert parser().parse_args([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert parser().parse_args([]).host == "0.0.0.0"


@pytest.mark.parametrize("name", ["en_1", "ja_1", "en_2", "ja_2", "en_two_sentences", "ja_long"])
def test_translate_answers_with_the_exact_text(client: Client, name: str) -> None:
    forced = "en2ja" if name.startswith("en") else "ja2en"
    assert client.predict(clip(name), forced, api_name="/translate") == reference(name)
    assert client.predict(clip(name), api_name="/translate") == reference(name)


def test_a_film_is_captioned_on_its_own_clock(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    sound = soxr.resample(load_audio(EXAMPLES / "en_1.flac"), SAMPLE_RATE, 48_000)
    path.write_bytes(film("matroska", "libopus", sound, lambda t: t + 4))
    data = client.predict(handle_file(str(path)), "en2ja", api_name="/translate_segments")
    (segment,) = data["segments"]
    assert segment["text"] == reference("en_1")
    assert segment["start"] == pytest.approx(4.36, abs=0.1)
    (remark,) = data["remarks"]
    assert (remark["kind"], remark["start"]) == ("silent", 0.0)
    assert remark["end"] == pytest.approx(4.0, abs=0.01)
    assert remark["text"] == "from 0.0 to 4.0 s it holds no sound"


def test_the_sound_track_in_the_source_language_is_translated(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "two.mkv"
    sounds = {"jpn": load_audio(EXAMPLES / "ja_1.flac"), "eng": load_audio(EXAMPLES / "en_1.flac")}
    path.write_bytes(tracks(sounds))
    for direction, name, number in (("en2ja", "en_1", 2), ("ja2en", "ja_1", 1)):
        data = client.predict(handle_file(str(path)), direction, api_name="/translate_segments")
        assert data["text"] == reference(name)
        said = f"sound track {number} of 2 (jpn, eng) is translated"
        assert [remark["text"] for remark in data["remarks"]] == [said]


def test_segments_have_times_and_figures(client: Client) -> None:
    data = client.predict(
        clip("en_two_sentences"), segments="pause", api_name="/translate_segments"
    )
    assert data["text"] == reference("en_two_sentences")
    assert data["direction"] == "en2ja"
    assert data["duration"] == pytest.approx(
        len(load_audio(EXAMPLES / "en_two_sentences.flac")) / 16_000, abs=0.01
    )
    first, second = data["segments"]
    assert 0 <= first["start"] < first["end"] <= second["start"] < second["end"]
    assert data["tokens"] == first["tokens"] + second["tokens"] > 0
    assert data["rtfx"] == pytest.approx(data["duration"] / data["compute_seconds"], rel=1e-3)
    assert data["flags"] == first["flags"] == []


def test_programs_choose_what_is_translated_as_one(client: Client, tmp_path: Path) -> None:
    pause = np.zeros(24_000, np.float32)
    apart = [load_audio(EXAMPLES / "en_1.flac"), pause, load_audio(EXAMPLES / "en_2.flac")]
    soundfile.write(tmp_path / "apart.wav", np.concatenate(apart), 16_000)
    recording = handle_file(str(tmp_path / "apart.wav"))
    for segments, count in (("sentence", 1), ("pause", 2), ("whole", 1)):
        data = client.predict(recording, segments=segments, api_name="/translate_segments")
        assert len(data["segments"]) == count
    both = reference("en_1") + reference("en_2")
    assert client.predict(recording, segments="pause", api_name="/translate") == both
    path = client.predict(recording, format="tsv", segments="pause", api_name="/captions")
    assert len(Path(path).read_text("utf-8").splitlines()) == 3


def test_each_sentence_of_two_languages_is_translated(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "both.wav"
    soundfile.write(path, two_languages(), 16_000)
    data = client.predict(handle_file(str(path)), api_name="/translate_segments")
    assert data["direction"] == "auto"
    assert [x["direction"] for x in data["segments"]] == ["en2ja", "ja2en"] * 2
    assert all(reference(name) in data["text"] for name in TWO_LANGUAGES)


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_over_http_the_last_values_may_be_left_out(space: str, left_out: int) -> None:
    api = space + "gradio_api"
    with (EXAMPLES / "ja_1.flac").open("rb") as file:
        (path,) = httpx.post(f"{api}/upload", files={"files": file}).json()
    values = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "ja2en", "sentence"]
    body = {"data": values[: len(values) - left_out]}
    event = httpx.post(f"{api}/call/translate", json=body).json()["event_id"]
    answer = httpx.get(f"{api}/call/translate/{event}", timeout=60).text
    assert json.loads(answer.split("data: ")[1].splitlines()[0]) == [reference("ja_1")]


def test_a_translation_has_one_json_form(client: Client, space: str) -> None:
    answer = client.predict(clip("en_1"), "en2ja", api_name="/translate_segments")
    path = client.predict(clip("en_1"), "en2ja", "json", api_name="/captions")
    file = json.loads(Path(path).read_text("utf-8"))
    talk = httpx.post(space + "live", params={"direction": "en2ja"}).json()["id"]
    pcm = (load_audio(EXAMPLES / "en_1.flac") * 32767).astype("<i2").tobytes()
    assert post(space, talk, pcm, seq=0, rate=16_000, last=1).status_code == 200
    download = httpx.get(f"{space}live/{talk}/captions.json").json()
    httpx.delete(f"{space}live/{talk}")
    assert list(answer) == list(file) == list(download)
    measured = ("compute_seconds", "rtfx")
    assert [value for name, value in answer.items() if name not in measured] == [
        value for name, value in file.items() if name not in measured
    ]
    assert list(answer["segments"][0]) == list(download["segments"][0])
    assert download["text"] == answer["text"]


@pytest.mark.parametrize("format", ["txt", "srt", "vtt", "tsv", "json"])
def test_captions_are_a_file_in_the_format_asked_for(client: Client, format: str) -> None:
    path = Path(client.predict(clip("ja_two_sentences"), "ja2en", format, api_name="/captions"))
    assert path.suffix == "." + format
    content = path.read_text("utf-8")
    if format == "json":
        assert json.loads(content)["text"] == reference("ja_two_sentences")
    else:
        first_words = reference("ja_two_sentences").split(".")[0].split("?")[0][:12]
        assert first_words in content


def test_only_the_three_endpoints_are_public(client: Client) -> None:
    api = client.view_api(return_format="dict", print_info=False)
    assert isinstance(api, dict)
    assert set(api["named_endpoints"]) == {"/translate", "/translate_segments", "/captions"}
    assert not api["unnamed_endpoints"]


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Uploads that hold nothing to translate, and what the answer says."""
    text = folder / "notes.wav"
    text.write_text("this is not sound")
    empty = folder / "empty.wav"
    empty.touch()
    long = folder / "long.flac"
    soundfile.write(long, np.zeros(16_000 * 601, np.int16), 16_000)
    return {
        "text": (text, "notes.wav holds no sound that can be read"),
        "empty": (empty, "empty.wav"),
        "long": (long, "long.flac"),
    }


@pytest.mark.parametrize("kind", ["text", "empty", "long"])
def test_bad_files_get_a_sentence_and_the_next_request_works(
    client: Client, tmp_path: Path, kind: str
) -> None:
    path, words = bad_files(tmp_path)[kind]
    with pytest.raises(AppError) as refusal:
        client.predict(handle_file(str(path)), api_name="/translate")
    assert words in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
    assert str(path.parent) not in str(refusal.value)
    assert client.predict(clip("en_1"), api_name="/translate") == reference("en_1")


def test_no_recording_and_a_wrong_direction_are_refused(client: Client) -> None:
    with pytest.raises(AppError, match="no recording yet"):
        client.predict(None, api_name="/translate")
    with pytest.raises(AppError, match="no direction sideways: choose en2ja, ja2en or auto"):
        client.predict(clip("en_1"), "sideways", api_name="/translate")
    with pytest.raises(AppError, match="no format exe: choose from txt"):
        client.predict(clip("en_1"), "auto", "exe", api_name="/captions")
    for endpoint in ("translate", "translate_segments", "captions"):
        with pytest.raises(AppError, match="segments breath: choose sentence, pause or whole"):
            client.predict(clip("en_1"), segments="breath", api_name=f"/{endpoint}")


def test_silence_is_empty_text_and_a_flag(client: Client, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(32_000, np.int16), 16_000)
    data = client.predict(handle_file(str(silence)), api_name="/translate_segments")
    assert (data["text"], data["flags"], data["segments"]) == ("", ["no_speech"], [])


def test_visitors_at_once_get_their_own_results(space: str) -> None:
    names = ["en_1", "ja_1", "en_2", "ja_2"]

    def visit(name: str) -> list[str]:
        visitor = Client(space, verbose=False)
        return [visitor.predict(clip(name), api_name="/translate") for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(visit, names))
    assert results == [[reference(name)] * 3 for name in names]


def test_a_crowd_is_told_how_many_are_ahead(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.line, "AT_ONCE", 0)  # nobody is let in, and two may wait
    clients = [Client(space, verbose=False) for _ in range(5)]
    jobs = [client.submit(clip("en_1"), api_name="/translate") for client in clients]
    ended = queue.SimpleQueue[Any]()
    for job in jobs:
        job.add_done_callback(ended.put)
    refused = [ended.get(timeout=120) for _ in range(3)]
    for future in refused:
        with pytest.raises(ValueError, match="2 requests are ahead of you"):
            future.result()
    monkeypatch.undo()
    assert clients[0].predict(clip("ja_1"), api_name="/translate") == reference("ja_1")
    served = [job.result(timeout=120) for job in jobs if job.future not in refused]
    assert served == [reference("en_1")] * 2


def test_a_link_to_the_page_says_what_it_is(space: str) -> None:
    answer = httpx.get(space)
    metas = re.findall(
        r'<meta (?:property|name)="(?:og|twitter):(\w+)" content="(.*?)"', answer.text
    )
    said = {name: words for name, words in metas if name in ("title", "description", "url")}
    assert said == {
        "title": "English ↔ Japanese speech translation",
        "description": "Speak English, read Japanese. Speak Japanese, read English.",
    }
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_health_says_whether_the_model_is_there(space: str) -> None:
    answer = httpx.get(space + "healthz")
    assert (answer.status_code, answer.json()) == (200, {"model": "ready"})


def test_mcp_tools_are_described_and_work(space: str) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk() -> tuple[list[Any], list[Any]]:
        async with (
            streamablehttp_client(space + "gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            name = next(tool.name for tool in tools if tool.name.endswith("translate"))
            sound = base64.b64encode((EXAMPLES / "ja_1.flac").read_bytes()).decode()
            links = f"data:audio/flac;base64,{sound}", f"{space}gradio_api/file={uploaded}"
            arguments = ({"audio": link, "direction": "ja2en"} for link in links)
            return tools, [await session.call_tool(name, one) for one in arguments]

    with (EXAMPLES / "ja_1.flac").open("rb") as file:
        (uploaded,) = httpx.post(f"{space}gradio_api/upload", files={"files": file}).json()
    tools, answers = asyncio.run(talk())
    assert len(tools) == 3
    for tool in tools:
        assert "English" in tool.description
        assert "Japanese" in tool.description
        assert ",," not in tool.description  # Gradio joins the lines of a docstring with commas
        properties = tool.inputSchema["properties"]
        assert properties["direction"]["description"].startswith("en2ja")
        assert "no other link" in properties["audio"]["description"]
    assert [answer.content[0].text for answer in answers] == [reference("ja_1")] * 2


def post(space: str, talk: str, body: bytes, **query: object) -> httpx.Response:
    return httpx.post(f"{space}live/{talk}", params=query, content=body, timeout=60)  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["python", "javascript", "sh"])
def test_the_documented_snippets_work(space: str, tmp_path: Path, language: str) -> None:
    document = (ROOT / "docs" / "api.md").read_text("utf-8")
    code = document.split(f"```{language}\n")[1].split("```")[0]
    assert "http://127.0.0.1:7860" in code
    code = code.replace("http://127.0.0.1:7860", space.rstrip("/"))
    command = {"python": sys.executable, "javascript": "node", "sh": "sh"}[language]
    script = tmp_path / ("snippet.mjs" if language == "javascript" else "snippet")
    script.write_text(code)
    (tmp_path / "node_modules").symlink_to(ROOT / ".cache/node/node_modules")
    run = subprocess.run([command, script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    expected = reference({"python": "en_1", "javascript": "ja_1", "sh": "ja_2"}[language])
    if language == "sh":
        expected = f"event: complete\ndata: {json.dumps([expected])}"
    assert expected in run.stdout, run.stderr


def test_live_captions_lose_nothing_and_take_nothing_twice(space: str) -> None:
    talk = httpx.post(space + "live", params={"direction": "en2ja"}).json()["id"]
    pcm = (load_audio(EXAMPLES / "en_two_sentences.flac") * 32767).astype("<i2").tobytes()
    chunks = [pcm[i : i + 16_000] for i in range(0, len(pcm), 16_000)]
    lines = []
    for seq, chunk in enumerate(chunks):
        assert post(space, talk, chunk, seq=seq + 1, rate=16_000).status_code == 409  # too early
        for _ in range(2):  # the answer was lost, so it is sent again
            answer = post(space, talk, chunk, seq=seq, rate=16_000)
            assert answer.status_code == 200
        lines.append(answer.json())
    last = post(space, talk, b"", seq=len(chunks), rate=16_000, last=1).json()
    texts = [segment["text"] for segment in last["segments"]]
    assert "".join(texts) == reference("en_two_sentences")
    assert len(texts) == 2
    assert all(segment["lang"] == "ja" for segment in last["segments"])
    assert any(line["settled"] or line["tentative"] for line in lines)
    srt = httpx.get(f"{space}live/{talk}/captions.srt").text
    assert texts[0] in srt.replace("\n", "")
    assert httpx.delete(f"{space}live/{talk}").status_code == 204
    assert post(space, talk, b"", seq=99, rate=16_000).status_code == 404


def test_live_captions_refuse_what_makes_no_sense(space: str) -> None:
    assert httpx.post(space + "live", params={"direction": "up"}).status_code == 400
    talk = httpx.post(space + "live").json()["id"]
    assert post(space, talk, b"\0", seq=0, rate=16_000).status_code == 400
    assert post(space, talk, b"", seq=0, rate=3).status_code == 400
    assert post(space, talk, b"", seq="x", rate=16_000).status_code == 400
    assert post(space, talk, bytes(9 << 20), seq=0, rate=16_000).status_code == 413
    assert httpx.get(f"{space}live/{talk}/captions.exe").status_code == 404
    others = list[str]()
    while (full := httpx.post(space + "live", headers={"accept-language": "ja"})).is_success:
        others.append(full.json()["id"])
        assert len(others) < 8
    assert full.status_code == 503
    assert "ライブ字幕" in full.json()["error"]
    for name in (talk, *others):
        httpx.delete(f"{space}live/{name}")


def test_the_command_says_nothing_of_visitors(tmp_path: Path) -> None:
    # A terminal that lacks the emojis with which Gradio says what it does, and what we log.
    with running_space(environment={"PYTHONIOENCODING": "cp932"}) as space:
        client = Client(space.url, verbose=False)
        secret = tmp_path / "very-secret-name.flac"
        secret.write_bytes((EXAMPLES / "en_1.flac").read_bytes())
        text = client.predict(handle_file(str(secret)), api_name="/translate")
        (tmp_path / "other-secret.wav").write_text("no sound")
        with pytest.raises(AppError):
            client.predict(handle_file(str(tmp_path / "other-secret.wav")), api_name="/translate")
        space.process.terminate()
        assert space.process.wait(60) == 0
        words = space.log.read_text("cp932")
    assert f"ready at {space.url}" in words
    assert "secret" not in words
    assert text not in words


def test_a_model_that_is_not_there_is_said_without_a_trace() -> None:
    def missing() -> Any:
        from speech_translation.engine import load_engine

        return load_engine("/no/such/model")

    loading = Loading(missing, "/no/such/model")
    loading.run()
    service = Service(Settings(), loading)
    with pytest.raises(Exception, match="no model folder /no/such/model"):
        service.translate(str(EXAMPLES / "en_1.flac"), "auto", "", None)
