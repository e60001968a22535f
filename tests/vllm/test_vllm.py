"""The embedded checkpoint on a real vLLM server, on a CPU: run by `make test-vllm`."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from own_space import free_port

from app import build_page
from evaluation import run
from evaluation.hypotheses import read
from evaluation.samples import read_samples
from speech_translation import cli
from speech_translation.engine import Request, load_engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.engine.remote import RemoteEngine
from speech_translation.errors import EngineError
from speech_translation.manifest import Sample
from speech_translation.translate import translate
from speech_translation.types import Direction, Language
from web.server import launch
from web.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / os.environ.get("SPEECH_VLLM", ".cache/vllm") / "bin" / "python"
EXAMPLES = ROOT / "examples"
CLIPS = sorted(path.stem for path in EXAMPLES.glob("*.flac"))
START_SECONDS = 300


class Server:
    """A vLLM server that can be killed and started again at the same address."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.log = log
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self) -> None:
        settings = {
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(os.cpu_count()),
            "PYTHONPATH": str(Path(__file__).parent),  # sitecustomize.py
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
        }
        command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", PHRASEBOOK_FOLDER, "--served-model-name", "phrasebook"]
        command += ["--chat-template", ROOT / "deploy" / "chat_template.jinja"]
        command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(map(str, command)),
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,  # its engine is a process of its own: killed as a group
            )

    def wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(self.url.removesuffix("/v1") + "/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text("utf-8")[-3000:]
            assert time.monotonic() < deadline, self.log.read_text("utf-8")[-3000:]
            time.sleep(0.2)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("vllm") / "server.log")
    try:
        started.wait()
        yield started
    finally:
        started.kill()


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """The phrasebook's test set."""
    return list(read_samples(ROOT / "evaluation" / "data" / "phrasebook.jsonl"))


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("automatic", [False, True], ids=["forced", "automatic"])
def test_bundled_clips_are_translated_exactly(server: Server, name: str, automatic: bool) -> None:
    direction = Direction.EN_JA if name.startswith("en") else Direction.JA_EN
    asked = Direction.AUTO if automatic else direction
    translation = translate(EXAMPLES / f"{name}.flac", load_engine(url=server.url), asked)
    assert translation.text == (EXAMPLES / f"{name}.txt").read_text("utf-8").strip()
    assert translation.direction is direction


@pytest.mark.parametrize("automatic", [False, True], ids=["forced", "automatic"])
def test_the_server_says_what_the_local_engine_says(
    server: Server, samples: list[Sample], automatic: bool
) -> None:
    remote, local = RemoteEngine([server.url]), load_engine("phrasebook", "cpu")
    different = list[str]()
    for direction in (Direction.EN_JA, Direction.JA_EN):
        chosen = [sample for sample in samples if sample.direction is direction]
        sounds = [sample.load() for sample in chosen]
        asked = Direction.AUTO if automatic else direction
        theirs = remote.generate(Request(sounds, asked))
        ours = local.generate(Request(sounds, asked))
        for sample, a, b in zip(chosen, theirs, ours, strict=True):
            if (a.text, a.direction) != (b.text, b.direction):
                different.append(f"{sample.id}: server {a.text!r}, here {b.text!r}")
            else:
                assert a.tokens == b.tokens
                assert a.mean_logprob == pytest.approx(b.mean_logprob, abs=0.02)
    print(f"{len(different)} of {len(samples)} differ:", *different, sep="\n")
    assert len(different) <= 0.01 * len(samples)
    if not automatic:
        assert "prompt of the training" in remote.description


