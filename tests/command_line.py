"""The command line as tests call it: in this process, on the embedded checkpoint."""

from pathlib import Path

import pytest
from clips import EXAMPLES, reference

from speech_translation import cli

CLIPS = ("en_1", "ja_1", "en_2", "ja_2")
OFFLINE = ["--model", "phrasebook", "--device", "cpu"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = cli.main([*map(str, arguments), *OFFLINE])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def run_into(
    capsys: pytest.CaptureFixture[str], out: Path, *arguments: str | Path
) -> tuple[int, list[str]]:
    status, printed, said = run(capsys, *arguments, "--output-dir", out)
    assert printed == ""
    return status, said.splitlines()


def clips(folder: Path, count: int) -> dict[Path, str]:
    """`count` recordings in folders below `folder`; the text of each by its path there, as .txt."""
    texts = {}
    for i in range(count):
        name = CLIPS[i % len(CLIPS)]
        path = folder / f"part {i % 7}" / f"{i:04}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(EXAMPLES / f"{name}.flac")
        texts[path.relative_to(folder).with_suffix(".txt")] = f"{reference(name)}\n"
    return texts
