"""Every system of the benchmark, from a tiny checkpoint to its scores."""

import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import faster_whisper
import numpy as np
import pytest
import torch
from serving import serving
from tiny_checkpoint import make_tiny_checkpoint, write_tone
from tiny_rivals import make_tiny_ct2, make_tiny_granite, make_tiny_seamless, make_tiny_whisper
from torchaudio_stand_in import install
from transformers import AutoProcessor, PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from evaluation.hypotheses import read
from evaluation.rivals import Rival
from evaluation.run import main
from evaluation.systems import SYSTEMS
from speech_translation.audio import load_audio
from speech_translation.engine import Request
from speech_translation.errors import ModelError
from speech_translation.types import SAMPLE_RATE, Direction, Flag, Hypothesis

Load = Callable[[str], Any]

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN
NAMES = [name for name in SYSTEMS if name not in ("phrasebook", "qwen3-asr-vllm", "cascade")]
RIVALS = [name for name in NAMES if not name.startswith("qwen3-asr")]
START = "<|startoftranscript|>"
ONE_WAY = ["whisper-large-v3", "whisper-base"]
BOTH_WAYS = [name for name in NAMES if name not in ONE_WAY]
EVERY = [*((name, JA_EN) for name in NAMES), *((name, EN_JA) for name in BOTH_WAYS)]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rival, "max_new_tokens", 16)


@pytest.fixture(scope="module", autouse=True)
def torchaudio() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        real = importlib.metadata.version
        install(patch)
        patch.setattr(
            importlib.metadata, "version", lambda name: "0" if name == "torchaudio" else real(name)
        )
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("checkpoints")
    qwen = make_tiny_checkpoint(root / "qwen")
    whisper = make_tiny_whisper(root / "whisper", mel_bins=80)
    made = {
        "whisper-large-v3": make_tiny_whisper(root / "whisper-large", mel_bins=128),
        "seamless-m4t-v2-large": make_tiny_seamless(root / "seamless"),
        "whisper-en-ja": whisper,
        "granite-speech": make_tiny_granite(root / "granite"),
        "kotoba-whisper-bilingual": make_tiny_whisper(root / "kotoba", mel_bins=128),
        "qwen3-asr": qwen,
        "qwen3-asr-full-attention": qwen,
        "whisper-base": make_tiny_ct2(root / "ct2", whisper),
    }
    return {name: str(folder) for name, folder in made.items()}


@pytest.fixture(scope="module")
def load(folders: dict[str, str]) -> Load:
    return cache(lambda name: SYSTEMS[name].load(folders[name], "cpu", "float32"))


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Noise: SeamlessM4T's features, normalised band by band, leave only rounding of a tone."""
    return [
        np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)
        for seed, samples in ((0, 9_600), (9, 17_600))
    ]


def said(hypothesis: Hypothesis) -> tuple[object, ...]:
    return hypothesis.text, hypothesis.tokens, hypothesis.flags, hypothesis.direction


@pytest.mark.parametrize(("name", "direction"), EVERY)
def test_each_clip_of_a_batch_has_its_own_reply(
    load: Load, clips: list[np.ndarray], name: str, direction: Direction
) -> None:
    low, high = load(name).generate(Request(clips, direction))
    assert low.text != high.text
    for reply in (low, high):
        assert reply.direction is direction
        assert reply.tokens > 0
        assert (Flag.NO_SPEECH in reply.flags) == (not reply.text)
    turned = load(name).generate(Request(clips[::-1], direction))
    assert [said(reply) for reply in turned] == [said(high), said(low)]


# At half of all lengths SeamlessM4T's adapter looks beyond the clip, into the padding.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "seamless-m4t-v2-large"])
def test_a_batch_says_what_its_clips_say_alone(
    load: Load, clips: list[np.ndarray], name: str
) -> None:
    together = load(name).generate(Request(clips, JA_EN))
    alone = [load(name).generate(Request([clip], JA_EN))[0] for clip in clips]
    assert [said(reply) for reply in together] == [said(reply) for reply in alone]


@pytest.mark.parametrize("name", [name for name in RIVALS if name != "whisper-base"])
def test_a_reply_ends_at_the_limit(load: Load, clips: list[np.ndarray], name: str) -> None:
    replies = load(name).generate(Request(clips, JA_EN))
    assert max(reply.tokens for reply in replies) == 16


