"""The times of words: the real class of qwen-asr on a random model of the aligner's architecture.

Such a model says nothing true about time, so it is only tested that its answers arrive whole.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import EXAMPLES, clip
from tiny_checkpoint import PAIRS

from phrasebook.architecture import CHAT_TEMPLATE, build_tokenizer, small_config
from speech_translation import cli, load_engine, translate
from speech_translation.captions import cues, render
from speech_translation.engine.aligner import ForcedAligner, load_aligner
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.errors import EngineError, ModelError
from speech_translation.types import SAMPLE_RATE, Direction, Language, Segment, Translation, Word

MARK = "<timestamp>"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as Qwen/Qwen3-ForcedAligner-0.6B is one, with random weights."""
    from qwen_asr.core.transformers_backend import (
        Qwen3ASRForConditionalGeneration,
        Qwen3ASRProcessor,
    )
    from transformers import WhisperFeatureExtractor

    torch.manual_seed(0)
    tokenizer = build_tokenizer([text for texts in PAIRS.values() for text in texts], size=400)
    special = [*tokenizer.additional_special_tokens, MARK]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    config = small_config(tokenizer)
    thinker = config.thinker_config
    thinker.model_type, thinker.classify_num = "qwen3_forced_aligner", 40
    thinker.audio_config.encoder_layers = thinker.text_config.num_hidden_layers = 1
    thinker.text_config.vocab_size = len(tokenizer)
    for part in (config, thinker, thinker.text_config):
        part.tie_word_embeddings = False
    config.timestamp_token_id = tokenizer.convert_tokens_to_ids(MARK)
    config.timestamp_segment_time = 80
    folder = tmp_path_factory.mktemp("aligner")
    Qwen3ASRForConditionalGeneration(config).save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    saved["thinker_config"]["model_type"] = "qwen3_forced_aligner"  # the class writes its own
    (folder / "config.json").write_text(json.dumps(saved))
    Qwen3ASRProcessor(
        feature_extractor=WhisperFeatureExtractor(feature_size=128),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def aligner(checkpoint: Path) -> ForcedAligner:
    return load_aligner(str(checkpoint), "cpu")


def in_order(words: Sequence[Word], end: float) -> bool:
    times = [time for word in words for time in (word.start, word.end)]
    return times == sorted(times) and times[0] >= 0 and times[-1] <= end


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("Don't go, Mr. Fog!", Language.ENGLISH, ["Don't", "go", "Mr", "Fog"]),
        ("駅はどこですか？", Language.JAPANESE, ["駅", "は", "どこ", "です", "か"]),
    ],
)
def test_every_word_has_a_time_within_the_sound(
    aligner: ForcedAligner, text: str, language: Language, words: list[str]
) -> None:
    found = aligner.align(clip("en_1"), text, language)
    assert [word.text for word in found] == words
    assert in_order(found, len(clip("en_1")) / SAMPLE_RATE)


def test_a_translation_has_the_words_that_were_said(aligner: ForcedAligner) -> None:
    engine = load_engine("phrasebook", "cpu")
    late = np.concatenate([np.zeros(3 * SAMPLE_RATE, np.float32), clip("en_1")])
    (segment,) = translate(late, engine, transcriber=engine, aligner=aligner).segments
    assert [word.text for word in segment.words][:4] == ["How", "long", "does", "it"]
    assert segment.start <= segment.words[0].start
    assert in_order(segment.words, segment.end + 0.001)
    (plain,) = translate(late, engine, aligner=aligner).segments  # nothing was written down
    assert plain.words == ()


def test_the_command_line_times_words(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(EXAMPLES / "en_1.flac"), "--model", "phrasebook", "--format", "json"]
    command += ["--output-dir", str(tmp_path), "--show", "both"]
    assert cli.main([*command, "--aligner", str(checkpoint)]) == 0
    (segment,) = json.loads((tmp_path / "en_1.json").read_text("utf-8"))["segments"]
    assert [word["text"] for word in segment["words"]][:2] == ["How", "long"]
    assert cli.main(command) == 1  # words without times do not go into the same folder
    assert "results with aligner" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main([str(EXAMPLES / "en_1.flac"), "--aligner", str(checkpoint)])
    assert "add --show both or source" in capsys.readouterr().err


def test_another_checkpoint_is_no_aligner() -> None:
    with pytest.raises(ModelError, match="Qwen3-ForcedAligner"):
        load_aligner(str(PHRASEBOOK_FOLDER), "cpu")


def test_a_failure_is_one_sentence(aligner: ForcedAligner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aligner, "_aligner", None)
    with pytest.raises(EngineError, match="could not be timed"):
        aligner.align(clip("en_1"), "Yes.", Language.ENGLISH)


# Cues


def timed(source: str, *words: tuple[float, float, str]) -> Translation:
    segment = Segment(
        *(0.0, 10.0, "駅です。", Direction.EN_JA),
        source_text=source,
        words=tuple(Word(*word) for word in words),
    )
    return Translation([segment], Direction.EN_JA, 10.0)


def test_cues_follow_the_words() -> None:
    talk = timed("Yes. It's here.", (1.0, 1.5, "Yes"), (6.0, 6.5, "It's"), (6.5, 7.25, "here"))
    assert [(cue.start_ms, cue.end_ms, cue.text) for cue in cues(talk, "source")] == [
        (1000, 1500, "Yes."),
        (6000, 7250, "It's here."),
    ]
    assert "00:00:06,000 --> 00:00:07,250" in render(talk, "srt", "both")


def test_words_that_are_not_those_of_the_text_leave_the_regions() -> None:
    without = cues(timed("It is here."), "source")
    assert cues(timed("It is here.", (1.0, 2.0, "Where")), "source") == without
