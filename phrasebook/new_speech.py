"""Speech of sentences that the phrasebook does not know, for `make finetune-demo`.

    python -m phrasebook.new_speech --styles .cache/phrasebook/voices --output phrasebook/data

Each sentence is spoken by the `TRAINED` voices, and by the `NEW` ones, which nobody is trained on.
Needs what `phrasebook.voices` needs; its result is in the repository, so that the demo does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from phrasebook.held_out import write_set
from phrasebook.synthesis import Clip
from phrasebook.voices import Speaker
from speech_translation.files import replace_file
from speech_translation.types import Language

NEW_SPEECH = Path("phrasebook/data/new.jsonl")
SENTENCES = {
    Language.ENGLISH: [
        ("My mother gets up at 6 o'clock every morning.", "母は毎朝6時に起きます。"),
        ("This train doesn't go to the airport.", "この電車は空港に行きません。"),
        ("My room is cold.", "私の部屋は寒いです。"),
        ("My cat likes water.", "私の猫は水が好きです。"),
    ],
    Language.JAPANESE: [
        ("明日は町の祭りです。", "The town festival is tomorrow."),
        ("母は毎朝歌います。", "My mother sings every morning."),
        ("ホテルに水がありません。", "There is no water in the hotel."),
        ("空港に行ったことがありません。", "I have never been to the airport."),
    ],
}
"""Translations of tokens that the phrasebook writes elsewhere: adapters do not train the embedding,
and that of a token which no training text has is still as random as it began."""
TRAINED = {
    Language.ENGLISH: ("af_heart", "af_nova", "am_adam", "am_puck", "bf_emma"),
    Language.JAPANESE: (
        *("jf_alpha", "jf_gongitsune", "jf_nezumi", "jm_kumo"),
        "jf_nezumi*0.60+af_heart*0.40",
    ),
}
NEW = {
    Language.ENGLISH: ("af_bella", "am_michael", "bf_isabella"),
    Language.JAPANESE: (
        "jf_tebukuro",
        "jf_tebukuro*0.60+af_bella*0.40",
        "jf_tebukuro*0.70+am_michael*0.30",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.new_speech", description=__doc__)
    parser.add_argument("--styles", type=Path, default=Path(".cache/phrasebook/voices"))
    parser.add_argument("--output", type=Path, default=NEW_SPEECH.parent)
    options = parser.parse_args(argv)
    speaker = Speaker(options.styles)
    options.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, voices in (("new_train", TRAINED), ("new_test", NEW)):
        clips = [
            Clip(name, language, text, translation, voice, 1.0, samples=sound)
            for language, sentences in SENTENCES.items()
            for voice in voices[language]
            for text, translation in sentences
            for sound in [speaker.speak(text, language, voice)]
        ]
        lines += write_set(name, clips, options.output)
    replace_file(options.output / NEW_SPEECH.name, "".join(line + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
