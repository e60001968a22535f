"""What is known of a recording while it is translated, and what the engine is asked for it.

A session has the directions of what came before and the votes on those to come, translates segments
in batches, mends what is spoilt and has written down what was said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from speech_translation.engine.base import Aligner, Cancelled, Engine, Prefills, Request
from speech_translation.languages import TOLD, Vote, directions
from speech_translation.segments import SENTENCE, Policy, Utterance, cut, padded, shorter
from speech_translation.text import echoed, has_japanese, length_flags
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Flag,
    Hypothesis,
    Seconds,
    Segment,
    Span,
    Word,
)

OnSpan = Callable[[Span, str], None]

RETRY_FLAGS = frozenset({Flag.REPEATED, Flag.TRUNCATED})
"""Flags of a text that is not worth showing if there is a better one."""

_RETRY_PENALTY = 1.15
_RETRY_SHORTEST: Seconds = 2.0  # that is divided for it

_UNHEARD = Hypothesis("", Direction.AUTO)
"""What was said where nobody wrote it down."""


class Memory(NamedTuple):
    """What a session knows of a recording, as plain data: another process can go on with it."""

    latest: Direction
    """Of what was translated last; at first what was asked for."""

    votes: dict[Span, Vote]
    """What the model named for the beginnings of the regions that are still to come."""


class Session:
    """One recording, or one talk, on its way through the engine.

    `direction` is what was asked for; with AUTO each piece of speech has its own. `memory` is that
    of the session that translated what comes before. A spoilt segment is tried once more while
    there is `time_to_retry`.
    """

    def __init__(
        self,
        engine: Engine,
        direction: Direction,
        context: str = "",
        on_text: OnSpan | None = None,
        cancelled: Cancelled | None = None,
        policy: Policy = SENTENCE,
        batch_size: int | None = None,
        memory: Memory | None = None,
        time_to_retry: Callable[[], bool] = lambda: True,
        transcriber: Engine | None = None,
        aligner: Aligner | None = None,
    ) -> None:
        for asked in (engine, transcriber or engine):
            if not callable(getattr(asked, "generate", None)):
                raise TypeError(f"The engine is what load_engine returns, not {asked!r}.")
        if not isinstance(policy, Policy):
            raise TypeError(f"A policy is a Policy, like POLICIES['pause'], not {policy!r}.")
        self.batch_size = batch_size or engine.batch_size
        self._asked = direction
        self._latest, self._votes = memory or Memory(direction, {})
        self._engine = engine
        self._transcriber = transcriber
        self._aligner = aligner
        self._context = context
        self._on_text = on_text
        self._cancelled = cancelled
        self._policy = policy
        self._time_to_retry = time_to_retry
        self._awaited = on_text is not None

    @property
    def memory(self) -> Memory:
        """What is known for the session that goes on after this one."""
        return Memory(self._latest, self._votes)

    @property
    def stopped(self) -> bool:
        """Whether the run was cancelled."""
        return self._cancelled is not None and self._cancelled()

    def batch(
        self, utterances: Sequence[Utterance], ahead: Sequence[Utterance] = ()
    ) -> Iterator[Segment]:
        """Translate utterances together, each in its language, and mend what was spoilt.

        `ahead` are those that come after them. Once cancelled, nothing more is yielded. Raises
        EngineError when the engine fails.
        """
        pieces = self.by_language(utterances, ahead)
        if self.stopped:
            return
        hypotheses = self.translated(pieces)
        # At once: an engine that transcribes its own batch still knows its sound and prompts.
        sources = self.transcribed([piece for piece, _ in pieces], hypotheses)
        for (piece, _), hypothesis, source in zip(pieces, hypotheses, sources, strict=True):
            results, said = [(piece, hypothesis)], [source]
            if hypothesis.flags & RETRY_FLAGS and not self.stopped and self._time_to_retry():
                results = self._retry(piece, hypothesis.direction) or results
            if len(results) > 1:
                parts, texts = zip(*results, strict=True)
                said = self.transcribed(parts, texts)
            for (part, result), source in zip(results, said, strict=True):
                if self.stopped:
                    return
                self._awaited = False
                yield self.segment(part, result, source)

    def by_language(
        self,
        utterances: Sequence[Utterance],
        ahead: Sequence[Utterance] = (),
    ) -> list[tuple[Utterance, Direction]]:
        """`utterances`, cut where the language changes, and the direction of each piece.

        What comes `ahead` has a say. AUTO is left for what the model may name itself: nothing is
        known yet, or it heard no language in any region.
        """
        if self._asked is not Direction.AUTO:
            return [(utterance, self._asked) for utterance in utterances]
        votes = self._voted([*utterances, *ahead])
        named = iter(zip(votes, directions(votes, self._latest), strict=True))
        pieces = []
        for utterance in utterances:
            told = list(zip(utterance.regions, named, strict=False))
            runs = [list(run) for _, run in groupby(told, lambda item: item[1][1])]
            parts = [tuple(region for region, _ in run) for run in runs]
            for run, regions in zip(runs, padded(parts, utterance.span, self._policy), strict=True):
                doubted = not any(vote.evidence for _, (vote, _) in run)
                direction = Direction.AUTO if doubted else run[0][1][1]
                pieces.append((_part(utterance, regions), direction))
        return pieces

    def segment(
        self, utterance: Utterance, hypothesis: Hypothesis, source: Hypothesis = _UNHEARD
    ) -> Segment:
        """What was heard, what it means and what was said (`source`).

        From here on this direction is the latest.
        """
        if hypothesis.direction is not Direction.AUTO:
            self._latest = hypothesis.direction
        last = utterance.span.end
        self._votes = {span: vote for span, vote in self._votes.items() if span.end > last}
        start, end = utterance.span.seconds
        flags = hypothesis.flags
        if echoed(hypothesis.text, self._context):
            flags |= {Flag.TERMS_ECHOED}
        if target := hypothesis.direction.target:
            speech = sum(end - start for start, end in utterance.regions) / SAMPLE_RATE
            flags |= length_flags(hypothesis.text, target, speech)
        return Segment(
            start,
            end,
            hypothesis.text,
            hypothesis.direction,
            flags,
            hypothesis.tokens,
            hypothesis.mean_logprob,
            tuple(region.seconds for region in utterance.regions),
            source.text,
            source.flags,
            self._words(utterance, hypothesis.direction, source.text),
        )

    def _words(self, utterance: Utterance, direction: Direction, text: str) -> tuple[Word, ...]:
        """When the words of what is said are said, in seconds of the recording."""
        if self._aligner is None or not text or direction.source is None or self.stopped:
            return ()
        begin = utterance.span.seconds[0]
        return tuple(
            Word(begin + start, begin + end, word)
            for start, end, word in self._aligner.align(utterance.samples, text, direction.source)
        )

    def prefill(self, utterance: Utterance) -> None:
        """Read the beginning of an utterance that still grows, where the engine can."""
        if isinstance(self._engine, Prefills):
            self._engine.prefill(Request([utterance.samples], self._latest, self._context))

    def generate(
        self,
        utterances: Sequence[Utterance],
        direction: Direction,
        repetition_penalty: float = 1.0,
    ) -> list[Hypothesis]:
        """What the engine says about utterances."""
        listener = self._on_text
        on_text = None
        if listener is not None:

            def on_text(index: int, text: str) -> None:
                listener(utterances[index].span, text)

        return self._engine.generate(
            Request(
                [utterance.samples for utterance in utterances],
                direction,
                self._context,
                repetition_penalty,
                on_text,
                self._cancelled,
                asked_again=self._transcriber is self._engine,
                awaited=self._awaited,
            )
        )

    def translated(self, pieces: Sequence[tuple[Utterance, Direction]]) -> list[Hypothesis]:
        """A hypothesis for each piece; those with the same direction are translated together."""
        results: dict[int, Hypothesis] = {}
        size = self.batch_size

        def ask(chosen: Sequence[int], direction: Direction) -> None:
            for first in range(0, len(chosen), size):
                some = chosen[first : first + size]
                heard = self.generate([pieces[i][0] for i in some], direction)
                results.update(zip(some, heard, strict=True))

        for direction in dict.fromkeys(direction for _, direction in pieces):
            ask([i for i, (_, d) in enumerate(pieces) if d is direction], direction)
        if self._asked is not Direction.AUTO:
            return [results[i] for i in range(len(pieces))]
        expected = self._latest
        for i, (_, direction) in enumerate(pieces):
            named = results[i].direction
            # In a piece without a language of its own, one doubtful name must not turn the talk.
            if direction is Direction.AUTO and Direction.AUTO not in (named, expected):
                if named is not expected and not self.stopped:
                    ask([i], expected)
            elif named is not Direction.AUTO:
                expected = named
        return [results[i] for i in range(len(pieces))]

    def transcribed(
        self, utterances: Sequence[Utterance], hypotheses: Sequence[Hypothesis]
    ) -> list[Hypothesis]:
        """What is said in utterances that were translated; nothing where no text came of one.

        Those in the same language are transcribed together. Where the model named none, the script
        of the translation tells it. One that is spoilt is tried once more, with repetition made
        costly.
        """
        results = [_UNHEARD] * len(utterances)
        transcriber = self._transcriber
        if transcriber is None:
            return results

        def ask(chosen: Sequence[int], direction: Direction, penalty: float = 1.0) -> None:
            for first in range(0, len(chosen), transcriber.batch_size):
                some = chosen[first : first + transcriber.batch_size]
                heard = transcriber.generate(
                    Request(
                        [utterances[i].samples for i in some],
                        direction.spoken,
                        self._context,
                        penalty,
                        cancelled=self._cancelled,
                    )
                )
                for i, source in zip(some, heard, strict=True):
                    if penalty == 1.0 or not source.flags & RETRY_FLAGS:
                        results[i] = source

        for direction in (Direction.EN_JA, Direction.JA_EN):
            own = [i for i, h in enumerate(hypotheses) if h.text and _heard_in(h) is direction]
            ask(own, direction)
            if not self.stopped and self._time_to_retry():
                ask([i for i in own if results[i].flags & RETRY_FLAGS], direction, _RETRY_PENALTY)
        return results

    def _voted(self, utterances: Sequence[Utterance]) -> list[Vote]:
        """What the model names for each region, by its beginning; AUTO once cancelled."""
        pairs = [(x, Span(a, min(b, a + TOLD))) for x in utterances for a, b in x.regions]
        unknown = {span: owner for owner, span in pairs if span not in self._votes}
        spans = list(unknown)
        for first in range(0, len(spans), self.batch_size):
            asked = spans[first : first + self.batch_size]
            if self.stopped:
                break
            request = Request(
                [_part(unknown[span], (span,)).samples for span in asked],
                context=self._context,
                cancelled=self._cancelled,
                only_direction=True,
                awaited=self._awaited,
            )
            for span, heard in zip(asked, self._engine.generate(request), strict=True):
                seconds = (span.end - span.start) / SAMPLE_RATE
                self._votes[span] = Vote(heard.direction, heard.mean_logprob, seconds)
        nothing = Vote(Direction.AUTO, 0.0, 0.0)
        return [self._votes.get(span, nothing) for _, span in pairs]

    def _retry(
        self, utterance: Utterance, direction: Direction
    ) -> list[tuple[Utterance, Hypothesis]]:
        """Once more, in shorter segments and with repetition made costly; nothing if as spoilt."""
        start, end = utterance.span
        seconds = (end - start) / SAMPLE_RATE
        half = seconds / 2
        parts = [utterance]
        if seconds >= _RETRY_SHORTEST:
            parts = shorter(utterance, replace(self._policy, longest=half, wanted=(0.0, half)))
        again = self.generate(parts, direction, _RETRY_PENALTY)
        if any(hypothesis.flags & RETRY_FLAGS for hypothesis in again):
            return []
        return list(zip(parts, again, strict=True))


def _heard_in(hypothesis: Hypothesis) -> Direction:
    """The direction of a hypothesis; the script of its text tells one that the model did not."""
    if hypothesis.direction is not Direction.AUTO:
        return hypothesis.direction
    return Direction.EN_JA if has_japanese(hypothesis.text) else Direction.JA_EN


def _part(utterance: Utterance, regions: tuple[Span, ...]) -> Utterance:
    """Some of the regions of an utterance, as one of its own."""
    begin = utterance.span.start
    return Utterance(regions, cut(utterance.samples, [region.moved(-begin) for region in regions]))
