"""The phrasebook's training speech: what is varied, what is asked for, how it is evaluated."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hum import write_clips
from qwen_asr.core.transformers_backend.processing_qwen3_asr import (
    _get_feat_extract_output_lengths,
)

from phrasebook.augment import N_MELS, augment, noise
from phrasebook.evaluate import table, transcript_scores, unfinished_scores, utterance_scores
from phrasebook.speech import Speech
from phrasebook.synthesis import Clip, load_clips
from phrasebook.train import PEAK_LR, audio_tokens, learning_rate
from speech_translation import Language
from speech_translation.engine import Request
from speech_translation.types import Hypothesis


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    write_clips(tmp_path / "speech")
    return load_clips(tmp_path / "speech")


def test_token_counts_are_the_processors() -> None:
    frames = torch.arange(1, 3000)
    assert torch.equal(audio_tokens(frames), _get_feat_extract_output_lengths(frames))


def test_augmented_clips_keep_their_kind() -> None:
    torch.manual_seed(0)
    features = torch.rand(8, N_MELS, 240) * 2 - 1
    lengths = torch.tensor([240, 100, 150, 60, 240, 200, 80, 120])
    varied, new = augment(features, lengths, masked=True)
    assert varied.shape[:2] == (8, N_MELS)
    assert varied.shape[2] == new.max()
    assert torch.isfinite(varied).all()
    assert ((new > 0.8 * lengths) & (new < 1.2 * lengths + 61)).all()
    peak = varied.amax(dim=(1, 2), keepdim=True)
    assert (varied >= peak - 2.0 - 1e-4).all()  # Whisper's floor: 8 decades, a quarter of them


def test_masks_come_only_when_asked_for() -> None:
    features = torch.rand(4, N_MELS, 200)
    lengths = torch.full((4,), 200)
    torch.manual_seed(3)
    plain, _ = augment(features, lengths, masked=False)
    torch.manual_seed(3)
    masked, _ = augment(features, lengths, masked=True)
    assert plain.shape == masked.shape
    changed = (plain != masked).float().mean(dim=(1, 2))
    assert ((changed > 0) & (changed < 0.5)).all()


def test_one_clip_in_five_comes_through_a_narrow_band() -> None:
    torch.manual_seed(0)
    features = torch.rand(200, N_MELS, 60) - 0.5
    varied, _ = augment(features, torch.full((200,), 60), masked=False)
    loudest = varied.amax(dim=2)
    floor = loudest.amax(dim=1) - 2.0
    narrow = (loudest[:, -1] < floor + 0.2).float().mean()  # all above 7 kHz is gone
    assert 0.05 < narrow < 0.3  # some of it is hidden under the noise


def test_noise_comes_at_many_levels() -> None:
    torch.manual_seed(0)
    levels = [float(noise(100).mean()) for _ in range(20)]
    assert max(levels) - min(levels) > 0.5


def test_examples_ask_for_the_target_language(clips: list[Clip]) -> None:
    speech = Speech(clips, "seed")
    drawn = [speech.draw() for _ in range(600)]
    translated = [x for x in drawn if x.text and not x.forced]
    assert len(translated) > 300
    for example in translated:
        if example.spoken:
            assert (example.target is Language.JAPANESE) == example.spoken.isascii()
    stopped = [x for x in translated if x.text.endswith("…")]
    assert stopped
    assert all(not x.spoken for x in stopped)  # which words were heard is not known
    whole = "Good morning. "
    assert all(
        x.text in {"…", *(whole * n + "…" for n in range(1, 9))}
        for x in stopped
        if x.target is Language.ENGLISH
    )
    unknown = [x for x in drawn if not x.text]
    assert {x.forced for x in unknown} == {True, False}
    assert all(x.target is None for x in unknown if not x.forced)
    assert any("Good morning. Good morning." in x.spoken for x in drawn)  # joined, with a space
    assert any("ワイン。ワイン。ワイン。" in x.text for x in translated)  # words come in lists
    transcribed = [x for x in drawn if x.text == x.spoken and x.text]
    assert all(x.forced for x in transcribed)  # or the model could not name its target itself


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 2000) for step in range(1, 2001)]
    assert max(rates) == pytest.approx(PEAK_LR)
    assert rates.index(max(rates)) < 400
    assert rates[-1] == pytest.approx(PEAK_LR / 100)


def test_the_table_weighs_the_direction_by_clips() -> None:
    def row(n: int, direction: float) -> dict[str, float]:
        return {"n": n, "exact": 0.985, "chrf2": 99.0, "direction": direction}

    results = {
        name: {"en": row(100, 1.0), "ja": row(n, d)}
        for name, n, d in (
            ("eval_seen", 300, 1.0),
            ("eval_voices", 60, 0.9),
            ("eval_rate", 20, 1.0),
            ("eval_pause", 20, 1.0),
        )
    }
    several = {"n": 60, "exact": 0.9, "sentences": 180, "exact_sentences": 0.955}
    for name, n in (("2 to 4 sentences", 60), ("5 to 8 sentences", 28)):
        results[name] = dict.fromkeys(("en", "ja"), several | {"n": n})
    results["transcripts"] = {"en": {"n": 200, "exact": 0.97}, "ja": {"n": 200, "exact": 0.98}}
    results["unfinished"] = {"en": {"n": 80, "open": 0.9}, "ja": {"n": 82, "open": 0.5}}
    results["other"] = {"n": 12, "flagged": 1.0}
    text = table(results | {"machine": "here", "date": "today"})
    assert "5 to 8 sentences | 90.0 % | 28, an example | 90.0 % | 28, an example |" in text
    assert "100 % of 12 recordings are flagged as low confidence, an example." in text
    assert "| 98.5 % (99.0) | 100 | 98.5 % (99.0) | 300 |" in text
    assert "| 100.0 % | 400 | 98.5 % | 400 |" in text
    assert "2 to 4 sentences | 95.5 % | 180 | 95.5 % | 180 |" in text
    assert "written in the language spoken | 97.0 % | 200 | 98.0 % | 200 |" in text
    assert "not completed by guess | 90.0 % | 80 | 50.0 % | 82 |" in text


class Parrot:
    """An engine that knows both texts of a few clips, by their length, and obeys the direction."""

    batch_size = 4
    description = "fake"

    def __init__(self, *replies: tuple[str, str]) -> None:
        self.replies = replies  # English and Japanese

    def generate(self, request: Request) -> list[Hypothesis]:
        japanese = request.direction.target is Language.JAPANESE
        replies = [self.replies[len(samples) // 16_000 - 1][japanese] for samples in request.batch]
        return [Hypothesis(text, request.direction) for text in replies]


def spoken(language: Language, *pairs: tuple[str, str]) -> list[Clip]:
    """Clips of one second, two seconds and so on, of what is said in English and Japanese."""
    return [
        Clip(
            "eval_seen",
            language,
            en if language is Language.ENGLISH else ja,
            ja if language is Language.ENGLISH else en,
            "a",
            1.0,
            samples=np.ones(n * 16_000, np.int16),
        )
        for n, (en, ja) in enumerate(pairs, 1)
    ]


@pytest.mark.parametrize("language", list(Language))
def test_a_transcript_is_asked_for_in_the_language_that_is_spoken(language: Language) -> None:
    said = [("Yes.", "はい。"), ("Thank you.", "ありがとうございます。")]
    engine = Parrot(said[0], ("Thanks.", "ありがとう。"))
    scores = transcript_scores(engine, spoken(language, *said), language)
    assert scores == {"n": 2, "exact": 0.5}


def test_sentences_count_where_an_utterance_is_wrong() -> None:
    said = [("Yes. No.", "はい。いいえ。"), ("Yes. Thank you.", "はい。ありがとうございます。")]
    engine = Parrot(said[0], ("", "はい。どうも。"))
    scores = utterance_scores(engine, spoken(Language.ENGLISH, *said), Language.ENGLISH)
    assert scores == {"n": 2, "exact": 0.5, "sentences": 4, "exact_sentences": 0.75}


def test_half_a_sentence_is_not_to_be_completed() -> None:
    loud, silent = np.full(16_000, 9000, np.int16), np.zeros(16_000, np.int16)
    clips = [
        Clip("eval_pause", Language.ENGLISH, "", "", "a", 1.0, pause, samples=samples)
        for pause, samples in (
            (1.0, np.concatenate([loud, silent, loud])),
            (1.0, np.concatenate([loud, loud, silent, loud])),
            (0.1, np.concatenate([loud, loud, loud, silent, loud])),  # too short to be sure
        )
    ]
    engine = Parrot(("", "駅は…"), ("", "駅です。"))
    assert unfinished_scores(engine, clips, Language.ENGLISH) == {"n": 2, "open": 0.5}
