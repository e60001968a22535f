"""What is concluded from what was found of a checkpoint: right, wrong or undecided, and said so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.acceptance_checks import Findings, Outputs, checks, judged, naming, writing_down
from evaluation.acceptance_data import bundled
from evaluation.acceptance_page import page
from evaluation.invented import Outcome
from speech_translation.manifest import Sample
from speech_translation.types import Direction, Flag, Flags, Hypothesis, Segment, Translation

Way = Callable[[Sample], str]
CLIPS = bundled(8)[0]  # real ones, of both directions


def outputs(text_of: Way, *flags: Flag) -> Outputs:
    """What a model would write whose texts are those of `text_of`."""
    return Outputs(
        CLIPS,
        [
            Translation(
                [Segment(0, 1, text_of(x), x.direction, Flags(flags))], x.direction, 1.0, 1.0
            )
            for x in CLIPS
        ],
    )


def reference(clip: Sample) -> str:
    return clip.text


def findings(**change: Any) -> Findings:
    """A checkpoint without any fault, but for what is changed."""
    right = outputs(reference)
    found = Findings(
        "some/model",
        engine="some/model on cpu in float32",
        precision="float32",
        usual="float32",
        clips=CLIPS,
        precisions={"float32": right, "int8": right},
        spoken=outputs(lambda clip: clip.transcript),
        automatic=right,
        tags=[Hypothesis("", x.direction, tag=f"language {x.target}") for x in CLIPS],
        attention={"windowed": right, "full": right},
        segments={"sentence": right, "pause": right, "whole": right},
        sounds={"silence": Outcome(1, 60.0)},
    )
    return replace(found, **change)


def wrong(found: Findings) -> list[str]:
    return [check.name for check in checks(found) if check.right is False]


def undecided(found: Findings) -> list[str]:
    return [check.name for check in checks(found) if check.right is None]


def forced(text_of: Way, *flags: Flag) -> dict[str, Outputs]:
    result = outputs(text_of, *flags)
    return {"float32": result, "int8": result}


def only(direction: Direction, text: str) -> Way:
    """The references, but for clips of one direction."""
    return lambda clip: text if clip.direction is direction else clip.text


def few(each: int, text_of: Way = reference) -> Findings:
    """A checkpoint that was examined on `each` clips of a direction."""
    found = findings(precisions=forced(text_of), automatic=outputs(text_of))
    kept = [
        i
        for direction in (Direction.EN_JA, Direction.JA_EN)
        for i in [i for i, clip in enumerate(CLIPS) if clip.direction is direction][:each]
    ]

    def cut(some: Outputs) -> Outputs:
        return Outputs([CLIPS[i] for i in kept], [some.translations[i] for i in kept])

    def all_cut(ways: dict[str, Outputs]) -> dict[str, Outputs]:
        return {name: cut(some) for name, some in ways.items()}

    assert found.automatic is not None
    assert found.spoken is not None
    return replace(
        found,
        clips=[CLIPS[i] for i in kept],
        automatic=cut(found.automatic),
        spoken=cut(found.spoken),
        precisions=all_cut(found.precisions),
        attention=all_cut(found.attention),
        segments=all_cut(found.segments),
    )


def test_nothing_is_wrong_with_a_right_checkpoint() -> None:
    assert wrong(findings()) == undecided(findings()) == []


@pytest.mark.parametrize("text_of", [reference, lambda _: ""])
def test_too_few_clips_decide_nothing(text_of: Way) -> None:
    assert wrong(few(2, text_of)) == []
    of_clips, of_ways = ["`en2ja`", "`ja2en`", "`auto`"], ["Segments", "Attention", "Precision"]
    assert undecided(few(2, text_of)) == of_clips + of_ways
    assert undecided(few(5, text_of)) == of_clips  # ten sentences, five of each direction
    assert undecided(few(6, text_of)) == []
    text = page(few(2, text_of), checks(few(2, text_of)))
    assert "**Whether the app's defaults are the right ones is undecided: `en2ja`, " in text
    assert "Fewer than 6 clips decide nothing." in text
    assert "too few to decide" in writing_down(few(5))


def test_what_was_not_measured_is_undecided_unless_its_rivals_were() -> None:
    right = outputs(reference)
    assert undecided(findings(automatic=None, sounds={})) == ["`auto`", "Silence and noise"]
    assert undecided(findings(attention={"windowed": right}, segments={})) == [
        "Segments",
        "Attention",
    ]
    for reason, verdict in (("There was no time left.", None), ("It needs 6 GB.", False)):
        (check,) = checks(findings(precisions={}, failed={"float32": reason}))
        assert (check.name, check.right) == ("The model", verdict)


def test_servers_are_not_held_to_what_they_decide_themselves() -> None:
    names = [check.name for check in checks(findings(served=True, precision="float32"))]
    assert names == ["The model", "`en2ja`", "`ja2en`", "`auto`", "Segments", "Silence and noise"]


@pytest.mark.parametrize(
    ("text_of", "expected"),
    [
        (only(Direction.EN_JA, "はい、そうです。"), ["`en2ja`"]),  # fits everything, says nothing
        (only(Direction.JA_EN, "Yes, it is."), ["`ja2en`"]),
        (only(Direction.JA_EN, "!!!!!!!!"), ["`ja2en`"]),
        (only(Direction.EN_JA, "アンドソーマイフェローアメリカンズ"), ["`en2ja`"]),
        (only(Direction.EN_JA, ""), ["`en2ja`"]),
        (lambda clip: clip.transcript, ["`en2ja`", "`ja2en`"]),  # it only transcribes
    ],
)
def test_what_does_not_translate_is_no_translation(text_of: Way, expected: list[str]) -> None:
    result = forced(text_of)
    same = dict.fromkeys(("windowed", "full", "sentence"), result["float32"])
    found = findings(precisions=result, automatic=result["float32"], attention=same, segments=same)
    assert wrong(found) == expected


def test_a_loop_is_no_translation_and_an_unsure_text_is_not_judged() -> None:
    loops = forced(reference, Flag.REPEATED)
    assert wrong(findings(precisions=loops, automatic=loops["float32"])) == ["`en2ja`", "`ja2en`"]
    unsure = outputs(reference, Flag.LOW_CONFIDENCE)
    assert judged(unsure, Direction.EN_JA) == (0, 0, 8)


@pytest.mark.parametrize("direction", [Direction.EN_JA, Direction.JA_EN])
def test_a_choice_that_fails_in_one_direction_is_wrong(direction: Direction) -> None:
    assert wrong(findings(automatic=outputs(only(direction, "")))) == ["`auto`"]


def test_a_right_text_that_was_taken_for_the_other_direction_is_wrong() -> None:
    """It would be flagged, and joined and shown as a text of the other language."""
    turned = outputs(reference)
    segments = [
        replace(x.segments[0], direction=Direction.to(clip.source))
        for clip, x in zip(CLIPS, turned.translations, strict=True)
        if clip.source
    ]
    named = [replace(x, segments=[s]) for x, s in zip(turned.translations, segments, strict=True)]
    assert wrong(findings(automatic=Outputs(CLIPS, named))) == ["`auto`"]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (lambda x: x.direction, "It names the language to be written."),
        (lambda x: Direction.to(x.source), "It names the language spoken."),
        (lambda _: Direction.JA_EN, "It names English whatever is spoken."),
        (lambda _: Direction.AUTO, "It does not name English or Japanese for enough clips"),
    ],
)
def test_tags_are_told_apart(named: Callable[[Sample], Direction], said: str) -> None:
    assert said in naming(findings(tags=[Hypothesis("", named(x)) for x in CLIPS]))


def test_a_better_way_is_found_and_one_lucky_sentence_is_not() -> None:
    def worse(clip: Sample) -> str:
        return clip.text[: len(clip.text) // 2]

    right, bad = outputs(reference), outputs(worse)
    for name, way, default, other in (
        ("Attention", "attention", "windowed", "full"),
        ("Segments", "segments", "sentence", "whole"),
        ("Precision", "precisions", "float32", "int8"),
    ):
        found = findings(**{way: {default: bad, other: right}})
        assert [x.name for x in checks(found) if not x.right and x.name[0] != "`"] == [name]
        assert wrong(findings(**{way: {default: right, other: bad}})) == []
    lucky = outputs(lambda clip: worse(clip) if clip is CLIPS[0] else clip.text)
    assert wrong(findings(attention={"windowed": lucky, "full": right})) == []


def test_invented_text_is_wrong() -> None:
    invented = {"noise": Outcome(1, 60.0, invented=1)}
    assert wrong(findings(sounds=invented)) == ["Silence and noise"]


def test_a_default_that_failed_is_named_beside_what_works() -> None:
    found = findings(
        precision="bfloat16", failed={"bfloat16": "It | needs\n6 GB, see /secret @all."}
    )
    (check,) = [check for check in checks(found) if not check.right]
    assert check.why == "bfloat16 was not measured. float32, int8 can be used."
    assert r"| bfloat16 | It \| needs 6 GB, see /secret &#64;all. |" in page(found, [check])


def test_the_page_has_no_folders_of_the_machine(tmp_path: Path) -> None:
    found = findings(folder=str(tmp_path), failed={"full": f"{tmp_path}/x, {Path.home()}/y"})
    assert "| full | FOLDER/x, FOLDER/y |" in page(found, checks(found))


def test_what_the_model_writes_does_not_format_the_page() -> None:
    found = findings(precisions=forced(lambda _: "| a <b> *c*"))
    assert r"| \| a \<b\> \*c\* |" in page(found, checks(found))


def in_their_own_language(text_of: Way) -> Outputs:
    """Texts of a run that asked for the language spoken."""
    made = outputs(text_of)
    turned = [
        replace(x, segments=[replace(s, direction=clip.direction.spoken) for s in x.segments])
        for clip, x in zip(CLIPS, made.translations, strict=True)
    ]
    return Outputs(CLIPS, turned)


@pytest.mark.parametrize(
    ("text_of", "said"),
    [
        (lambda clip: clip.transcript, "8 of 8 and 8 of 8 clips: use `--transcript same`"),
        (reference, "0 of 8 and 0 of 8 clips: leave it to another model"),
        (lambda _: "", "0 of 0 and 0 of 0 clips: leave it to another model"),
        (only(Direction.EN_JA, "Yes, it is."), "leave it to another model"),
    ],
)
def test_who_can_write_down_what_is_said_is_told(text_of: Way, said: str) -> None:
    assert said in writing_down(findings(spoken=in_their_own_language(text_of)))
    assert "not measured" in writing_down(findings(spoken=None))