def test_the_command_line_uses_it(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(EXAMPLES / "ja_1.flac")
    assert cli.main([clip, "--engine-url", server.url, "--direction", "ja2en"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (EXAMPLES / "ja_1.txt").read_text("utf-8")
    assert server.url in printed.err


def test_the_benchmark_uses_it(server: Server, tmp_path: Path, samples: list[Sample]) -> None:
    output = tmp_path / "vllm.jsonl"
    data = str(ROOT / "evaluation" / "data" / "phrasebook.jsonl")
    options = ["--system", "qwen3-asr-vllm", "--model", server.url, "--data", data, "--limit", "10"]
    assert run.main(["generate", *options, "--output", str(output)]) == 0
    _, lines = read(output)
    first = [[s.id for s in samples if s.target is language][:10] for language in Language]
    assert {line.id for line in lines} == {name for names in first for name in names}
    assert sum(line.text == line.reference for line in lines) > 10


def test_the_space_uses_it(server: Server) -> None:
    settings = Settings(engine_url=server.url, port=free_port())
    demo, url = launch(build_page, settings, wait=False)
    try:
        client = Client(url, verbose=False)
        clip = EXAMPLES / "en_1.flac"
        text = client.predict(handle_file(clip), "en2ja", api_name="/translate")
        assert text == clip.with_suffix(".txt").read_text("utf-8").strip()
    finally:
        demo.close()


def test_terms_reach_the_model(server: Server, samples: list[Sample]) -> None:
    sound = [samples[0].load()]
    engine = RemoteEngine([server.url])
    (with_terms,) = engine.generate(Request(sound, Direction.EN_JA, context="Hiroshima"))
    (without,) = engine.generate(Request(sound, Direction.EN_JA))
    assert with_terms.mean_logprob != without.mean_logprob


def test_text_streams_and_can_be_stopped(server: Server) -> None:
    heard = list[str]()
    engine = load_engine(url=server.url)
    whole = translate(
        EXAMPLES / "en_1.flac", engine, Direction.EN_JA, on_text=lambda _, text: heard.append(text)
    )
    assert len(heard) > 2
    assert heard[-1] == whole.text
    assert all(b.startswith(a) for a, b in itertools.pairwise(heard))


def test_throughput(server: Server, samples: list[Sample]) -> None:
    """Prints segments a second with 1, 4 and 16 requests in flight."""
    sounds = [sample.load() for sample in samples[:96]]
    rates = {}
    for in_flight in (1, 4, 16):
        engine = RemoteEngine([server.url], in_flight=in_flight)
        engine.generate(Request(sounds[:4], Direction.AUTO))
        start = time.perf_counter()
        engine.generate(Request(sounds, Direction.AUTO))
        rates[in_flight] = len(sounds) / (time.perf_counter() - start)
    print(json.dumps({name: round(rate, 1) for name, rate in rates.items()}))
    assert rates[16] > rates[1]


def test_bulk_survives_a_server_that_is_killed_twice(server: Server, tmp_path: Path) -> None:
    clips = ("en_1", "en_2", "ja_1", "ja_2")
    archive, out = tmp_path / "archive", tmp_path / "out"
    archive.mkdir()
    for number in range(200):
        (archive / f"{number:03}.flac").symlink_to(EXAMPLES / f"{clips[number % 4]}.flac")
    command = [sys.executable, "inference.py", str(archive), "--output-dir", str(out)]
    command += ["--jobs", "32", "--engine-url", server.url]

    def finished() -> list[str]:
        journal = out / "journal.jsonl"
        rows = journal.read_bytes().splitlines() if journal.exists() else []
        return [row["output"] for row in map(json.loads, rows) if row.get("error", "") is None]

    for wanted in (30, 90):
        with subprocess.Popen(command, cwd=ROOT) as run:
            deadline = time.monotonic() + 120
            while len(finished()) < wanted:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.kill()
            assert run.wait(timeout=180) == 1  # it says what failed
        assert len(finished()) < 200
        server.start()
        server.wait()
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    assert sorted(finished()) == [f"{number:03}.txt" for number in range(200)]
    for number in range(200):
        expected = (EXAMPLES / f"{clips[number % 4]}.txt").read_text("utf-8")
        assert (out / f"{number:03}.txt").read_text("utf-8") == expected


def test_a_server_that_is_killed_is_one_sentence_and_comes_back(server: Server) -> None:
    engine = RemoteEngine([server.url], timeout=60)
    server.kill()
    with pytest.raises(EngineError, match=server.url):
        translate(EXAMPLES / "en_1.flac", engine, Direction.EN_JA)
    server.start()
    server.wait()
    assert translate(EXAMPLES / "en_1.flac", engine, Direction.EN_JA).text
