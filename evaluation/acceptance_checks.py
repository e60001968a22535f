"""What was found out about a checkpoint, and whether the app's defaults are right for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evaluation.invented import Outcome
from evaluation.long_recordings import Recording
from evaluation.resegmentation import resegment
from evaluation.run import BOTH
from speech_translation.manifest import Sample
from speech_translation.session import RETRY_FLAGS
from speech_translation.text import wrong_script
from speech_translation.types import (
    Direction,
    Flag,
    Flags,
    Hypothesis,
    Language,
    Seconds,
    Translation,
)

WINDOWED, FULL = "windowed", "full"

SERVED = "served"
"""In place of a precision: servers decide about it and about attention themselves."""

OUT_OF_TIME, INTERRUPTED = "There was no time left.", "Interrupted."
"""Why something was not measured that is nobody's fault."""

FEWEST = 6
"""Fewer clips, or sentences, decide nothing: that five agree may well be chance (1 in 32)."""

MARGIN = 3.0
"""chrF2 by which another way must be better, on average over sentences, to be called so."""

CHANCE = 0.05
"""Of a better way that is none, by bootstrap over sentences; all rivals of a default share it."""

FLOOR = 5.0
"""chrF2 of a translation with its own reference. A transcript in the wrong language has less."""

SURE = 1 / 3
"""Of the clips of a direction: so many at least must have a text of which the model is sure."""

_UNSURE = Flags({Flag.NO_SPEECH, Flag.LOW_CONFIDENCE})
TITLES = {Language.ENGLISH: "English", Language.JAPANESE: "Japanese"}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What came of samples with one way of translating: a translation for each, in their order."""

    samples: Sequence[Sample | Recording]
    translations: Sequence[Translation]
    load: Seconds = 0.0
    """To load the engine; 0 where it was loaded before."""

    @property
    def pairs(self) -> list[tuple[Sample | Recording, Translation]]:
        """Each sample and its translation."""
        return list(zip(self.samples, self.translations, strict=True))

    def to(self, direction: Direction) -> list[tuple[Sample | Recording, Translation]]:
        """The pairs of one direction."""
        return [pair for pair in self.pairs if pair[0].direction is direction]


@dataclass
class Findings:
    """What was found out about a checkpoint. A way that is missing in a mapping has `failed`."""

    model: str
    revision: str = ""
    folder: str = ""
    engine: str = ""
    device: str = ""
    precision: str = ""
    """What the engine chooses itself."""

    served: bool = False
    """Whether it runs on servers."""

    usual: str = ""
    """The precision that all but `precisions` was measured in: the first that worked."""

    files: Mapping[str, bool] = field(default_factory=dict)
    """Whether each file is there."""

    optional: frozenset[str] = frozenset()
    """Those of `files` that a checkpoint may lack."""

    failed: dict[str, str] = field(default_factory=dict)
    """Why something could not be measured, in a sentence."""

    clips: Sequence[Sample] = ()
    long: Sequence[Recording] = ()
    precisions: dict[str, Outputs] = field(default_factory=dict)
    """Of `clips`, or of every third of them, with the direction forced."""

    spoken: Outputs | None = None
    """Of `clips`, where the prompt names the language spoken."""

    automatic: Outputs | None = None
    """Of `clips`, with the app's automatic direction."""

    tags: Sequence[Hypothesis] = ()
    """The beginning of what the model says to each of `clips` when it may name the language."""

    attention: dict[str, Outputs] = field(default_factory=dict)
    segments: dict[str, Outputs] = field(default_factory=dict)
    """Of `long`, by the names of `POLICIES`."""

    sounds: dict[str, Outcome] = field(default_factory=dict)
    """What the app makes of sound that is no speech."""

    answers: list[tuple[str, Hypothesis]] = field(default_factory=list)
    """What the model itself says to each such sound."""

    seconds: Seconds = 0.0

    @property
    def forced(self) -> Outputs | None:
        """Of all `clips`, with the direction forced."""
        return self.precisions.get(self.usual)


class Check(NamedTuple):
    """One of the app's defaults, whether it is the right one here, and what shows it.

    `right` is None where too little was measured to say.
    """

    name: str
    right: bool | None
    why: str


def checks(found: Findings) -> list[Check]:
    """What must hold for the app's defaults."""
    if found.forced is None:
        reasons = dict.fromkeys(found.failed.values())
        cut_off = reasons.keys() <= {OUT_OF_TIME, INTERRUPTED}
        why = " ".join(map(escaped, reasons))
        return [Check("The model", None if cut_off else False, why)]
    engines_own = (
        ()
        if found.served
        else (
            _best(found, "Attention", WINDOWED, found.attention),
            _best(found, "Precision", found.precision, found.precisions),
        )
    )
    return [
        Check("The model", True, f"{found.engine} loads and answers."),
        *(_forced(found, found.forced, direction) for direction in BOTH),
        _automatic(found, found.forced),
        _best(found, "Segments", "sentence", found.segments),
        *engines_own,
        _invented(found),
    ]


