"""The words of the project: what goes between audio, engine, captions and the interfaces."""

from __future__ import annotations

from collections.abc import Sequence
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


class Flag(StrEnum):
    """A reason to distrust a hypothesis. Flags are shown, never used to hide text."""

    NO_SPEECH = "no_speech"
    TRUNCATED = "truncated"
    REPEATED = "repeated"
    WRONG_SCRIPT = "wrong_script"
    LOW_CONFIDENCE = "low_confidence"
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

    @property
    def text(self) -> str:
        """All segments as one text: Japanese joins Japanese with nothing, the rest with a space."""
        text, before = "", Direction.AUTO
        for segment in self.segments:
            if not segment.text:
                continue
            japanese = segment.direction is before is Direction.EN_JA
            text += ("" if japanese or not text else " ") + segment.text
            before = segment.direction
        return text

    @property
    def flags(self) -> Flags:
        """Every flag of any segment; NO_SPEECH alone when there is no segment at all."""
        if not self.segments:
            return frozenset({Flag.NO_SPEECH})
        return frozenset().union(*(segment.flags for segment in self.segments))

    @property
    def rtfx(self) -> float:
        """Inverse real-time factor: seconds of audio per second of computing; 0 when unknown."""
        return self.duration / self.compute_seconds if self.compute_seconds > 0 else 0.0
