"""What happens to a visitor's recording between the page, or a program, and the engine."""

from __future__ import annotations

import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import gradio as gr
import numpy as np

from speech_translation.audio import load_audio
from speech_translation.captions import FORMATS, Format, write
from speech_translation.engine import Request
from speech_translation.errors import AudioError, SpeechTranslationError
from speech_translation.segments import POLICIES, cut, find_segments
from speech_translation.types import SAMPLE_RATE, Direction, Language, Translation
from web import zerogpu
from web.loading import Loading
from web.settings import Settings
from web.shutdown import Shutdown
from web.streaming import Update
from web.texts import interface_language, say


def language_of(request: gr.Request | None) -> Language:
    """The interface language of the visitor who sent `request`."""
    return interface_language(request.headers.get("accept-language") if request else None)


def refusal(message: str) -> gr.Error:
    """An error that shows `message` to the visitor and leaves no trace in the log."""
    return gr.Error(message, print_exception=False)


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
        self._running = dict[threading.Event, str]()  # what stops a translation: whose session

    def read(self, path: str | None, language: Language) -> np.ndarray:
        """The recording as float32 (n,) at 16 kHz. gr.Error in the visitor's language."""
        if not path:
            raise refusal(say(language, "no_audio"))
        if Path(path).stat().st_size > self.settings.max_megabytes << 20:
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
    ) -> Iterator[Update]:
        """Translate an upload. Every failure is a gr.Error with a sentence for the visitor.

        `segments` is the name of the policy by which speech is divided; without one it is
        sentence. Gradio's JavaScript client sends null for what was left out.
        """
        language = language_of(request)
        if direction not in tuple(Direction):
            raise refusal(say(language, "no_direction", direction=direction))
        segments = segments or "sentence"
        if segments not in POLICIES:
            raise refusal(say(language, "no_segments", segments=segments))
        if self.shutdown.requested:
            raise refusal(say(language, "ending"))
        stopped = threading.Event()
        self._running[stopped] = (request.session_hash if request else None) or ""
        try:
            samples = self.read(path, language)
            engine = self.loading.engine()
            for update in zerogpu.generate(
                samples, engine, Direction(direction), terms or "", stopped, POLICIES[segments]
            ):
                if self.shutdown.time_is_up:
                    raise refusal(say(language, "ending"))
                if self._has_left(request):
                    raise refusal("The visitor has left.")
                yield update
        except gr.Error:
            raise
        except SpeechTranslationError as error:
            raise refusal(str(error)) from None
        except Exception as error:
            # The log gets the place, not the message: the message may quote the visitor.
            print(*traceback.format_tb(error.__traceback__), type(error).__name__, file=sys.stderr)
            raise refusal(say(language, "broken")) from None
        finally:
            stopped.set()
            del self._running[stopped]

    def translate(
        self,
        path: str | None,
        direction: str,
        terms: str,
        request: gr.Request | None,
        segments: str | None = None,
    ) -> Translation:
        """The whole translation, for programs. Raises as `updates` does."""
        translation = None
        for update in self.updates(path, direction, terms, request, segments):
            translation = update.translation
        assert translation is not None
        return translation

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

    def other_direction(self, path: str, asked: Direction) -> Direction | None:
        """The direction that the model itself names, if it is not the one that was asked for.

        Speech in the target language is transcribed instead of translated, and with confidence, so
        only the model's own language tag shows the mistake. It is asked about the shortest stretch
        of speech without a pause that lasts a second.
        """
        if asked is Direction.AUTO:
            return None
        samples = load_audio(path, self.settings.max_seconds)
        regions = [region for segment in find_segments(samples) for region in segment]
        regions.sort(key=lambda region: region.end - region.start)
        telling = [r for r in regions if r.end - r.start >= SAMPLE_RATE] or regions[-1:]
        heard = self.loading.engine().generate(
            Request([cut(samples, [region]) for region in telling[:1]], Direction.AUTO)
        )
        for hypothesis in heard:
            if hypothesis.direction not in (Direction.AUTO, asked) and not hypothesis.flags:
                return hypothesis.direction
        return None


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
