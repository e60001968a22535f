"""The words of the project: what goes between audio, engine, captions and the interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

Seconds = float

SAMPLE_RATE = 16_000
"""Hz. Everything after `load_audio` is mono float32 at this rate, as the model expects."""


class Language(StrEnum):
    """A language of the pair, by its ISO 639-1 code."""

    ENGLISH = "en"
    JAPANESE = "ja"

    @property
    def tag(self) -> str:
        """The name the model's prompt uses for it: `language Japanese<asr_text>`."""
        return "English" if self is Language.ENGLISH else "Japanese"


class Direction(StrEnum):
    """Which way to translate. AUTO lets the model name the target language itself."""

    EN_JA = "en2ja"
    JA_EN = "ja2en"
    AUTO = "auto"

    @classmethod
    def _missing_(cls, value: object) -> Direction:
        """Say what there is: callers may give the value of a direction in its place."""
        raise ValueError(f"There is no direction {str(value)!r}: use {', '.join(cls)}.")

    @property
    def source(self) -> Language | None:
        """Language spoken, or None for AUTO."""
        return {Direction.EN_JA: Language.ENGLISH, Direction.JA_EN: Language.JAPANESE}.get(self)

    @property
    def target(self) -> Language | None:
        """Language written, or None for AUTO."""
        return {Direction.EN_JA: Language.JAPANESE, Direction.JA_EN: Language.ENGLISH}.get(self)

    @classmethod
    def to(cls, target: Language) -> Direction:
        """The direction that writes `target`."""
        return cls.EN_JA if target is Language.JAPANESE else cls.JA_EN

    @classmethod
    def of(cls, source: Language) -> Direction:
        """The direction that translates `source`."""
        return cls.EN_JA if source is Language.ENGLISH else cls.JA_EN

    @property
    def spoken(self) -> Direction:
        """The direction that writes the language that this one translates; AUTO for AUTO.

        The model's tag names the language that is written. So a model that can transcribe writes
        down what is said when it is asked for this direction.
        """
        return Direction.to(self.source) if self.source else self


class Show(StrEnum):
    """Which texts a file shows: the translation, what was said, or both."""

    TRANSLATION = "translation"
    BOTH = "both"
    SOURCE = "source"

    @classmethod
    def _missing_(cls, value: object) -> Show:
        """Say what there is: callers may give the value in place of the member."""
        raise ValueError(f"There is no way {str(value)!r} to show texts: use {', '.join(cls)}.")


class Flag(StrEnum):
    """A reason to distrust a hypothesis. Flags are shown, never used to hide text."""

    NO_SPEECH = "no_speech"
    TRUNCATED = "truncated"
    REPEATED = "repeated"
    WRONG_SCRIPT = "wrong_script"
    LOW_CONFIDENCE = "low_confidence"
    """The mean log-probability of its tokens is below -1.0, or below `low_confidence_logprob` where
    the generation_config.json of a checkpoint on this machine has it."""
    TERMS_ECHOED = "terms_echoed"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"


Flags = frozenset[Flag]


class Span(NamedTuple):
    """A half-open range of samples at 16 kHz."""

    start: int
    end: int

    @property
    def seconds(self) -> tuple[Seconds, Seconds]:
        """Start and end in seconds."""
        return self.start / SAMPLE_RATE, self.end / SAMPLE_RATE

    def moved(self, by: int) -> Span:
        """As long, and so many samples later."""
        return Span(self.start + by, self.end + by)


