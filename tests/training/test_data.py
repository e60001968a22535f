from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_checkpoint import make_tiny_checkpoint, write_tone

from speech_translation.errors import ModelError
from speech_translation.manifest import ManifestError, Sample
from speech_translation.types import Language
from training.batches import IGNORE, Collator, encode_example, prompt_text, target_text
from training.data import BalancedSampler, Lessons, load_samples, select
from training.model import load_base
from training.text import clean_text

EN, JA = Language.ENGLISH, Language.JAPANESE


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_base(str(make_tiny_checkpoint(tmp_path_factory.mktemp("base") / "tiny")))[1]


def manifest(folder: Path, *lines: object) -> Path:
    path = folder / "train.jsonl"
    rows = (x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_a_missing_or_useless_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.jsonl: cannot read"):
        load_samples(tmp_path / "none.jsonl")
    with pytest.raises(ManifestError, match=r"no sample can be used \(1 wrong script\)"):
        load_samples(manifest(tmp_path, {"audio": "a.wav", "text": "no", "direction": "en2ja"}))


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("そうですか？！，はい．", "そうですか？！、はい。"),
        ("本当ですか?すごい!", "本当ですか？すごい！"),
        ("はい, そうです.", "はい、そうです。"),
        ("｢ﾊﾛｰ｣､ﾜｰﾙﾄﾞ｡", "「ハロー」、ワールド。"),
        ('彼は"はい"と言った', "彼は「はい」と言った"),
        ("３．５キロ、１，０００円、１０：３０", "3.5キロ、1,000円、10:30"),
        ("バージョン3.5と10:30とDr. Smith", "バージョン3.5と10:30とDr. Smith"),
        ("残念ながら 運転手の　行動", "残念ながら運転手の行動"),
        ("これは iPhone です", "これは iPhone です"),
        ("９時～１０時（月曜）…", "9時〜10時（月曜）…"),
        ("東京\u200b都\n\t", "東京都"),
        ("か\u3099くせい", "がくせい"),
        ("１０⁶人、3×10⁻³、1½カップ、x₁₀、②③", "10⁶人、3×10⁻³、1½カップ、x₁₀、②③"),
        ("80㎡と５㎥", "80m²と5m³"),
    ],
)
def test_japanese_text(raw: str, clean: str) -> None:
    assert clean_text(raw, JA) == clean
    assert clean_text(clean, JA) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("“It’s”  ‘fine’", "\"It's\" 'fine'"),
        ("1990–2000—a decade", "1990-2000 - a decade"),
        ("Ｈｅｌｌｏ，　ｗｏｒｌｄ！", "Hello, world!"),
        ("wait… what?", "wait... what?"),
        ("「Yes」、he said。", '"Yes", he said.'),
        ("soft\u00adhyphen\ufeff", "softhyphen"),
        ("café", "café"),
        ("10⁶ people and 3×10⁻³", "10⁶ people and 3×10⁻³"),
        ("1½ cups, x₁₀, 2ⁿ and ①②", "1½ cups, x₁₀, 2ⁿ and ①②"),
        ("80㎡", "80m²"),
    ],
)
def test_english_text(raw: str, clean: str) -> None:
    assert clean_text(raw, EN) == clean
    assert clean_text(clean, EN) == clean


def test_what_cannot_be_learned_from_is_dropped_and_counted(tmp_path: Path) -> None:
    for name, seconds in (("short", 0.49), ("half", 0.5), ("full", 30.0), ("long", 30.1)):
        write_tone(tmp_path / f"{name}.wav", 440, seconds)
    (tmp_path / "text.wav").write_text("not audio")

    def sample(name: str, text: str, target: Language | None, **more: Any) -> Sample:
        return Sample(tmp_path / f"{name}.wav", text, target, **more)

    good = [
        sample("half", "はい", JA),
        sample("full", "Yes.", EN),
        sample("half", "ignored", None),
        sample("short", "Stated durations are believed.", EN, duration=2.0),
        sample("long", "An utterance of it.", EN, start=30.0 - 0.4),
        sample("long", "So long as it was cut.", EN, start=1.0, end=3.0, duration=2.0),
    ]
    bad = [
        sample("short", "Yes.", EN),
        sample("long", "Yes.", EN),
        sample("missing", "Yes.", EN),
        sample("missing", "Yes.", EN, duration=2.0),
        sample("half", "Yes.", EN, start=1.0),
        sample("text", "Yes.", EN),
        sample("half", " \u3000\n", JA),
        sample("half", "...", EN),
        sample("half", "Yes.", JA),
        sample("half", "Yes はい", EN),
        sample("half", "a<|im_end|>b", EN),
    ]
    kept, dropped = select(good + bad)
    assert [(x.text, x.duration) for x in kept] == [
        ("はい", 0.5),
        ("Yes.", 30.0),
        ("", 0.5),
        ("Stated durations are believed.", 2.0),
        ("An utterance of it.", pytest.approx(0.5)),
        ("So long as it was cut.", 2.0),
    ]
    assert dropped == {
        "shorter than 0.5 s": 1,
        "longer than 30 s": 1,
        "unreadable audio": 4,
        "empty text": 2,
        "wrong script": 2,
        "prompt token in text": 1,
    }


