"""What happens to a visitor's recording between the page, or a program, and the engine."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np

from speech_translation.audio import load_audio
from speech_translation.captions import FORMATS, Format, write
from speech_translation.errors import AudioError, SpeechTranslationError
from speech_translation.other_direction import other_direction, telling
from speech_translation.segments import POLICIES, Policy, find_segments
from speech_translation.types import Direction, Language, Translation
from web import zerogpu
from web.answers import Answers, question
from web.loading import Loading
from web.refusals import log_place, refusal
from web.settings import Settings
from web.shutdown import Shutdown
from web.streaming import Update, stream
from web.texts import interface_language, say


def language_of(request: gr.Request | None) -> Language:
    """The interface language of the visitor who sent `request`."""
    return interface_language(request.headers.get("accept-language") if request else None)


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
        self.shutdown = Shutdown()
        self._has_left = has_left
        self._answers = Answers()
        self._running = dict[threading.Event, str]()  # what stops a translation: whose session

    def read(self, path: str | None, language: Language) -> np.ndarray:
        """The recording as float32 (n,) at 16 kHz. gr.Error in the visitor's language."""
        if not path:
            raise refusal(say(language, "no_audio"))
        try:
            size = Path(path).stat().st_size
        except FileNotFoundError:
            raise refusal(say(language, "expired")) from None
        if size > self.settings.max_megabytes << 20:
            raise refusal(say(language, "too_large", megabytes=self.settings.max_megabytes))
        try:
            return load_audio(path, self.settings.max_seconds, name=Path(path).name)
        except AudioError as error:
            raise refusal(say(language, "bad_audio", reason=error)) from None

    def updates(
        self,
        path: str | None,
        direction: str,
        terms: str | None,
        request: gr.Request | None,
        segments: str | None = None,
        *,
        offer: bool = False,
    ) -> Iterator[Update]:
        """Translate an upload. Every failure is a gr.Error with a sentence for the visitor.

        `segments` is the name of the policy by which speech is divided; without one it is
        sentence. Gradio's JavaScript client sends null for what was left out. `offer` is whether
        `other_direction` will be asked about the last update.
        """
        language = language_of(request)
        if direction not in tuple(Direction):
            raise refusal(say(language, "no_direction", direction=direction))
        segments = segments or "sentence"
        if segments not in POLICIES:
            raise refusal(say(language, "no_segments", segments=segments))
        if self.shutdown.requested:
            raise refusal(say(language, "ending"))
        asked = question(path, direction, terms, segments, offer=offer) if zerogpu.ACTIVE else None
        known = self._answers.known(asked)
        if known is not None:
            yield known
            return
        stopped = threading.Event()
        self._running[stopped] = (request.session_hash if request else None) or ""
        try:
            samples = self.read(path, language)
            run = self._stream(
                samples,
                Direction(direction),
                terms or "",
                stopped,
                POLICIES[segments],
                language,
                offer,
            )
            with closing(run) as updates:  # at once, when the visitor leaves
                for update in updates:
                    if self.shutdown.time_is_up:
                        raise refusal(say(language, "ending"))
                    if self._has_left(request):
                        raise refusal("The visitor has left.")
                    if update.translation is not None and stopped.is_set() and not update.missing:
                        update = replace(update, missing=say(language, "stopped"))
                    self._answers.keep(asked, update)
                    yield update
        except gr.Error:
            raise
        except SpeechTranslationError as error:
            raise refusal(str(error)) from None
        except Exception as error:
            log_place(error)
            raise refusal(say(language, "broken")) from None
        finally:
            stopped.set()
            del self._running[stopped]

    def _stream(
        self,
        samples: np.ndarray,
        direction: Direction,
        terms: str,
        stopped: threading.Event,
        policy: Policy,
        language: Language,
        offer: bool,
    ) -> Generator[Update, None, None]:
        """The updates of a translation, by this process or by borrowed GPUs."""
        engine = self.loading.engine()
        if not zerogpu.ACTIVE:
            return stream(samples, engine, direction, terms, stopped, policy)
        return zerogpu.stream(
            samples,
            engine.batch_size,
            direction,
            terms,
            stopped,
            policy,
            language=language,
            offer=offer,
        )

    def finished(
        self,
        path: str | None,
        direction: str,
        terms: str,
        request: gr.Request | None,
        segments: str | None = None,
    ) -> Update:
        """The last update, for programs; `missing` says why it is not the whole recording.

        Raises as `updates` does.
        """
        last = None
        for update in self.updates(path, direction, terms, request, segments):
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
    ) -> Translation:
        """The whole translation, for programs: a text or a file cannot say that its end is missing.

        Raises as `updates` does, and where a part is missing.
        """
        last = self.finished(path, direction, terms, request, segments)
        assert last.translation is not None
        if last.missing:
            part = say(language_of(request), "only_in_segments")
            raise refusal(f"{last.missing} {part}")
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

    def other_direction(self, path: str, asked: Direction, last: Update) -> Direction | None:
        """The direction that the model itself names, if it is not the one that was asked for.

        `last` is the last update of the translation. Raises nothing: its result stands, whatever
        becomes of this question.
        """
        if zerogpu.ACTIVE or asked is Direction.AUTO:
            return last.other
        try:
            samples = load_audio(path, self.settings.max_seconds)
        except AudioError:  # uploads are deleted after an hour, and a translation may take longer
            return None
        stretch = telling(samples, find_segments(samples))
        if stretch is None:
            return None
        return other_direction(self.loading.engine(), stretch, asked)


@contextmanager
def captions_files(translation: Translation, stem: str) -> Iterator[dict[Format, str]]:
    """Paths of `translation` in every format while the context lasts; empty on a full disk."""
    with ExitStack() as kept:
        paths = dict[Format, str]()
        try:
            folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
            for format in FORMATS:
                path = folder / f"{stem}.{format}"
                write(translation, path, format)
                paths[format] = str(path)
        except OSError as error:
            print(f"captions cannot be written: {error.strerror}", file=sys.stderr)
            paths = {}
        yield paths