class RemarkKind(StrEnum):
    """What a remark is about."""

    TRACK = "track"
    """The recording has several sound tracks, and this is of one."""
    UNTAGGED = "untagged"
    """A language was asked for, and the only sound track does not say its own."""
    LOST = "lost"
    """From `start` to `end` sound is missing or could not be decoded."""
    HOLE = "hole"
    """So it is at `start`, which is `end`, and nobody knows how much is missing."""
    SILENT = "silent"
    """From `start` to `end` the file holds no sound."""
    REPEATED = "repeated"
    """From `start` to `end` the file repeats itself; the repetition is left out."""
    JUMPED = "jumped"
    """At `start` the file's clock jumps to `end`, too far to be a gap: what follows goes on from
    `start`."""
    MORE = "more"
    """`number` more places are like these."""
    UNREAD = "unread"
    """Of `of` recordings in the file, `number` could not be decoded."""
    CUT = "cut"
    """At `start`, which is `end`, the file breaks off: nobody knows how much is missing."""
    FIRST = "first"
    """The file holds more than `number` recordings, and only so many are decoded."""
    UNTRANSLATED = "untranslated"
    """From `start` to `end` nothing is translated: somebody stopped it, or it broke off."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What somebody should know of a recording who reads its translation.

    As a `str` it is a part of an English sentence about the recording.
    """

    kind: RemarkKind
    start: Seconds = 0.0
    end: Seconds = 0.0
    number: int = 0
    of: int = 0
    languages: tuple[str, ...] = ()
    """Of the sound tracks, as the file has them; "?" for one without. None if no track has one."""

    @property
    def listed(self) -> str:
        """The languages in brackets, with a space before, or nothing."""
        return f" ({', '.join(self.languages)})" if self.languages else ""

    @property
    def jump(self) -> str:
        """How far a clock jumps from `start` to `end`."""
        seconds = self.end - self.start
        return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.1f} s"

    def __str__(self) -> str:
        times = f"from {self.start:.1f} to {self.end:.1f} s"
        match self.kind:
            case RemarkKind.TRACK:
                return f"sound track {self.number} of {self.of}{self.listed} is translated"
            case RemarkKind.UNTAGGED:
                return "its only sound track does not say its language, and is translated"
            case RemarkKind.LOST:
                return f"{times} sound is missing or could not be decoded"
            case RemarkKind.HOLE:
                return f"at {self.start:.1f} s sound is missing, and nobody knows how much"
            case RemarkKind.SILENT:
                return f"{times} it holds no sound"
            case RemarkKind.REPEATED:
                return f"{times} it repeats itself; the repetition is left out"
            case RemarkKind.JUMPED:
                return (
                    f"at {self.start:.1f} s its clock jumps ahead by {self.jump}, too far to be a "
                    "gap; what follows goes on from there"
                )
            case RemarkKind.MORE:
                return f"{self.number} more places are damaged, without sound or repeated"
            case RemarkKind.UNREAD:
                return f"{self.number} of the {self.of} recordings in it could not be decoded"
            case RemarkKind.CUT:
                return f"it breaks off at {self.start:.1f} s: its end is missing"
            case RemarkKind.FIRST:
                return f"only the first {self.number} recordings in it are decoded: split it"
            case RemarkKind.UNTRANSLATED:
                return f"{times} it is not translated"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model says about one segment of audio.

    `direction` is what was forced or, for AUTO, what the model named; it stays AUTO when the model
    named no language. `mean_logprob` is the mean natural-log probability of the generated tokens
    (the end token counts), 0 when nothing was generated and NaN when a server does not tell.
    """

    text: str
    direction: Direction
    tokens: int = 0
    mean_logprob: float = 0.0
    flags: Flags = frozenset()
    tag: str = ""
    """What the model wrote as the name of its language, where the choice was its own."""


class Word(NamedTuple):
    """A word of what is said, without punctuation, and when it is said."""

    start: Seconds
    end: Seconds
    text: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One translated stretch of a recording: a sentence or a few of them."""

    start: Seconds
    end: Seconds
    text: str
    direction: Direction
    flags: Flags = frozenset()
    tokens: int = 0
    mean_logprob: float = 0.0
    regions: tuple[tuple[Seconds, Seconds], ...] = ()
    """Where somebody speaks in it; none for one that is speech from its start to its end."""
    source_text: str = ""
    """What is said, in the language that is spoken; empty where nobody wrote it down."""
    source_flags: Flags = frozenset()
    """Reasons to distrust `source_text`."""
    words: tuple[Word, ...] = ()
    """Those of `source_text`, where an aligner has timed them; seconds of the recording."""

    @property
    def speech(self) -> tuple[tuple[Seconds, Seconds], ...]:
        """Where somebody speaks in it: its regions, or all of it."""
        return self.regions or ((self.start, self.end),)


@dataclass(frozen=True, slots=True)
class Translation:
    """A whole recording, translated."""

    segments: Sequence[Segment]
    direction: Direction
    duration: Seconds
    compute_seconds: Seconds = 0.0
    tokens: int = field(default=0)
    remarks: tuple[Remark, ...] = ()
    """What is to be said of the recording: which of several sound tracks this is of, and from when
    to when it is damaged, without sound, or repeats itself."""

    @property
    def text(self) -> str:
        """All segments as one text: Japanese joins Japanese with nothing, the rest with a space."""
        return _joined((segment.text, segment.direction.target) for segment in self.segments)

    @property
    def source_text(self) -> str:
        """What is said in all segments, as one text, in the same way."""
        return _joined((segment.source_text, segment.direction.source) for segment in self.segments)

    @property
    def flags(self) -> Flags:
        """Every flag of any segment; NO_SPEECH alone when there is no segment at all."""
        if not self.segments:
            return frozenset({Flag.NO_SPEECH})
        return frozenset().union(*(segment.flags for segment in self.segments))

    @property
    def translated(self) -> Seconds:
        """How much of the recording is translated: all but what was stopped or broke off."""
        rest = (x.end - x.start for x in self.remarks if x.kind is RemarkKind.UNTRANSLATED)
        return self.duration - sum(rest)

    @property
    def rtfx(self) -> float:
        """Inverse real-time factor: seconds of audio per second of computing; 0 when unknown."""
        return self.translated / self.compute_seconds if self.compute_seconds > 0 else 0.0


def _joined(texts: Iterable[tuple[str, Language | None]]) -> str:
    """Texts and their languages as one text."""
    whole, before = "", None
    for text, language in texts:
        if not text:
            continue
        japanese = language is before is Language.JAPANESE
        whole += ("" if japanese or not whole else " ") + text
        before = language
    return whole
