"""What happens to a visitor's recording between the page, or a program, and the engine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import gradio as gr
import numpy as np

from speech_translation.audio import claimed_seconds, load_audio
from speech_translation.errors import (
    AudioError,
    ModelError,
    ServerUnreachable,
    SpeechTranslationError,
)
from speech_translation.other_direction import other_direction
from speech_translation.segments import POLICIES, Policy
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Language,
    Remark,
    RemarkKind,
    Seconds,
    Show,
    Translation,
)
from web import zerogpu
from web.answers import Answers, question
from web.browser_files import keep_sound
from web.line import SHORT, Full, Line, Ticket
from web.loading import Loading
from web.refusals import Refusal, log_place, refusal
from web.settings import Settings
from web.shutdown import Shutdown
from web.streaming import UPDATE_INTERVAL, Update, stream
from web.texts import clock, interface_language, say, words
from web.transcriber import Transcriber

F = TypeVar("F", bound=str)

_DOUBT: Seconds = 60.0  # a recording may be longer than its header says, by this and a tenth


def shown(show: str | None, language: Language) -> Show:
    """Which texts a program asks for. Gradio's JavaScript client sends null for none.

    Raises a Refusal for what there is not.
    """
    try:
        return Show(show or Show.TRANSLATION)
    except ValueError:
        raise refusal(language, "no_show") from None


def chosen(wanted: str, formats: Sequence[F], language: Language) -> F:
    """The one of `formats` that a program asks for. Raises a Refusal for another one."""
    format = next((format for format in formats if format == wanted), None)
    if format is None:
        raise refusal(language, "no_format", format=wanted, formats=", ".join(formats))
    return format


def language_of(request: gr.Request | None) -> Language:
    """The interface language of the visitor who sent `request`."""
    return interface_language(request.headers.get("accept-language") if request else None)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for with a recording."""

    direction: Direction
    terms: str
    policy: Policy
    language: Language
    """Of the interface."""
    offer: bool
    """Whether the page shows the result: it plays the sound and offers the other direction."""
    transcript: bool
    watched: bool


