"""A Space on ZeroGPU as programs see it: calls, errors of a worker, quotas."""

import asyncio
import base64
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clips import EXAMPLES, TWO_LANGUAGES, clip, reference, two_languages
from device_api import Queued, Refused
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from on_zerogpu import PATIENCE, OnZeroGpu, long, long_text, recording, token, visitor

from speech_translation.engine import load_engine
from speech_translation.segments import POLICIES
from speech_translation.translate import translate
from speech_translation.types import Direction

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("direction", ["en2ja", "auto"])
def test_an_upload_is_translated_in_one_short_call(
    lender: OnZeroGpu, tmp_path: Path, direction: str
) -> None:
    data = visitor(lender, "somebody").predict(
        recording(tmp_path, clip("en_two_sentences")), direction, api_name="/translate_segments"
    )
    assert data["text"] == reference("en_two_sentences")
    (asked,) = lender.api.asked
    assert 10 <= int(asked["durationSeconds"]) <= 25
    assert asked["token"] == token("somebody")
    assert lender.api.wait_for_release(1, PATIENCE)
    assert lender.api.released == [False]
    assert lender.seen()[-1][:2] == ("generate", "worker")


def test_a_long_recording_is_several_calls_of_one_visitor(
    lender: OnZeroGpu, tmp_path: Path
) -> None:
    data = visitor(lender, "patient").predict(
        recording(tmp_path, long()), "en2ja", segments="pause", api_name="/translate_segments"
    )
    expected = translate(
        long(), load_engine("phrasebook"), Direction.EN_JA, policy=POLICIES["pause"]
    )
    assert [s["text"] for s in data["segments"]] == [s.text for s in expected.segments]
    assert [s["start"] for s in data["segments"]] == [
        pytest.approx(s.start, abs=0.01) for s in expected.segments
    ]
    assert len(lender.api.asked) == 9  # of up to eight segments
    assert {asked["token"] for asked in lender.api.asked} == {token("patient")}
    assert lender.api.wait_for_release(9, PATIENCE)
    assert lender.api.released == [False] * 9
    assert token("patient") not in lender.space.log.read_text()


def test_each_sentence_of_two_languages_is_translated(lender: OnZeroGpu, tmp_path: Path) -> None:
    data = visitor(lender).predict(
        recording(tmp_path, two_languages()), api_name="/translate_segments"
    )
    assert [x["direction"] for x in data["segments"]] == ["en2ja", "ja2en"] * 2
    assert all(reference(name) in data["text"] for name in TWO_LANGUAGES)
    assert len(lender.api.asked) == 1


def test_two_visitors_get_their_own_results(lender: OnZeroGpu, tmp_path: Path) -> None:
    names = ["en_two_sentences", "ja_two_sentences"]

    def visit(name: str) -> list[str]:
        folder = tmp_path / name
        folder.mkdir()
        client, sound = visitor(lender, name), recording(folder, clip(name))
        return [client.predict(sound, api_name="/translate") for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(visit, names))
    assert results == [[reference(name)] * 3 for name in names]
    for name in names:
        assert sum(asked["token"] == token(name) for asked in lender.api.asked) == 3


def test_an_example_clip_costs_the_first_visitor_alone(lender: OnZeroGpu) -> None:
    for _ in range(3):
        clip = handle_file(str(EXAMPLES / "ja_2.flac"))
        assert visitor(lender).predict(clip, "ja2en", api_name="/translate") == reference("ja_2")
    assert len(lender.api.asked) == 1


def test_who_waits_in_line_for_a_gpu_gets_one(lender: OnZeroGpu, tmp_path: Path) -> None:
    lender.api.answers.append(Queued())
    sound = recording(tmp_path, clip("ja_two_sentences"))
    heard = visitor(lender).predict(sound, "ja2en", api_name="/translate")
    assert heard == reference("ja_two_sentences")
    assert len(lender.api.asked) == 1


