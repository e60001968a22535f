import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phrasebook.synthesis import ClipWriter, Job, load_clips, plan, synthesise
from phrasebook.voices import HELD_OUT, cheap_voice, finish, kokoro_symbols, mixture, single_voices
from speech_translation.errors import AudioError, ModelError
from speech_translation.types import Language

STYLES = [
    *("af_bella", "af_heart", "af_sky", "am_adam", "am_michael", "bf_emma", "bm_lewis"),
    *("jf_alpha", "jf_tebukuro", "jm_kumo", "zf_xiaoni", "zm_yunxi"),
]
NEW = {name for names in HELD_OUT.values() for name in names}
PLAN = plan(STYLES)


@pytest.mark.parametrize(
    ("ipa", "british", "symbols"),
    [
        ("wˌɛɹ ɪz ðə stˈe^ɪʃən", False, "wˌɛɹ ɪz ðə stˈAʃən"),
        ("hˈɜːt fˈɑːðɚ", False, "hˈɜɹt fˈɑðəɹ"),
        ("hˈɜːt fˈɑːðə", True, "hˈɜːt fˈɑːðə"),
        ("a^ɪ ˈo^ʊ juː ˈe^ɪt bˈɔ^ɪz nˈa^ʊ", False, "I ˈO ju ˈAt bˈYz nˈW"),
        ("wˌe^əɹ həlˈə^ʊ", True, "wˌɛːɹ həlˈQ"),
        ("t^ʃˈɑːkləts d^ʒˈuːs lˈɪɾə^l bˈʌʔn\u0329", False, "ʧˈɑkləts ʤˈus lˈɪTᵊl bˈʌtᵊn"),
    ],
)
def test_english_gets_the_symbols_kokoro_was_trained_on(
    ipa: str, british: bool, symbols: str
) -> None:
    assert kokoro_symbols(ipa, british) == symbols


def test_a_finished_clip_is_16_khz_speech_of_one_loudness() -> None:
    tone = 2.2 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    clip = finish(np.concatenate([np.zeros(24_000), tone, np.zeros(12_000)]), 24_000)
    assert clip.dtype == np.int16
    assert len(clip) / 16_000 == pytest.approx(1.16, abs=0.01)  # a second and both margins
    assert np.abs(clip).max() == pytest.approx(0.7 * 32767, abs=1)


def test_silence_is_not_stored_as_speech() -> None:
    with pytest.raises(AudioError, match="silent"):
        finish(np.zeros(24_000), 24_000)


@pytest.mark.parametrize("language", list(Language))
def test_mixtures_are_mostly_of_the_language_and_never_of_held_out_voices(
    language: Language,
) -> None:
    rng = random.Random(1)
    native = set(single_voices(STYLES, language))
    for _ in range(300):
        parts = [part.split("*") for part in mixture(STYLES, language, rng).split("+")]
        names = [name for name, _ in parts]
        assert len(set(names)) == len(names)
        assert not NEW & set(names)
        assert sum(float(weight) for _, weight in parts) == pytest.approx(1)
        assert sum(float(weight) for name, weight in parts if name in native) >= 0.5
    assert not native & NEW
    assert cheap_voice(language, rng).startswith("flite_" if language == "en" else "mei")


def test_the_plan_never_trains_on_what_it_evaluates() -> None:
    assert len({job.id for job in PLAN}) == len(PLAN)
    texts = {
        name: {job.text for job in PLAN if job.set.startswith(name)}
        for name in ("train", "dev", "eval", "other")
    }
    for first, second in (("train", "dev"), ("train", "eval"), ("dev", "eval"), ("other", "eval")):
        assert not texts[first] & texts[second]
    for job in PLAN:
        new = bool(NEW & {part.split("*")[0] for part in job.voice.split("+")})
        assert new == (job.set in ("eval_voices", "eval_rate", "eval_pause"))
        assert (job.rate == 1.15) == (job.set == "eval_rate")
        assert (job.pause > 0) == (job.set == "eval_pause") or job.set == "train"
        assert (job.translation == "") == (job.set == "other")


def test_the_plan_is_independent_of_the_run_of_python() -> None:
    """Hash randomisation must not change it, or a stopped run could not go on."""
    code = f"from phrasebook.synthesis import plan; print(*(job.id for job in plan({STYLES})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.split() == [job.id for job in PLAN]


def test_limiting_kokoro_keeps_the_rest_of_the_plan() -> None:
    short = plan(STYLES, 10)
    assert len(short) < len(PLAN)
    assert short == PLAN[: len(short)]


def job(text: str) -> Job:
    return Job("train", Language.ENGLISH, text, "訳", "af_heart", 1.0)


def test_a_run_stopped_at_any_time_goes_on_without_loss(tmp_path: Path) -> None:
    ClipWriter(tmp_path).append(job("one"), np.arange(5, dtype=np.int16))
    with (tmp_path / "clips.jsonl").open("a") as index, (tmp_path / "clips.pcm").open("ab") as pcm:
        index.write('{"set": "tra')
        pcm.write(b"torn!")
    assert [clip.text for clip in load_clips(tmp_path)] == ["one"]

    writer = ClipWriter(tmp_path)
    assert [clip.id for clip in writer.finished] == [job("one").id]
    writer.append(job("two"), np.full(3, -7, np.int16))
    one, two = load_clips(tmp_path)
    assert (one.samples.tolist(), two.samples.tolist()) == ([0, 1, 2, 3, 4], [-7, -7, -7])
    assert (two.language, two.translation, two.rate) == (Language.ENGLISH, "訳", 1.0)


def test_clips_of_another_plan_are_refused(tmp_path: Path) -> None:
    ClipWriter(tmp_path).append(job("one"), np.ones(5, np.int16))
    with pytest.raises(ModelError, match="Delete the folder"):
        synthesise([job("two")], tmp_path, tmp_path, workers=1)


def test_a_folder_without_clips_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"phrasebook\.synthesis"):
        load_clips(tmp_path)