class Service:
    """The engine, the limits, and the translations that are under way.

    `has_left` tells whether the visitor who sent a request has gone.
    """

    def __init__(
        self,
        settings: Settings,
        loading: Loading,
        has_left: Callable[[gr.Request | None], bool] = lambda _: False,
    ) -> None:
        self.settings = settings
        self.loading = loading
        self.transcriber = Transcriber(settings, loading)
        self.shutdown = Shutdown()
        # Two of the longest recordings, as 32-bit samples: 0.9 GB for two hours; short ones have
        # 0.5 GB of their own.
        self.line = Line(2 * settings.max_seconds, settings.queue_size)
        self._has_left = has_left
        self._answers = Answers()
        self._running = dict[threading.Event, str]()  # what stops a translation: whose session

    def _read(
        self, path: str, wanted: _Wanted, remarks: list[Remark], limit: Seconds
    ) -> np.ndarray:
        """The recording as float32 (n,) at 16 kHz. Refusal in the visitor's language.

        What is to be said of it is added to `remarks`. Raises AudioError where it is longer than
        `limit` and may be.
        """
        name, longest = Path(path).name, self.settings.max_seconds
        try:
            return load_audio(
                path,
                limit,
                name=name,
                language=wanted.direction.source,
                remark=remarks.append,
            )
        except AudioError as error:
            if error.kind == "too_long" and limit < longest:
                raise
            key = f"audio_{error.kind}"
            raise refusal(wanted.language, key, name=name, longest=clock(longest)) from None

    def _check(self, path: str | None, language: Language) -> str:
        """The path of a recording that is there and not too large."""
        if not path:
            raise refusal(language, "no_audio")
        try:
            size = Path(path).stat().st_size
        except FileNotFoundError:
            raise refusal(language, "expired") from None
        if size > self.settings.max_megabytes << 20:
            raise refusal(language, "too_large", megabytes=self.settings.max_megabytes)
        return path

    def _admitted(
        self, ticket: Ticket, stopped: threading.Event, request: gr.Request | None
    ) -> Iterator[Update]:
        """Updates with a place, until `ticket` is let in or the visitor has stopped waiting."""
        while not ticket.wait(UPDATE_INTERVAL) and not stopped.is_set():
            self._still_wanted(request)
            yield Update("", 0.0, ticket.seconds, None, place=ticket.place)

    def _still_wanted(self, request: gr.Request | None) -> None:
        if self.shutdown.time_is_up:
            raise refusal(language_of(request), "ending")
        if self._has_left(request):
            raise Refusal("The visitor has left.")

    def updates(
        self,
        path: str | None,
        direction: str,
        terms: str | None,
        request: gr.Request | None,
        segments: str | None = None,
        *,
        offer: bool = False,
        transcript: bool = False,
        watched: bool = True,
    ) -> Iterator[Update]:
        """Translate an upload. Every failure is a Refusal with a sentence for the visitor.

        `segments` is the name of the policy by which speech is divided; without one it is
        sentence. Gradio's JavaScript client sends null for what was left out. `offer` is whether
        `other_direction` and `playable` will be asked about the last update. With `transcript` what
        is said is written down, too. `watched` is whether anybody reads what comes before the last
        update.
        """
        language = language_of(request)
        if direction not in tuple(Direction):
            raise refusal(language, "no_direction", direction=direction)
        segments = segments or "sentence"
        if segments not in POLICIES:
            raise refusal(language, "no_segments", segments=segments)
        if transcript and not self.transcriber.available:
            raise refusal(language, "no_transcript")
        if self.shutdown.requested:
            raise refusal(language, "ending")
        asked = None
        if zerogpu.ACTIVE:
            asked = question(path, direction, terms, segments, offer=offer, transcript=transcript)
        known = self._answers.known(asked)
        if known is not None:
            yield known
            return
        try:
            with self._stoppable(request) as stopped:
                path = self._check(path, language)
                wanted = _Wanted(
                    Direction(direction),
                    terms or "",
                    POLICIES[segments],
                    language,
                    offer,
                    transcript,
                    watched,
                )
                for update in self._in_turn(path, wanted, stopped, request):
                    if update.translation is not None and stopped.is_set() and not update.missing:
                        update = replace(update, missing=words("stopped"))
                    update = _named(update)
                    self._answers.keep(asked, update)
                    yield update
        except Refusal:
            raise
        except Full as full:
            raise refusal(language, "busy", ahead=full.ahead) from None
        except ModelError as error:
            raise refusal(language, "model_failed", reason=error) from None
        except ServerUnreachable:
            raise refusal(language, "model_away") from None
        except SpeechTranslationError as error:
            print(f"error: {error}", file=sys.stderr)
            raise refusal(language, "broken") from None
        except Exception as error:
            log_place(error)
            raise refusal(language, "broken") from None

    @contextmanager
    def _stoppable(self, request: gr.Request | None) -> Iterator[threading.Event]:
        """What `stop` sets for whoever sent `request`; set in the end, too."""
        stopped = threading.Event()
        self._running[stopped] = (request.session_hash if request else None) or ""
        try:
            yield stopped
        finally:
            stopped.set()
            del self._running[stopped]

    def _in_turn(
        self, path: str, wanted: _Wanted, stopped: threading.Event, request: gr.Request | None
    ) -> Iterator[Update]:
        """Wait in line, decode and translate. A header that lies costs another wait.

        One that says nothing, or more than may be, stands for a short recording: browsers record
        without a length, mostly a few words, and these do not wait behind long ones.
        """
        longest = self.settings.max_seconds
        claimed = claimed_seconds(path) or SHORT
        if claimed > longest:
            claimed = min(SHORT, longest)
        for claim in (claimed, longest):
            remarks = list[Remark]()
            with self.line.join(claim) as ticket:
                yield from self._admitted(ticket, stopped, request)
                if stopped.is_set():
                    break
                limit = min(longest, 1.1 * claim + _DOUBT)
                try:
                    samples = self._read(path, wanted, remarks, limit)
                except AudioError:  # it is longer than its header says
                    continue
                ticket.measured(len(samples) / SAMPLE_RATE)
                run = self._stream(samples, wanted, stopped)
                with closing(run) as updates:  # at once, when the visitor leaves
                    for update in updates:
                        self._still_wanted(request)
                        if update.translation is not None:
                            whole = replace(update.translation, remarks=tuple(remarks))
                            update = replace(update, translation=whole)
                            if wanted.offer and whole.segments:
                                keep_sound(path, samples)
                        yield update
                return
        nothing = Translation((), wanted.direction, claimed)
        yield Update("", 0.0, claimed, None, nothing)

    def _stream(
        self, samples: np.ndarray, wanted: _Wanted, stopped: threading.Event
    ) -> Generator[Update, None, None]:
        """The updates of a translation, by this process or by borrowed GPUs."""
        engine = self.loading.engine()
        if not zerogpu.ACTIVE:
            transcriber = self.transcriber.engine() if wanted.transcript else None
            return stream(
                samples,
                engine,
                wanted.direction,
                wanted.terms,
                stopped,
                wanted.policy,
                transcriber,
                watched=wanted.watched,
            )
        return zerogpu.stream(
            samples,
            engine.batch_size,
            wanted.direction,
            wanted.terms,
            stopped,
            wanted.policy,
            language=wanted.language,
            offer=wanted.offer,
            transcript=wanted.transcript,
        )

    def finished(
        self,
        path: str | None,
        direction: str,
        terms: str,
        request: gr.Request | None,
        segments: str | None = None,
        *,
        transcript: bool = False,
    ) -> Update:
        """The last update, for programs; `missing` says why it is not the whole recording.

        Raises as `updates` does.
        """
        last = None
        for update in self.updates(
            path, direction, terms, request, segments, transcript=transcript, watched=False
        ):
            last = update
        assert last is not None
        return last

    def translate(
        self,
        path: str | None,
        direction: str,
        terms: str,
        request: gr.Request | None,
        segments: str | None = None,
        *,
        transcript: bool = False,
    ) -> Translation:
        """The whole translation, for programs: a text or a file cannot say that its end is missing.

        Raises as `updates` does, and where a part is missing.
        """
        last = self.finished(path, direction, terms, request, segments, transcript=transcript)
        assert last.translation is not None
        if last.missing:
            language = language_of(request)
            part = say(language, "only_in_segments")
            raise Refusal(f"{last.missing[language]} {part}")
        return last.translation

    def stop(self, request: gr.Request) -> None:
        """Stop the translations of the visitor who sent `request`."""
        for stopped, session in list(self._running.items()):
            if session and session == request.session_hash:
                stopped.set()

    def stop_all(self) -> None:
        """Stop every translation."""
        for stopped in list(self._running):
            stopped.set()

    @property
    def working(self) -> bool:
        """Whether a translation is under way."""
        return bool(self._running)

    def other_direction(
        self, asked: Direction, last: Update, request: gr.Request | None = None
    ) -> Direction | None:
        """The direction that the model itself names, if it is not the one that was asked for.

        `last` is the last update of the translation. Raises nothing: its result stands, whatever
        becomes of this question. It is not asked once a visitor has stopped or the Space ends, and
        `stop` ends it.
        """
        done = asked is Direction.AUTO or bool(last.missing) or self.shutdown.requested
        if zerogpu.ACTIVE or done:
            return last.other
        with self._stoppable(request) as stopped:
            return other_direction(
                self.loading.engine(),
                last.stretches,
                asked,
                lambda: stopped.is_set() or self.shutdown.requested,
            )


def _named(update: Update) -> Update:
    """The update; the remarks of a part say from when on the rest is missing."""
    translation = update.translation
    if translation is None or not update.missing:
        return update
    end = translation.segments[-1].end if translation.segments else 0.0
    rest = Remark(RemarkKind.UNTRANSLATED, end, translation.duration)
    return replace(update, translation=replace(translation, remarks=(*translation.remarks, rest)))