def test_an_mcp_tool_uses_the_quota_of_its_caller(lender: OnZeroGpu) -> None:
    async def call() -> str:
        url, headers = lender.space.url + "gradio_api/mcp/", {"x-ip-token": token("tool")}
        async with (
            streamablehttp_client(url, headers=headers) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            name = next(tool.name for tool in tools if tool.name.endswith("translate"))
            sound = base64.b64encode((EXAMPLES / "ja_two_sentences.flac").read_bytes()).decode()
            arguments = {"audio": f"data:audio/flac;base64,{sound}", "direction": "ja2en"}
            answer = await session.call_tool(name, arguments)
            return str(answer.content[0].text)  # type: ignore[union-attr]

    assert asyncio.run(call()) == reference("ja_two_sentences")
    assert [asked["token"] for asked in lender.api.asked] == [token("tool")]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("sentence Too long for cuda:0: use less.", "Too long for cuda:0: use less."),
        ("bug with a word of the visitor", "The translation failed on our side"),
    ],
)
def test_an_error_of_the_worker_is_a_sentence_and_the_next_request_works(
    lender: OnZeroGpu, tmp_path: Path, fault: str, words: str
) -> None:
    client, sound = visitor(lender), recording(tmp_path, clip("en_two_sentences"))
    lender.fail(fault)
    with pytest.raises(AppError, match=re.escape(words)):
        client.predict(sound, "en2ja", api_name="/translate")
    assert lender.api.wait_for_release(1, PATIENCE)
    assert lender.api.released == [True]  # the worker may be spoilt
    lender.fail("")
    assert client.predict(sound, "en2ja", api_name="/translate") == reference("en_two_sentences")
    assert "word of the visitor" not in lender.space.log.read_text()


def test_a_gpu_that_is_taken_away_is_said_in_words(lender: OnZeroGpu, tmp_path: Path) -> None:
    client, sound = visitor(lender, language="ja"), recording(tmp_path, clip("en_two_sentences"))
    lender.fail("wait 0")
    job = client.submit(sound, "en2ja", api_name="/translate")
    os.kill(lender.until_it_waits(), signal.SIGKILL)
    with pytest.raises(AppError, match="GPU の割り当てが打ち切られました"):
        job.result(timeout=PATIENCE)
    lender.fail("")
    assert client.predict(sound, "en2ja", api_name="/translate") == reference("en_two_sentences")


PRO, FREE = {"X-Authenticated": "pro"}, {"X-Authenticated": "regular"}


@pytest.mark.parametrize(
    ("name", "refused", "language", "words"),
    [
        ("x", Refused(4, 86340), "en", r"and 4 s are left\. There is more in 23:59:00\. Sign in"),
        ("x", Refused(4, 86340), "ja", r"残りは 4 秒です。23:59:00 後.*ログイン"),
        ("x", Refused(4, 600, FREE), "en", r"There is more in 10:00\. A PRO account"),
        ("x", Refused(4, 600, PRO), "en", r"There is more in 10:00\. Credits"),
        ("x", Refused(0, 0), "en", r"used up for now\. Sign in"),
        ("", Refused(0, 60), "en", r"used up for now\. Sign in"),
        ("x", Refused(0, -1), "en", "used up for now"),
        (
            "x",
            Refused(0, 1, {"X-Approve-Result": "pending-overquota-exceeded"}),
            "en",
            "are still running",
        ),
        ("x", Refused(status=503), "en", "All GPUs of Hugging Face are in use"),
        ("x", Refused(status=500), "ja", "サーバー側で翻訳に失敗"),
    ],
)
def test_who_has_no_quota_is_told_what_to_do(
    lender: OnZeroGpu, tmp_path: Path, name: str, refused: Refused, language: str, words: str
) -> None:
    lender.api.answers.append(refused)
    sound = recording(tmp_path, clip("en_two_sentences"))
    with pytest.raises(AppError, match=words):
        visitor(lender, name, language).predict(sound, "en2ja", api_name="/translate")
    assert lender.api.released == []


@pytest.mark.parametrize("endpoint", ["/translate", "/captions"])
def test_a_program_that_wants_a_text_is_told_when_the_quota_ends_on_the_way(
    lender: OnZeroGpu, tmp_path: Path, endpoint: str
) -> None:
    lender.api.answers += [None, Refused(4, 600)]
    with pytest.raises(AppError, match=r"and 4 s are left.* returned by /translate_segments only"):
        visitor(lender, "x").predict(
            recording(tmp_path, long()), "en2ja", segments="pause", api_name=endpoint
        )
    assert len(lender.api.asked) == 2


def test_a_program_that_wants_segments_keeps_what_was_finished_when_the_quota_ends(
    lender: OnZeroGpu, tmp_path: Path
) -> None:
    lender.api.answers += [None, Refused(4, 600)]
    data = visitor(lender, "x").predict(
        recording(tmp_path, long()), "en2ja", api_name="/translate_segments"
    )
    assert long_text().startswith(data["text"])
    assert len(long_text()) / 4 < len(data["text"]) < len(long_text()) / 2
    assert data["segments"][-1]["end"] < data["duration"] / 2
    assert "and 4 s are left" in data["missing"]