@pytest.mark.parametrize(
    ("name", "direction", "prompt"),
    [
        ("whisper-large-v3", JA_EN, f"{START}<|ja|><|translate|><|notimestamps|>"),
        ("whisper-en-ja", JA_EN, f"{START}<|ja|><|translate|><|notimestamps|>"),
        ("whisper-en-ja", EN_JA, f"{START}<|en|><|translate|><|notimestamps|>"),
        (
            "kotoba-whisper-bilingual",
            JA_EN,
            "<|startoftranscript|><|en|><|translate|><|notimestamps|>",
        ),
        (
            "kotoba-whisper-bilingual",
            EN_JA,
            "<|startoftranscript|><|ja|><|translate|><|notimestamps|>",
        ),
        ("seamless-m4t-v2-large", JA_EN, "</s>__eng__"),
        ("seamless-m4t-v2-large", EN_JA, "</s>__jpn__"),
    ],
)
def test_whisper_is_told_the_language_spoken_and_others_the_one_to_write(
    load: Load, clips: list[np.ndarray], name: str, direction: Direction, prompt: str
) -> None:
    engine = load(name)
    seen: list[torch.Tensor] = []
    hook = engine.model.get_decoder().register_forward_pre_hook(
        lambda _, args, options: seen.append(options["input_ids"]), with_kwargs=True
    )
    engine.generate(Request(clips, direction))
    hook.remove()
    tokens = engine.processor.tokenizer.convert_ids_to_tokens
    assert ["".join(tokens(row)) for row in seen[0].tolist()] == [prompt, prompt]


@pytest.mark.parametrize(("direction", "language"), [(JA_EN, "English"), (EN_JA, "Japanese")])
def test_granite_is_asked_in_words_with_a_place_for_each_frame(
    load: Load, clips: list[np.ndarray], direction: Direction, language: str
) -> None:
    engine = load("granite-speech")
    seen: list[torch.Tensor] = []
    hook = engine.model.register_forward_pre_hook(
        lambda _, args, options: seen.append(options["input_ids"]), with_kwargs=True
    )
    engine.generate(Request(clips[:1], direction))
    hook.remove()
    prompt = "".join(engine.processor.tokenizer.convert_ids_to_tokens(seen[0][0].tolist()))
    assert f"<|audio|>translate the speech to {language}.<|end_of_text|>" in prompt
    assert prompt.endswith("<|start_of_role|>assistant<|end_of_role|>")
    assert prompt.count("<|audio|>") == 6  # 0.6 s: 10 a second, in blocks of three


def test_faster_whisper_is_told_to_translate_japanese(
    load: Load, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("whisper-base").model
    prompts: list[list[int]] = []
    decode = model.generate_with_fallback

    def spied(features: Any, prompt: list[int], *rest: Any) -> Any:
        prompts.append(prompt)
        return decode(features, prompt, *rest)

    monkeypatch.setattr(model, "generate_with_fallback", spied)
    load("whisper-base").generate(Request(clips[:1], JA_EN))
    tokens = [model.hf_tokenizer.id_to_token(i) for i in prompts[0]]
    assert tokens == ["<|startoftranscript|>", "<|ja|>", "<|translate|>"]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("whisper-large-v3", {"logprob_threshold": -1.0, "num_beams": 1}),
        ("seamless-m4t-v2-large", {"num_beams": 5}),
        ("whisper-base", {"beam_size": 5}),
    ],
)
def test_a_system_decodes_as_its_authors_recommend_where_that_is_asked(
    folders: dict[str, str],
    clips: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    asked: dict[str, Any],
) -> None:
    engine: Any = SYSTEMS[name].load(folders[name], "cpu", "float32")
    method = "transcribe" if name == "whisper-base" else "generate"
    heard: list[dict[str, Any]] = []
    real = getattr(engine.model, method)

    def spied(*arguments: Any, **options: Any) -> Any:
        heard.append(options)
        return real(*arguments, **options)

    monkeypatch.setattr(engine.model, method, spied)
    engine.recommended = True
    first, second = (engine.generate(Request(clips, JA_EN)) for _ in range(2))
    assert asked.items() <= heard[0].items()
    assert "do_sample" not in heard[0] or not heard[0]["do_sample"]
    assert [said(x) for x in first] == [said(x) for x in second]  # what is drawn is drawn again
    engine.recommended = False
    heard.clear()
    engine.generate(Request(clips, JA_EN))
    assert 1 in (heard[0].get("num_beams"), heard[0].get("beam_size"))


@pytest.mark.parametrize("name", [name for name in RIVALS if name != "whisper-base"])
def test_the_precision_asked_for_is_used(
    folders: dict[str, str], clips: list[np.ndarray], name: str
) -> None:
    engine: Any = SYSTEMS[name].load(folders[name], "cpu", "bfloat16")
    assert engine.description == f"{folders[name]} on cpu in bfloat16"
    assert engine.model.dtype is torch.bfloat16
    assert len(engine.generate(Request(clips, JA_EN))) == 2


def test_full_attention_is_the_same_model_without_the_window(load: Load) -> None:
    """The window is 8 s long: below that nothing differs."""
    noise = np.random.default_rng(1).normal(0, 0.1, 12 * SAMPLE_RATE).astype(np.float32)
    for seconds, alike in ((6, True), (12, False)):
        windowed, full = (
            load(name).generate(Request([noise[: seconds * SAMPLE_RATE]], JA_EN))[0].mean_logprob
            for name in ("qwen3-asr", "qwen3-asr-full-attention")
        )
        assert (windowed == pytest.approx(full, rel=1e-5)) is alike


