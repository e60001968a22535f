"""A visitor's video comes back with captions in it: corrected ones, and both texts."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import soxr
from clips import EXAMPLES, reference
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from recordings import encoded, film
from starlette.applications import Starlette

from speech_translation.audio import load_audio
from speech_translation.captions import as_data
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Remark,
    RemarkKind,
    Segment,
    Show,
    Translation,
)
from web.film import routes

SOUND = np.zeros(48_000 * 4, np.float32)
TALK = Translation(
    [Segment(0.5, 1.5, "直した。", Direction.EN_JA, source_text="I said it.")],
    Direction.EN_JA,
    4.0,
)


def packets(path: Path | bytes) -> list[tuple[str, bytes]]:
    """What was encoded: pictures and sound."""
    with av.open(path if isinstance(path, bytes) else str(path)) as container:
        wanted = [stream for stream in container.streams if stream.type in ("audio", "video")]
        return sorted((p.stream.type, bytes(p)) for p in container.demux(wanted) if p.size)


def captions(path: Path) -> dict[str, str]:
    """The caption tracks: their texts by language."""
    with av.open(str(path)) as container:
        found = dict[str, str]()
        for stream in container.streams.subtitles:
            raw = b"".join(bytes(packet) for packet in container.demux(stream))
            found[stream.metadata["language"]] = raw.decode("utf-8", "replace")
            container.seek(0)
        return found


def post(
    uploads: Path, format: str, body: Any, query: str = "", language: str = "en"
) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes(uploads)))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            return await client.post(
                f"/film/{format}{query}",
                content=body if isinstance(body, str) else json.dumps(body),
                headers={"accept-language": language},
            )

    return asyncio.run(ask())


def sent(upload: Path | None, talk: Translation = TALK) -> dict[str, Any]:
    return {**as_data(talk, Show.BOTH), "upload": str(upload)}


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder, temporary = tmp_path / "uploads", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (folder / "talk.mkv").write_bytes(film("matroska", "libopus", SOUND, lambda t: t))
    yield folder
    assert list(temporary.iterdir()) == []  # nothing stays of a video


@pytest.mark.parametrize("format", ["mkv", "mp4"])
def test_a_video_comes_back_with_both_texts_and_nothing_encoded_again(
    uploads: Path, tmp_path: Path, format: str
) -> None:
    video, out = uploads / "talk.mkv", tmp_path / f"out.{format}"
    reply = post(uploads, format, sent(video))
    assert reply.status_code == 200
    assert 'filename="talk.captions.' in reply.headers["content-disposition"]
    out.write_bytes(reply.content)
    assert packets(out) == packets(video)
    tracks = captions(out)
    assert list(tracks) == ["jpn", "eng"]
    assert "直した。" in tracks["jpn"]
    assert "I said it." in tracks["eng"]
    out.write_bytes(post(uploads, format, sent(video), "?show=source").content)
    assert list(captions(out)) == ["eng"]


def test_a_text_that_nobody_wrote_down_makes_no_track(uploads: Path, tmp_path: Path) -> None:
    talk = Translation([Segment(0.5, 1.5, "はい。", Direction.EN_JA)], Direction.EN_JA, 4.0)
    (tmp_path / "out.mkv").write_bytes(
        post(uploads, "mkv", sent(uploads / "talk.mkv", talk)).content
    )
    assert list(captions(tmp_path / "out.mkv")) == ["jpn"]


def test_what_cannot_be_is_said_in_both_languages(uploads: Path) -> None:
    video = uploads / "talk.mkv"
    (uploads / "two.mkv").write_bytes(2 * video.read_bytes())
    (uploads / "sound.flac").write_bytes((EXAMPLES / "en_1.flac").read_bytes())
    web = soxr.resample(load_audio(EXAMPLES / "en_1.flac"), SAMPLE_RATE, 48_000)
    (uploads / "web.webm").write_bytes(encoded("webm", "libopus", web, 48_000, video="libvpx"))
    jumped = Translation(
        TALK.segments, Direction.EN_JA, 4.0, remarks=(Remark(RemarkKind.JUMPED, 1, 9),)
    )
    for upload, talk, english, japanese in (
        ("two.mkv", TALK, "two.mkv is several recordings in one", "two.mkv は複数の録画"),
        ("sound.flac", TALK, "sound.flac has no pictures", "sound.flac には映像がない"),
        ("talk.mkv", jumped, "The clock of talk.mkv jumps", "talk.mkv は時刻が飛ぶ"),
        (
            "web.webm",
            TALK,
            "web.webm cannot be written as mp4",
            "mp4 形式で保存することはできません",
        ),
    ):
        reply = post(uploads, "mp4", sent(uploads / upload, talk), language="ja")
        assert reply.status_code == 400
        assert japanese in reply.json()["error"]
        assert english in reply.json()["words"]["en"]
        assert japanese in reply.json()["words"]["ja"]


def test_only_uploads_are_given_back(uploads: Path, tmp_path: Path) -> None:
    (tmp_path / "own.mkv").write_bytes((uploads / "talk.mkv").read_bytes())
    for upload in (tmp_path / "own.mkv", None, uploads / ".." / "own.mkv"):
        reply = post(uploads, "mkv", sent(upload))
        assert (reply.status_code, reply.json()["error"]) == (
            404,
            "Only uploads are translated: links and files of the server are not opened.",
        )
    reply = post(uploads, "mkv", sent(uploads / "gone.mkv"))
    assert reply.status_code == 404
    assert "deleted after an hour" in reply.json()["error"]
    assert post(uploads, "exe", sent(uploads / "talk.mkv")).status_code == 404
    for body in ("", "[]", '"a"', '{"segments": 5}'):
        assert post(uploads, "mkv", body).status_code == 400


@pytest.mark.slow
def test_programs_get_a_video_with_captions(space: str, tmp_path: Path) -> None:
    video = tmp_path / "talk.mp4"
    sound = load_audio(EXAMPLES / "en_1.flac")
    video.write_bytes(encoded("mp4", "aac", sound, SAMPLE_RATE, video="mpeg4"))
    client = Client(space, verbose=False)
    path = client.predict(handle_file(str(video)), format="mp4", show="both", api_name="/captions")
    assert Path(path).name == "talk.captions.mp4"
    tracks = captions(Path(path))
    assert reference("en_1")[:6] in tracks["jpn"].replace("\n", "")
    assert "post office" in tracks["eng"].replace("\n", " ")
    assert packets(Path(path)) == packets(video)
    with pytest.raises(AppError, match="has no pictures"):
        client.predict(handle_file(str(EXAMPLES / "en_1.flac")), format="mkv", api_name="/captions")
