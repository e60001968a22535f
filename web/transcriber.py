"""What writes down what is said: loaded when a visitor first asks for it."""

from __future__ import annotations

import sys
import threading

from speech_translation.engine import Engine
from speech_translation.engine.base import NamesModel
from speech_translation.engine.batching import SharedEngine
from speech_translation.errors import SpeechTranslationError
from speech_translation.transcripts import OFF, SAME, load_transcriber, usual_transcriber
from web import zerogpu
from web.loading import Loading
from web.settings import Settings


class Transcriber:
    """The engine that transcribes beside the one that translates, if the Space has one.

    With vLLM servers this machine need not be able to run a model, and on ZeroGPU none can be
    loaded when it is first asked for: there it has none unless one is set.
    """

    def __init__(self, settings: Settings, loading: Loading) -> None:
        self._settings = settings
        elsewhere = settings.engine_url or zerogpu.ACTIVE
        usual = OFF if elsewhere else usual_transcriber(settings.model)
        self._name = settings.transcript or usual
        self._loading = loading
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @property
    def available(self) -> bool:
        """Whether visitors may ask for what was said."""
        return self._name != OFF

    def engine(self) -> Engine:
        """The engine, once it is loaded. Who comes meanwhile waits; a failure is tried again.

        Raises what `load_engine` raises.
        """
        translator = self._loading.engine()
        if self._name == SAME:
            return translator
        with self._lock:
            if self._engine is None:
                loaded = load_transcriber(
                    self._name,
                    translator,
                    self._settings.device,
                    precision=self._settings.precision,
                    cache=not self._settings.no_cache,
                )
                assert loaded is not None
                # As for the engine that translates: web/server.py.
                alone = zerogpu.ACTIVE or isinstance(loaded, NamesModel)
                self._engine = loaded if alone else SharedEngine(loaded)
            return self._engine

    def loaded_now(self) -> Engine | None:
        """The engine, before the server starts; None where there is none, or none can be had."""
        try:
            return self.engine() if self.available else None
        except SpeechTranslationError as error:
            print(f"error: {error} What is said is not written down.", file=sys.stderr)
            self._name = OFF
            return None
