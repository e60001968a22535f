"""libsndfile reads a file on the disk by itself: the same sound, and nothing stays open."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import EXAMPLES, ROOT

from speech_translation.audio import load_audio
from speech_translation.errors import AudioError

CLIP = EXAMPLES / "en_1.flac"


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_sounds_the_same_however_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    of_path, of_bytes = load_audio(CLIP), load_audio(CLIP.read_bytes())
    with CLIP.open("rb") as file:
        file.seek(100)
        of_file, again = load_audio(file), load_audio(file)
        assert not file.closed

    def refuse(path: str, flags: int) -> int:
        raise OSError(path)

    monkeypatch.setattr("speech_translation.decoding.os.open", refuse)  # no /proc
    for samples in (of_bytes, of_file, again, load_audio(CLIP)):
        assert np.array_equal(samples, of_path)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists what is open")
def test_no_file_stays_open(tmp_path: Path) -> None:
    broken = {
        "head.flac": b"fLaC" + bytes(500),
        "noise.wav": b"RIFF" + b"\1" * 1000,
        "cut.flac": CLIP.read_bytes()[:3000],
    }
    load_audio(CLIP)
    before = opened()
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        for _ in range(3):
            load_audio(CLIP)
            with contextlib.suppress(AudioError):
                load_audio(tmp_path / name)
    assert opened() == before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux opens a file again")
def test_nor_where_standard_input_is_closed() -> None:
    program = f"""
import os
from speech_translation.audio import load_audio
file = open({str(CLIP)!r}, "rb")
load_audio(file)
os.close(0)  # its number is the next that is given
load_audio(file)
print(os.path.exists("/proc/self/fd/0"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
