"""A visitor's recording: stopped early, without a length, deleted."""

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
from clips import EXAMPLES

from speech_translation.audio import claimed_seconds
from speech_translation.engine import Request, load_engine
from speech_translation.types import Direction, Hypothesis, RemarkKind
from web.loading import Loading
from web.service import Service
from web.settings import Settings
from web.texts import words
from web.uploads import Expired, NotUploaded, upload


def test_stop_before_the_first_segment_says_so() -> None:
    class Slow:
        description, batch_size = "slow", 1

        def generate(self, request: Request) -> list[Hypothesis]:
            while not request.abandoned:
                time.sleep(0.01)
            return [Hypothesis("", Direction.EN_JA) for _ in request.batch]

    loading = Loading(Slow, "slow")
    loading.run()
    service = Service(Settings(), loading)
    visitor = SimpleNamespace(headers={"accept-language": "en"}, session_hash="me")
    run = service.updates(str(EXAMPLES / "en_1.flac"), "en2ja", "", visitor)  # type: ignore[arg-type]
    next(run)
    service.stop(visitor)  # type: ignore[arg-type]
    *_, last = run
    assert last.translation is not None
    assert not last.translation.segments
    assert last.missing == words("stopped")
    (remark,) = last.translation.remarks
    assert remark.kind is RemarkKind.UNTRANSLATED
    assert (remark.start, remark.end) == (0.0, last.translation.duration)


def without_length(path: Path, seconds: int) -> str:
    """The path of a WebM as browsers record it: its header has no length."""
    with path.open("wb") as file, av.open(Unseekable(file), "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000)
        for n in range(seconds):
            tone = 0.1 * np.sin(np.arange(48_000) * 0.06)[None].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone, "flt", "mono")
            frame.sample_rate, frame.pts = 48_000, 48_000 * n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert claimed_seconds(path) is None
    return str(path)


class Unseekable(io.RawIOBase):
    """A file that only grows, as what comes from a microphone."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


def test_a_recording_without_a_length_waits_only_once_it_proves_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.service.SHORT", 60.0)
    service = Service(Settings(), Loading(lambda: load_engine("phrasebook", "cpu"), "phrasebook"))
    service.loading.run()
    others = [service.line.join(service.settings.max_seconds) for _ in range(2)]
    short = service.updates(without_length(tmp_path / "short.webm", 12), "en2ja", "", None)
    assert next(short).place == 0
    assert [update.place for update in short if update.place] == []
    long = service.updates(without_length(tmp_path / "long.webm", 200), "en2ja", "", None)
    assert next(long).place == 1
    others[0].leave()
    *_, last = long
    assert last.translation is not None
    assert last.translation.duration == pytest.approx(200, abs=1)


def test_an_upload_that_was_deleted_is_called_so(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    (uploads / "folder").mkdir(parents=True)
    with pytest.raises(Expired):
        upload({"path": str(uploads / "abc" / "talk.wav")}, uploads)
    for path in (
        uploads / "folder",
        uploads / ".." / "gone.wav",
        tmp_path / "gone.wav",
        "gone.wav",
    ):
        with pytest.raises(NotUploaded) as caught:
            upload({"path": str(path)}, uploads)
        assert not isinstance(caught.value, Expired)
    service = Service(Settings(), Loading(pytest.fail, "m"))
    with pytest.raises(Exception, match="deleted after an hour"):
        next(service.updates(str(uploads / "gone.wav"), "auto", "", None))
