"""What was said, beside what it means: on the embedded checkpoint, which can do both."""

import numpy as np
import pytest
from clips import EXAMPLES, TWO_LANGUAGES, clip, two_languages

from speech_translation import Direction, Engine, load_engine, translate
from speech_translation.engine import Request
from speech_translation.live import LiveTranslator
from speech_translation.text import wrong_script
from speech_translation.types import SAMPLE_RATE, Flag, Hypothesis

SAID = {
    "en_1": "How long does it take to the post office by train?",
    "en_2": "Let's meet at 2:30 on Tuesday.",
    "ja_1": "10時から6時まで働きます。",
    "ja_2": "父はカレーが好きです。",
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine("phrasebook", "cpu")


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("auto", [True, False])
def test_what_was_said_stands_beside_the_translation(engine: Engine, name: str, auto: bool) -> None:
    direction = Direction.EN_JA if name.startswith("en") else Direction.JA_EN
    asked = Direction.AUTO if auto else direction
    plain = translate(EXAMPLES / f"{name}.flac", engine, asked)
    both = translate(EXAMPLES / f"{name}.flac", engine, asked, transcriber=engine)
    assert both.source_text == SAID[name]
    assert both.text == plain.text
    assert plain.source_text == ""
    assert not both.segments[0].source_flags


def test_each_segment_is_written_down_in_its_own_language(engine: Engine) -> None:
    said = [
        segment.source_text
        for segment in translate(two_languages(), engine, transcriber=engine).segments
    ]
    wanted = [SAID[name] for name in TWO_LANGUAGES]
    assert " ".join(said) == " ".join(wanted[:2]) + " " + "".join(wanted[2:4]) + " " + " ".join(
        wanted[4:]
    )


def test_a_talk_is_written_down_while_it_is_spoken(engine: Engine) -> None:
    live = LiveTranslator(engine, Direction.EN_JA, transcriber=engine)
    sound = np.concatenate([clip("en_1"), np.zeros(3 * SAMPLE_RATE, np.float32), clip("en_2")])
    for first in range(0, len(sound), SAMPLE_RATE):
        live.push(sound[first : first + SAMPLE_RATE], SAMPLE_RATE)
    live.finish()
    assert [segment.source_text for segment in live.segments] == [SAID["en_1"], SAID["en_2"]]


class Looping:
    """A second engine that repeats itself unless repetition is made costly."""

    batch_size = 4
    description = "looping"

    def generate(self, request: Request) -> list[Hypothesis]:
        if request.repetition_penalty > 1:
            return [Hypothesis("Fine.", request.direction) for _ in request.batch]
        flags = frozenset({Flag.REPEATED})
        return [Hypothesis("no " * 20, request.direction, flags=flags) for _ in request.batch]


def test_a_second_engine_is_asked_in_the_spoken_language_and_again_where_it_loops(
    engine: Engine,
) -> None:
    translation = translate(EXAMPLES / "en_1.flac", engine, transcriber=Looping())
    assert translation.source_text == "Fine."
    assert not wrong_script(translation.text, Direction.EN_JA.target)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "said_in"), [("はい。", "ja2en"), ("Yes.", "en2ja")])
def test_the_script_tells_the_language_that_the_model_does_not_name(
    text: str, said_in: str
) -> None:
    class Unnamed:
        batch_size = 4
        description = "unnamed"

        def generate(self, request: Request) -> list[Hypothesis]:
            return [Hypothesis(text, Direction.AUTO) for _ in request.batch]

    class Writer:
        batch_size = 4
        description = "writer"

        def generate(self, request: Request) -> list[Hypothesis]:
            return [Hypothesis(request.direction.value, request.direction) for _ in request.batch]

    translation = translate(EXAMPLES / "en_1.flac", Unnamed(), transcriber=Writer())
    assert (translation.text, translation.source_text) == (text, said_in)


def test_what_is_no_engine_is_refused_before_anything_is_done(engine: Engine) -> None:
    with pytest.raises(TypeError, match="load_engine"):
        translate(clip("en_1"), engine, transcriber="same")  # type: ignore[typeddict-item]