def samples_of(**counts: int) -> list[Sample]:
    targets = {"ja": JA, "en": EN, "none": None}
    return [
        Sample(Path("x.wav"), "", targets[name], duration=1 + number * 7 % 13)
        for name, count in counts.items()
        for number in range(count)
    ]


def test_each_epoch_has_as_many_of_both_directions() -> None:
    samples = samples_of(ja=50, en=20, none=4)
    sampler = BalancedSampler(samples, update=8, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    for epoch in (first, second):
        assert Counter(samples[i].target for i in epoch) == {JA: 20, EN: 20, None: 4}
        assert len(set(epoch)) == len(epoch) == len(sampler)
    assert set(first) != set(second), "what one epoch leaves out must have its turn"
    sampler.set_epoch(0)
    assert list(sampler) == second, "a resumed loader must not fall back to the first epoch"
    assert list(BalancedSampler(samples, update=8, seed=1)) == first
    assert list(BalancedSampler(samples, update=8, seed=2)) != first


def test_an_update_is_sorted_but_not_recomposed() -> None:
    samples = samples_of(ja=16, en=16)
    whole = list(BalancedSampler(samples, update=1, seed=1))
    for start in range(0, 32, 8):
        update = list(BalancedSampler(samples, update=8, seed=1))[start : start + 8]
        assert sorted(update) == sorted(whole[start : start + 8])
        durations = [samples[i].duration for i in update]
        assert durations == sorted(durations)


def test_one_direction_alone_is_shown_whole() -> None:
    assert sorted(BalancedSampler(samples_of(ja=5), update=4, seed=0)) == [0, 1, 2, 3, 4]


def test_a_share_of_an_epoch_is_transcribed() -> None:
    spoken = [
        Sample(Path("x.wav"), "はい。", JA, EN, "Yes.", duration=1.0 + n) for n in range(40)
    ] + [Sample(Path("x.wav"), "Yes.", EN, JA, "はい。", duration=1.0 + n) for n in range(40)]
    written = Sample(Path("x.wav"), "No.", EN, EN, duration=1.0)
    silent = Sample(Path("x.wav"), "いいえ。", JA, EN, duration=1.0)
    samples = [*spoken, written, silent]
    lessons = Lessons(samples)
    assert lessons[-2:] == [lessons[len(lessons) - 2], lessons[-1]]
    with pytest.raises(IndexError):
        lessons[len(lessons)]
    sampler = BalancedSampler(samples, update=8, seed=1, transcribe=0.2)
    order = list(sampler)
    assert len(order) == len(sampler) == len(set(order)) == 100
    shown = Counter((lessons[i].source, lessons[i].target, lessons[i].text) for i in order)
    assert shown[JA, JA, "はい。"] == 10
    assert shown[EN, EN, "Yes."] + shown[EN, EN, "No."] == 10
    assert shown[EN, JA, "はい。"] + shown[EN, JA, "いいえ。"] == 40
    assert shown[JA, EN, "Yes."] == 40
    without = list(BalancedSampler(samples, update=8, seed=1))
    assert without.count(80) == 1, "a transcription is shown, and is no translation into English"
    assert len(without) == 81


def test_only_transcripts_in_their_own_script_are_kept(tmp_path: Path) -> None:
    tone = write_tone(tmp_path / "a.wav", 440, 0.6)
    samples = [
        Sample(tone, "はい。", JA, EN, "  “Yes.”"),
        Sample(tone, "はい。", JA, EN, "はい"),
        Sample(tone, "はい。", JA, None, "Yes."),
    ]
    assert [x.transcript for x in select(samples, transcripts=True)[0]] == ['"Yes."', "", ""]
    assert [x.transcript for x in select(samples)[0]] == ["", "", ""]


def test_target_text() -> None:
    assert target_text(JA, "はい。") == "language Japanese<asr_text>はい。"
    assert target_text(EN, "Yes.") == "language English<asr_text>Yes."
    assert target_text(None, "") == "language None<asr_text>"


@pytest.mark.parametrize("context", ["", "Tokyo, 京都"])
def test_the_prompt_is_the_one_of_inference(processor: Any, context: str) -> None:
    from qwen_asr import Qwen3ASRModel

    nothing = SimpleNamespace(device="cpu", dtype=torch.float32)
    asked = Qwen3ASRModel("transformers", nothing, processor)._build_text_prompt(
        context, force_language="Japanese"
    )
    assert asked == prompt_text(1, context) + target_text(JA, "")
    ids, labels = encode_example(
        processor.tokenizer, audio_tokens=1, target=JA, text="はい。", context=context, forced=True
    )
    reply = [i for i in labels if i != IGNORE]
    assert ids[: -len(reply)] == processor.tokenizer(asked).input_ids
    assert processor.tokenizer.decode(reply) == "はい。<|im_end|>"


@pytest.mark.parametrize("text", ["はい、そうです。", " leading space", "1st", "\nline", ""])
@pytest.mark.parametrize("target", [JA, EN, None])
def test_no_token_reaches_from_the_prompt_into_the_reply(
    processor: Any, target: Language | None, text: str
) -> None:
    tokenizer = processor.tokenizer
    ids, _ = encode_example(tokenizer, audio_tokens=3, target=target, text=text)
    whole = prompt_text(3) + target_text(target, text) + "<|im_end|>"
    assert ids == tokenizer(whole).input_ids


@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_of_a_ragged_batch(processor: Any, tmp_path: Path, side: str) -> None:
    samples = [
        Sample(write_tone(tmp_path / "a.wav", 440, 0.6), "はい。", JA),
        Sample(
            write_tone(tmp_path / "b.wav", 550, 2.3), "Where is the station?", EN, context="hints"
        ),
        Sample(write_tone(tmp_path / "c.wav", 660, 1.0), "", None),
    ]
    tokenizer = processor.tokenizer
    before = tokenizer.padding_side
    tokenizer.padding_side = side
    batch = Collator(processor)(samples)
    tokenizer.padding_side = before

    frames = batch["feature_attention_mask"].sum(-1).tolist()
    assert frames == [60, 230, 100]
    assert batch["input_features"].shape == (3, 128, 230)
    for row, sample in enumerate(samples):
        ids, labels, mask = (batch[k][row] for k in ("input_ids", "labels", "attention_mask"))
        learned = labels != IGNORE
        reply = target_text(sample.target, sample.text) + "<|im_end|>"
        assert tokenizer.decode(labels[learned]) == reply
        assert torch.equal(ids[learned], labels[learned])
        assert mask[learned].all()
        audio_tokens = (ids == tokenizer.convert_tokens_to_ids("<|audio_pad|>")).sum().item()
        assert audio_tokens == [8, 30, 13][row]
        whole = prompt_text(audio_tokens, sample.context) + reply
        assert tokenizer.decode(ids[mask.bool()]) == whole
        assert mask.tolist() == sorted(mask.tolist(), reverse=side == "right")


def test_the_batch_fits_the_processor_of_inference(processor: Any, tmp_path: Path) -> None:
    from speech_translation.audio import load_audio

    paths = [write_tone(tmp_path / f"{s}.wav", 440, s) for s in (0.7, 1.9)]
    batch = Collator(processor)([Sample(path, "はい。", JA) for path in paths])
    asked = processor(
        text=[prompt_text()] * 2,
        audio=[load_audio(p) for p in paths],
        return_tensors="pt",
        padding=True,
    )
    for row, path in enumerate(paths):  # in a batch, a last frame would depend on its neighbours
        alone = processor(text=[prompt_text()], audio=[load_audio(path)], return_tensors="pt")
        features = alone["input_features"][0]
        assert torch.equal(batch["input_features"][row, :, : features.shape[1]], features)
    assert torch.equal(batch["feature_attention_mask"], asked["feature_attention_mask"])
    for row in range(2):
        prompt = batch["input_ids"][row][
            batch["attention_mask"][row].bool() & (batch["labels"][row] == IGNORE)
        ]
        assert torch.equal(prompt, asked["input_ids"][row][asked["attention_mask"][row].bool()])


def test_an_utterance_is_trained_on_without_its_neighbours(processor: Any, tmp_path: Path) -> None:
    long = write_tone(tmp_path / "long.wav", 440, 3.0)
    alone = write_tone(tmp_path / "alone.wav", 440, 1.0)  # 440 Hz: each second is the same
    cut, whole = (
        Collator(processor)([sample])
        for sample in (Sample(long, "はい。", JA, start=1.0, end=2.0), Sample(alone, "はい。", JA))
    )
    assert cut.keys() == whole.keys()
    assert all(
        torch.allclose(cut[key], whole[key], atol=1e-3) for key in whole if key != "unreadable"
    )


def test_a_share_of_the_prompts_has_no_system_turn(processor: Any, tmp_path: Path) -> None:
    tone = write_tone(tmp_path / "a.wav", 440, 0.5)
    samples = [Sample(tone, f"Number {n}.", EN) for n in range(40)]
    samples += [replace(sample, context="hints") for sample in samples]
    tokenizer = processor.tokenizer

    def bare(share: float) -> list[bool]:
        rows = Collator(processor, bare_prompts=share)(samples)["input_ids"]
        return ["system" not in tokenizer.decode(row) for row in rows]

    assert bare(0.0) == [False] * 80
    assert bare(1.0) == [True] * 40 + [False] * 40, "a context needs its system turn"
    assert 8 < sum(bare(0.5)) < 32
    assert bare(0.5) == bare(0.5)


def test_another_chat_template_is_refused(processor: Any) -> None:
    other = SimpleNamespace(
        feature_extractor=processor.feature_extractor,
        tokenizer=processor.tokenizer,
        apply_chat_template=lambda *_, **__: "[INST]",
    )
    with pytest.raises(ModelError, match="chat template"):
        Collator(other)