class Judged(NamedTuple):
    """Of the clips of one direction: those whose text is right, those with a sure text, and all."""

    right: int
    sure: int
    clips: int

    @property
    def enough(self) -> bool | None:
        """Whether a third is sure, and one in ten of these is wrong at most, or one alone.

        None where there are too few clips.
        """
        if self.clips < FEWEST:
            return None
        wrong = self.sure - self.right
        return self.sure >= SURE * self.clips and self.right > 0 and wrong <= max(1, self.sure / 10)


def judged(outputs: Outputs, direction: Direction, *, spoken: bool = False) -> Judged:
    """How many texts are translations of their clips, or what is `spoken` in them.

    One is right that was taken for `direction`, has the target's script, is no loop, and is nearer
    to its own reference than to that of any other clip, by `FLOOR` at least: so neither a
    transcript nor a text that fits everything is. Where the model is unsure, as it must be of what
    it does not know, it is not judged.
    """
    asked = direction.spoken if spoken else direction
    target = asked.target
    assert target is not None
    here = outputs.to(direction)
    references = [
        sample.transcript if spoken and isinstance(sample, Sample) else reference_of(sample)
        for sample, _ in here
    ]
    sure = right = 0
    for number, (_, translation) in enumerate(here):
        text = translation.text
        if not text or translation.flags & _UNSURE:
            continue
        sure += 1
        near = [_sentence_chrf(text, reference) for reference in references]
        own = near.pop(number)
        right += (
            all(segment.direction is asked for segment in translation.segments)
            and not wrong_script(text, target)
            and not translation.flags & RETRY_FLAGS
            and own >= FLOOR
            and own > max(near, default=0.0)
        )
    return Judged(right, sure, len(here))


def _forced(found: Findings, forced: Outputs, direction: Direction) -> Check:
    result = judged(forced, direction)
    return Check(
        f"`{direction.value}`",
        result.enough,
        f"Of {result.clips} clips {result.sure} have a sure text, of which {result.right} "
        f"translate their own clip.{_too_few('clips') if result.enough is None else ''}",
    )


def _too_few(things: str) -> str:
    return f" Fewer than {FEWEST} {things} decide nothing."


def _automatic(found: Findings, forced: Outputs) -> Check:
    """The command line, the library and the API begin with it, so it must be as good as forced."""
    if found.automatic is None:
        return Check("`auto`", None, "It was not measured.")
    worse, few, counts = False, False, list[str]()
    for direction in BOTH:
        by_name = judged(found.automatic, direction)
        by_force = judged(forced, direction)
        few = few or by_force.clips < FEWEST
        worse = worse or by_name.right < by_force.right - by_force.right // 10
        counts.append(f"{by_name.right} for {by_force.right}")
    why = f"Right texts for those with the direction forced: {' and '.join(counts)}."
    if few:
        return Check("`auto`", None, f"{why} {naming(found)}{_too_few('clips')}")
    advice = (
        "Give `--direction`, and the API its `direction`; let the page begin with "
        "`SPEECH_DIRECTION=en2ja` or `ja2en`."
        if worse
        else "The page may begin with `SPEECH_DIRECTION=auto`."
    )
    return Check("`auto`", not worse, f"{why} {naming(found)} {advice}")


def naming(found: Findings) -> str:
    """What the tags say of a checkpoint, in a sentence."""
    named = dict[Language, Direction]()
    for language in Language:
        own = [
            said.direction
            for clip, said in zip(found.clips, found.tags, strict=False)
            if clip.source is language
        ]
        known = Counter(direction for direction in own if direction is not Direction.AUTO)
        if known and known.total() >= SURE * len(own):
            named[language] = known.most_common(1)[0][0]
    if len(named) < len(Language):
        return "It does not name English or Japanese for enough clips of both languages."
    if all(direction.source is language for language, direction in named.items()):
        return "It names the language to be written."
    if all(direction.target is language for language, direction in named.items()):
        return "It names the language spoken."
    target = next(iter(named.values())).target
    return f"It names {TITLES[target]} whatever is spoken." if target else ""


