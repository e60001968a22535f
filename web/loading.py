"""The Space's one engine, loaded in the background so that the page is there at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from speech_translation.engine import Engine
from speech_translation.errors import ModelError, SpeechTranslationError


class Loading:
    """An engine that is being loaded, is ready, or could not be loaded."""

    def __init__(self, load: Callable[[], Engine], model: str) -> None:
        self.model = model
        self.error: SpeechTranslationError | None = None
        self._load = load
        self._engine: Engine | None = None
        self._done = threading.Event()

    def start(self) -> None:
        """Begin in a thread of its own."""
        threading.Thread(target=self.run, name="load the model", daemon=True).start()

    def run(self) -> None:
        """Load now, in this thread."""
        try:
            self._engine = self._load()
        except SpeechTranslationError as error:
            self.error = error
        except Exception as error:  # a broken package, a full disk: the visitor is told
            self.error = ModelError(f"{self.model} could not be loaded: {error}")
        finally:
            self._done.set()

    @property
    def finished(self) -> bool:
        """Whether the engine is ready or has failed."""
        return self._done.is_set()

    @property
    def ready(self) -> bool:
        """Whether `engine` answers at once."""
        return self._engine is not None

    def engine(self) -> Engine:
        """The engine, once it is loaded. Raises the error that stopped the loading."""
        self._done.wait()
        if self._engine is None:
            assert self.error is not None
            raise self.error
        return self._engine
