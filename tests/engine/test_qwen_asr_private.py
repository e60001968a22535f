"""The private parts of qwen-asr and transformers that are used: there, and of the same meaning."""

import ast
import copy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from speech_translation import load_engine
from speech_translation.engine.local import LocalEngine
from speech_translation.engine.qwen_asr_private import (
    audio_tokens,
    empty_model,
    prompt_text,
    wrap,
)

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = ROOT / "speech_translation" / "engine" / "qwen_asr_private.py"


@pytest.fixture(scope="module")
def asr() -> Any:
    engine = load_engine("phrasebook", "cpu")
    assert isinstance(engine, LocalEngine)
    return engine.asr


def test_the_versions_are_those_that_were_read() -> None:
    assert version("qwen-asr") == "0.0.6"
    assert version("transformers").startswith("4.57.")


@pytest.mark.parametrize("frames", [1, 8, 9, 99, 100, 101, 250, 800, 1234])
def test_the_length_formula_is_what_the_encoder_does(asr: Any, frames: int) -> None:
    features = torch.zeros(128, frames)
    with torch.inference_mode():
        encoded = asr.model.thinker.audio_tower(features, torch.tensor([frames])).last_hidden_state
    assert int(audio_tokens(torch.tensor([frames]))[0]) == len(encoded)


def test_a_second_is_thirteen_tokens_and_a_window_a_hundred_and_four() -> None:
    assert audio_tokens(torch.tensor([100, 800, 3000])).tolist() == [13, 104, 390]


@pytest.mark.parametrize("context", ["", "Kyoto, Osaka"])
def test_the_prompt_is_the_chat_template_s(asr: Any, context: str) -> None:
    turns = [
        {"role": "system", "content": context},
        {"role": "user", "content": [{"type": "audio", "audio": ""}]},
    ]
    template = asr.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert prompt_text(asr, context, None) == template
    assert prompt_text(asr, context, "Japanese") == template + "language Japanese<asr_text>"


def test_a_wrapped_model_is_the_one_that_was_given() -> None:
    model = torch.nn.Linear(1, 1)
    assert wrap(model).model is model


def test_an_empty_model_takes_no_memory_but_for_its_buffers(asr: Any) -> None:
    empty = empty_model(copy.deepcopy(asr.model.config))  # it is written to
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    assert {buffer.device.type for buffer in empty.buffers()} == {"cpu"}
    assert type(empty) is type(asr.model)


def private_imports(path: Path) -> list[str]:
    found = list[str]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(
            ("qwen_asr", "transformers")
        ):
            found += [alias.name for alias in node.names if alias.name.startswith("_")]
        elif isinstance(node, ast.Attribute) and node.attr in {
            "_build_text_prompt",
            "_from_config",
            "_attn_implementation",
            "_attn_implementation_internal",
            "_sklearn_available",
            "_scipy_available",
        }:
            found.append(node.attr)
    return found


def test_no_other_file_names_a_private_part() -> None:
    assert private_imports(PRIVATE)
    rooms = ["speech_translation", "web", "training", "phrasebook", "evaluation", "examples"]
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 50
    named = {path: private_imports(path) for path in files if path != PRIVATE}
    assert {path: names for path, names in named.items() if names} == {}
