"""The Space's one engine, loaded in the background so that the page is there at once."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable

from speech_translation.engine import Engine
from speech_translation.errors import (
    HubUnreachable,
    ModelError,
    ServerUnreachable,
    SpeechTranslationError,
)
from speech_translation.types import Seconds

FIRST_PAUSE: Seconds = 1.0
LONGEST_PAUSE: Seconds = 60.0
"""Between two tries to reach the Hub or a server; each pause is twice the one before."""

TRIES = 6
"""Where the server starts only after the model: for half a minute."""


class Loading:
    """An engine that is being loaded, is ready, or could not be loaded.

    While the Hub or a vLLM server does not answer, loading is tried again; meanwhile whoever asks
    for the engine gets the last try's error. What no other try mends ends it.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        model: str,
        wait: Callable[[Seconds], object] = time.sleep,
    ) -> None:
        self.model = model
        self.error: SpeechTranslationError | None = None
        """What stopped the last try; None before it, and once the engine is ready."""
        self.finished = False
        """Whether the engine is ready or has failed for good."""
        self._load = load
        self._wait = wait
        self._engine: Engine | None = None
        self._tried = threading.Event()

    def start(self) -> None:
        """Begin in a thread of its own, and try again where that may help."""
        threading.Thread(target=self._keep_trying, name="load the model", daemon=True).start()

    def run(self) -> None:
        """Load now, in this thread, with a few tries."""
        self._keep_trying(TRIES)

    def _keep_trying(self, tries: float = math.inf) -> None:
        pause = FIRST_PAUSE
        while True:
            self._try()
            tries -= 1
            passing = isinstance(self.error, HubUnreachable | ServerUnreachable)
            self.finished = not passing or tries <= 0
            self._tried.set()
            if self.finished:
                if self.error:
                    print(f"error: {self.error}", file=sys.stderr)
                return
            print(f"waiting: {self.error} Trying again in {pause:g} s.", file=sys.stderr)
            self._wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _try(self) -> None:
        try:
            self._engine = self._load()
            self.error = None
        except SpeechTranslationError as error:
            self.error = error
        except Exception as error:  # a broken package, a full disk: the visitor is told
            self.error = ModelError(f"{self.model} could not be loaded: {error}")

    @property
    def ready(self) -> bool:
        """Whether `engine` answers at once."""
        return self._engine is not None

    @property
    def waiting_for(self) -> SpeechTranslationError | None:
        """Why the engine is not there yet, while loading is tried again."""
        return None if self.finished else self.error

    def engine(self) -> Engine:
        """The engine, once it is loaded. Raises the error that stopped the last try."""
        self._tried.wait()
        error = self.error  # before the engine: it is taken back once the engine is there
        if self._engine is None:
            assert error is not None
            raise error
        return self._engine
