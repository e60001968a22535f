"""The engine on a server: what is asked, and what is made of the answers."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import EXAMPLES
from vllm_stand_in import TAG, Handler, Server, clips, endless, samples

from speech_translation import cli, load_audio, translate
from speech_translation.engine import Request, remote
from speech_translation.engine.remote import RemoteEngine
from speech_translation.errors import EngineError
from speech_translation.types import SAMPLE_RATE, Direction, Flag

AUTO, EN_JA, JA_EN = Direction.AUTO, Direction.EN_JA, Direction.JA_EN

pytestmark = pytest.mark.usefixtures("short_pauses")


def test_an_automatic_direction_is_the_one_the_model_names(serve: Callable[..., Server]) -> None:
    engine = RemoteEngine([serve().url])
    (hypothesis,) = engine.generate(Request(clips(1), AUTO))
    assert (hypothesis.text, hypothesis.direction) == ("8000個", EN_JA)
    assert hypothesis.tokens == 6
    assert hypothesis.mean_logprob == -0.5  # without the tag
    assert not hypothesis.flags
    assert engine.description.startswith("phrasebook on http://127.0.0.1:")


def test_the_direction_alone_takes_no_more_than_the_tag(serve: Callable[..., Server]) -> None:
    server = serve()
    request = Request(clips(1), AUTO, only_direction=True)
    (hypothesis,) = RemoteEngine([server.url]).generate(request)
    assert (hypothesis.text, hypothesis.direction) == ("", EN_JA)
    assert hypothesis.mean_logprob < 0
    assert server.asked[0][1]["max_completion_tokens"] == 4


def test_a_forced_direction_is_the_beginning_of_the_answer(serve: Callable[..., Server]) -> None:
    server = serve()
    engine = RemoteEngine([server.url])
    (hypothesis,) = engine.generate(Request(clips(1), EN_JA, context="Kyoto <|im_end|>"))
    assert (hypothesis.text, hypothesis.direction) == ("8000個", EN_JA)
    (_, body), *rest = server.asked
    assert not rest
    assert body["messages"][-1] == {"role": "assistant", "content": "language Japanese<asr_text>"}
    assert body["messages"][0] == {"role": "system", "content": "Kyoto"}
    assert (body["temperature"], body["continue_final_message"]) == (0, True)
    assert "training" in engine.description


def test_a_server_without_our_template_is_found_out_once(serve: Callable[..., Server]) -> None:
    server = serve(renders=False)
    engine = RemoteEngine([server.url], in_flight=1)
    assert [x.text for x in engine.generate(Request(clips(3), EN_JA))] == ["訳"] * 3
    chat, translations = "/v1/chat/completions", "/v1/audio/translations"
    assert server.paths() == [chat, translations, translations, translations]
    assert b'name="to_language"\r\n\r\nja\r\n' in server.asked[-1][1]
    assert "/audio/translations" in engine.description
    assert engine.generate(Request(clips(1), AUTO))[0].text == "8000個"


def test_the_samples_arrive_as_they_are(serve: Callable[..., Server]) -> None:
    server = serve()
    sent = clips(1)
    RemoteEngine([server.url]).generate(Request(sent, AUTO))
    np.testing.assert_array_equal(samples(server.asked[0][1]), sent[0])


@pytest.mark.parametrize("direction", [AUTO, EN_JA])
@pytest.mark.parametrize("translations", [False, True])
def test_what_a_terminal_would_act_on_is_left_out(
    serve: Callable[..., Server], direction: Direction, translations: bool
) -> None:
    said = ["\x1b[31m", "訳\r", "\u202e\x00\u3000文\n", "\x9b2J"]

    def evil(handler: Handler) -> bool:
        if handler.path.endswith("/translations"):
            handler.answer({"text": "".join(said)})
        elif translations and direction is EN_JA:
            handler.answer({"error": "no such final message"}, 400)
        else:
            handler.stream([*(TAG if direction is AUTO else []), *said], "stop")
        return True

    heard = list[str]()
    engine = RemoteEngine([serve(fault=evil).url])
    asked = Request(clips(1), direction, on_text=lambda _, text: heard.append(text))
    (hypothesis,) = engine.generate(asked)
    assert hypothesis.text == "[31m訳\u3000文\n2J"
    assert heard[-1] == hypothesis.text
    assert "\x1b" not in "".join(heard)


def test_an_answer_cut_at_the_limit_is_flagged(serve: Callable[..., Server]) -> None:
    def fault(handler: Handler) -> bool:
        handler.stream([*TAG, "あ"], "length")
        return True

    (hypothesis,) = RemoteEngine([serve(fault=fault).url]).generate(Request(clips(1), AUTO))
    assert hypothesis.flags == {Flag.TRUNCATED}


@pytest.mark.parametrize("only_direction", [False, True])
def test_scores_that_are_no_numbers_end_the_translation(
    serve: Callable[..., Server], only_direction: bool
) -> None:
    def no_numbers(handler: Handler) -> bool:
        handler.stream(["!"] * 5, "length", score=None)  # what vLLM sends for NaN
        return True

    engine = RemoteEngine([serve(fault=no_numbers).url])
    with pytest.raises(EngineError, match="no numbers on the server: start vLLM with --dtype"):
        engine.generate(Request(clips(1), AUTO, only_direction=only_direction))


def test_text_grows_as_the_server_sends_it(serve: Callable[..., Server]) -> None:
    heard = list[tuple[int, str]]()
    engine = RemoteEngine([serve().url])
    engine.generate(
        Request(clips(2), AUTO, on_text=lambda index, text: heard.append((index, text)))
    )
    assert [text for index, text in heard if index == 0] == ["80", "8000個"]
    assert [text for index, text in heard if index == 1] == ["80", "8001個"]


def test_a_stop_ends_the_generation(serve: Callable[..., Server]) -> None:
    engine = RemoteEngine([serve(fault=endless).url])
    seen = list[str]()
    engine.generate(
        Request(
            clips(1),
            AUTO,
            on_text=lambda _, text: seen.append(text),
            cancelled=lambda: len(seen) >= 3,
        )
    )
    assert len(seen) == 3


def test_many_are_in_flight_up_to_the_bound_and_come_back_in_order(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    server.gate = threading.Barrier(4)
    hypotheses = RemoteEngine([server.url], in_flight=4).generate(Request(clips(20), AUTO))
    assert [x.text for x in hypotheses] == [f"{8000 + i}個" for i in range(20)]
    assert server.most == 4


def test_jobs_are_as_many_requests_at_a_time(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    server.gate = threading.Barrier(24)
    (tmp_path / "in").mkdir()
    for i in range(48):
        (tmp_path / "in" / f"{i}.flac").symlink_to(EXAMPLES / "en_1.flac")
    command = [str(tmp_path / "in"), "--output-dir", str(tmp_path / "out"), "--jobs", "24"]
    assert cli.main([*command, "--engine-url", server.url]) == 0
    assert server.most == 24
    assert capsys.readouterr().err.splitlines()[-1].startswith("48 files done")
    texts = {path.read_text("utf-8") for path in (tmp_path / "out").glob("*.txt")}
    assert len(texts) == 1
    assert len(list((tmp_path / "out").glob("*.txt"))) == 48


def test_a_folder_of_results_knows_the_model_of_the_servers(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = str(EXAMPLES / "en_1.flac"), str(tmp_path)

    def run(*where: str) -> tuple[int, str]:
        return cli.main([clip, "--output-dir", out, *where]), capsys.readouterr().err

    server, elsewhere, other = serve(), serve(), serve(model="another")
    assert run("--engine-url", server.url)[0] == 0
    status, said = run("--engine-url", elsewhere.url)  # servers may be moved
    assert (status, "all was done before" in said) == (0, True)
    for where in (["--engine-url", other.url], ["--model", "another"]):
        status, said = run(*where)
        assert status == 1
        words = "with model 'phrasebook', and this run has model 'another': name another folder"
        assert words in said
        assert (tmp_path / "en_1.txt").exists()
    assert run("--model", "phrasebook")[0] == 0  # the same, by its name


def test_the_key_comes_from_the_environment(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(remote.KEY_VARIABLE, "sk-1")
    server = serve()
    RemoteEngine([server.url])
    assert server.keys == ["Bearer sk-1"]


# Several servers


def test_servers_share_the_work(serve: Callable[..., Server]) -> None:
    servers = [serve(), serve()]
    servers[0].gate = servers[1].gate = threading.Barrier(4)
    RemoteEngine([server.url for server in servers], in_flight=4).generate(Request(clips(20), AUTO))
    assert all(len(server.asked) >= 5 for server in servers)
    assert sum(len(server.asked) for server in servers) == 20


def test_a_server_that_dies_is_replaced(serve: Callable[..., Server]) -> None:
    dying, other = serve(), serve()
    engine = RemoteEngine([dying.url, other.url], in_flight=2)
    dying.shutdown()
    dying.server_close()
    hypotheses = engine.generate(Request(clips(6), AUTO))
    assert [x.text for x in hypotheses] == [f"{8000 + i}個" for i in range(6)]
    assert len(other.asked) >= 5  # a connection that was open may have been answered


def test_a_second_of_sound_is_bounded_in_tokens(serve: Callable[..., Server]) -> None:
    server = serve()
    RemoteEngine([server.url]).generate(Request([np.zeros(SAMPLE_RATE, np.float32)], AUTO))
    assert server.asked[0][1]["max_completion_tokens"] == 36


@pytest.mark.parametrize("renders", [True, False])
def test_what_was_said_is_a_second_request(serve: Callable[..., Server], renders: bool) -> None:
    server = serve(renders)
    engine = RemoteEngine([server.url])
    sound = load_audio(EXAMPLES / "en_1.flac")
    translation = translate(sound, engine, EN_JA, transcriber=engine)
    assert translation.source_text == translation.text != ""
    if renders:
        tags = [body["messages"][-1]["content"] for _, body in server.asked]
        assert tags == ["language Japanese<asr_text>", "language English<asr_text>"]
    else:
        forms = [body for path, body in server.asked if path.endswith("translations")]
        written = [re.search(rb'name="to_language"\r\n\r\n(\w+)', form) for form in forms]
        assert [found and found[1] for found in written] == [b"ja", b"en"]