def writing_down(found: Findings) -> str:
    """Whether the model can write down what is said, in a sentence, and what to do."""
    if found.spoken is None:
        return "Whether it can write down what is said was not measured."
    results = [judged(found.spoken, direction, spoken=True) for direction in BOTH]
    counts = " and ".join(f"{result.right} of {result.sure}" for result in results)
    if any(result.enough is None for result in results):
        advice = "too few to decide"
    elif all(result.enough for result in results):
        advice = "use `--transcript same`, and `SPEECH_TRANSCRIPT=same` for a Space"
    else:
        advice = "leave it to another model with `--transcript`"
    return f"Asked to write down what is said, it does so in {counts} clips: {advice}."


def _best(found: Findings, name: str, default: str, ways: Mapping[str, Outputs]) -> Check:
    """Whether no other way is surely better than the default."""
    if default not in ways:
        others = f" {', '.join(ways)} can be used." if ways else ""
        return Check(name, False if ways else None, f"{default} was not measured.{others}")
    rivals = {
        other: outputs
        for other, outputs in ways.items()
        if other != default and len(_differences(ways[default], outputs)) >= FEWEST
    }
    if not rivals:
        few = _too_few("sentences") if len(ways) > 1 else " Nothing else was measured."
        return Check(name, None, f"{default} cannot be compared.{few}")
    gains, better = list[str](), list[str]()
    for other, outputs in rivals.items():
        gain, sure = _gain(_differences(ways[default], outputs), CHANCE / len(rivals))
        gains.append(f"{other} {gain:+.1f}")
        if sure and gain > MARGIN:
            better.append(other)
    verdict = f"Better is {', '.join(better)}" if better else "Nothing else is surely better"
    figures = ", ".join(gains)
    why = f"{verdict}. chrF2 of a sentence against that of the default, {default}: {figures}."
    return Check(name, not better, why)


def _differences(default: Outputs, other: Outputs) -> np.ndarray:
    """By how much `other` is better for each sentence of the samples that both have."""
    shared = {id(sample) for sample in default.samples} & {id(sample) for sample in other.samples}
    first, second = (
        np.array(
            [
                _sentence_chrf(text, reference)
                for sample, translation in outputs.pairs
                if id(sample) in shared
                for text, reference in sentences_of(sample, translation)
            ]
        )
        for outputs in (default, other)
    )
    return np.asarray(second - first)


def _gain(differences: np.ndarray, chance: float) -> tuple[float, bool]:
    """Their mean, and whether it is above 0 by no chance."""
    draws = np.random.default_rng(1).choice(differences, (2000, len(differences)))
    return float(differences.mean()), float((draws.mean(axis=1) > 0).mean()) >= 1 - chance


def _invented(found: Findings) -> Check:
    if not found.sounds:
        return Check("Silence and noise", None, "They were not measured.")
    invented = sum(outcome.invented for outcome in found.sounds.values())
    flagged = sum(outcome.flags.total() for outcome in found.sounds.values())
    minutes = sum(outcome.seconds for outcome in found.sounds.values()) / 60
    own = [said for _, said in found.answers if said.text and not said.flags]
    return Check(
        "Silence and noise",
        not invented,
        f"Of {minutes:.1f} minutes the app makes {invented or 'no'} texts without a flag and "
        f"{flagged} with one. Asked without its detector, the model writes {len(own)} without a "
        f"flag for {len(found.answers)} sounds.",
    )


def reference_of(sample: Sample | Recording) -> str:
    """The translation of all of a sample."""
    if isinstance(sample, Sample):
        return sample.text
    joint = "" if sample.direction is Direction.EN_JA else " "
    return joint.join(sentence.reference for sentence in sample.sentences)


def sentences_of(sample: Sample | Recording, translation: Translation) -> Iterable[tuple[str, str]]:
    """What was written for each sentence, and its reference."""
    if isinstance(sample, Sample):
        return [(translation.text, sample.text)]
    target = sample.direction.target
    assert target is not None
    references = [sentence.reference for sentence in sample.sentences]
    return zip(resegment(translation.text, references, target), references, strict=True)


def _sentence_chrf(text: str, reference: str) -> float:
    from sacrebleu.metrics import CHRF

    return float(CHRF().sentence_score(text, [reference]).score)


def chrf(pairs: Sequence[tuple[str, str]]) -> float:
    """chrF2 of texts against references, as one corpus; 0 for none."""
    from sacrebleu.metrics import CHRF

    if not pairs:
        return 0.0
    texts, references = zip(*pairs, strict=True)
    return float(CHRF().corpus_score(list(texts), [list(references)]).score)


def escaped(text: str) -> str:
    """A text as a cell: it neither ends the cell, nor formats the page, nor calls anybody."""
    for mark in "\\|<>*`[]":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.replace("#", "&#35;").replace("@", "&#64;").split())