@pytest.mark.parametrize(
    ("name", "direction"),
    [*((name, EN_JA) for name in ONE_WAY), *((name, Direction.AUTO) for name in RIVALS)],
)
def test_a_direction_that_a_system_lacks_is_said(
    load: Load, clips: list[np.ndarray], name: str, direction: Direction
) -> None:
    with pytest.raises(ModelError, match=f"does not translate {direction.value}"):
        load(name).generate(Request(clips, direction))


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_that_is_not_there_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    output = tmp_path / "said.jsonl"
    asked = ["--model", "no/such/folder", "--device", "cpu", "--output", str(output)]
    assert main(["generate", "--system", name, *asked]) == 1
    assert "no/such/folder" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "parts"),
    [("whisper-large-v3", 2), ("seamless-m4t-v2-large", 2), ("whisper-base", 1)],
)
def test_a_rival_is_loaded_at_its_revision(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, parts: int
) -> None:
    """The Hub's part is a folder here, for the libraries' own loading."""
    asked = list[tuple[str, str]]()

    def at_hub(real: Any) -> Any:
        def load(cls: Any, checkpoint: str, **options: Any) -> Any:
            if not Path(checkpoint).is_dir():
                asked.append((checkpoint, options.pop("revision")))
                checkpoint = folders[name]
            return real(cls, checkpoint, **options)

        return load

    for kind in (PreTrainedModel, ProcessorMixin, AutoProcessor):
        real: Any = kind.from_pretrained
        monkeypatch.setattr(kind, "from_pretrained", classmethod(at_hub(real.__func__)))
    monkeypatch.setattr(
        faster_whisper.WhisperModel, "__init__", at_hub(faster_whisper.WhisperModel.__init__)
    )
    engine = SYSTEMS[name].load("some/model@v1", "cpu", "float32")
    assert asked == [("some/model", "v1")] * parts
    assert engine.description == "some/model@v1 on cpu in float32"


def test_without_faster_whisper_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ModelError, match="faster-whisper is not installed: pip install"):
        SYSTEMS["whisper-base"].load("any", "cpu", "float32")


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_becomes_scores_for_each_direction(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_tone(tmp_path / "en.wav", 300, 0.6)
    write_tone(tmp_path / "ja.wav", 900, 1.1)
    samples = [
        {"audio": "en.wav", "direction": "en2ja", "text": "駅はどこですか？"},
        {"audio": "ja.wav", "direction": "ja2en", "text": "Good morning."},
    ]
    manifest, output = tmp_path / "manifest.jsonl", tmp_path / "said.jsonl"
    manifest.write_text("\n".join(map(json.dumps, samples)), "utf-8")
    data = ["--data", str(manifest), "--output", str(output), "--batch-size", "2"]
    assert main(["generate", "--system", name, "--model", folders[name], *data]) == 0
    capsys.readouterr()
    assert main(["score", str(output)]) == 0
    scores = capsys.readouterr().out
    assert SYSTEMS[name].title in scores
    assert "JA->EN: n 1, sentences 1, errors 0" in scores
    assert ("EN->JA: n 1, sentences 1, errors 0" in scores) == (name in BOTH_WAYS)


class Translator(BaseHTTPRequestHandler):
    """Says what it was asked to translate, and from what into what."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        text = "翻訳です。" if "into Japanese" in body["messages"][0]["content"] else "A text."
        reply = json.dumps({"choices": [{"message": {"content": f"<think>?</think>{text}"}}]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply.encode())

    def log_message(self, *_: object) -> None: ...


def test_a_cascade_transcribes_and_has_the_text_translated(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(tmp_path / "en.wav", 300, 0.6)
    write_tone(tmp_path / "ja.wav", 900, 1.1)
    samples = [
        {"audio": "en.wav", "direction": "en2ja", "text": "駅はどこですか？"},
        {"audio": "ja.wav", "direction": "ja2en", "text": "Good morning."},
    ]
    manifest, output = tmp_path / "manifest.jsonl", tmp_path / "said.jsonl"
    manifest.write_text("\n".join(map(json.dumps, samples)), "utf-8")
    command = ["generate", "--system", "cascade", "--model", folders["qwen3-asr"]]
    command += ["--data", str(manifest), "--output", str(output)]
    assert main(command) == 1
    assert "--translator-url" in capsys.readouterr().err
    Translator.asked.clear()
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Translator)) as server:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        assert main([*command, "--translator-url", url, "--translator", "the-translator"]) == 0
    header, lines = read(output)
    assert header["engine"].endswith("then the-translator")
    assert [line.text for line in lines] == ["翻訳です。", "A text."]
    asked = sorted(body["messages"][0]["content"][:60] for body in Translator.asked)
    assert "from English into Japanese" in asked[0]
    assert "from Japanese into English" in asked[1]
    # What it heard is what the model writes when it is told to write the language spoken.
    engine = SYSTEMS["qwen3-asr"].load(folders["qwen3-asr"], "cpu", "float32")
    (heard,) = engine.generate(Request([load_audio(tmp_path / "en.wav")], JA_EN))
    assert heard.text in [body["messages"][1]["content"] for body in Translator.asked]
