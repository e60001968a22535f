"""How long a start takes, each in a process of its own, from its first moment.

    make startup

The command line until it has ended, its text on standard output; the Space until /healthz says that
the model is ready; the full size with random weights until the engine is there. One start of each
goes before and does not count: it compiles, keeps the int8 weights and fills the page cache. A
start that other processes disturbed is repeated (`rounds.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluation.performance.full_size import FOLDER, build
from evaluation.performance.rounds import ATTEMPTS, SPOILT, in_turns
from speech_translation.files import replace_file, replace_section
from speech_translation.types import Seconds

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "examples" / "en_1.flac"
REPEATS = 5
LONGEST: Seconds = 300
SECTION = "startup"
LABELS = {
    "command_line": "`inference.py` with the phrasebook, from the shell to its end",
    "space": "`app.py` with the phrasebook, to ready",
    "exact": "1.7B exact, to ready",
    "int8": "1.7B with `--precision int8`, to ready",
}
PRECISIONS = {"exact": "float32", "int8": "int8"}

_LOAD = """
import sys
from speech_translation.process import own_process
own_process()
from speech_translation import load_engine
load_engine(sys.argv[1], "cpu", precision=sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""


def command_line() -> Seconds:
    """Translate a clip; the text has to be there."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "inference.py", CLIP, "--model", "phrasebook", "--quiet"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    took = time.perf_counter() - began
    wanted = CLIP.with_suffix(".txt").read_text("utf-8").strip()
    if done.stdout.strip() != wanted:
        raise RuntimeError(f"The command line said {done.stdout!r} instead of {wanted!r}.")
    return took


def space() -> Seconds:
    """Start the Space and end it again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    program = subprocess.Popen(
        [sys.executable, "app.py", "--model", "phrasebook", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _healthy(port):
            if program.poll() is not None or time.perf_counter() - began > LONGEST:
                raise RuntimeError("The Space did not become ready.")
            time.sleep(0.02)
        return time.perf_counter() - began
    finally:
        program.terminate()
        program.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def engine(folder: Path, precision: str) -> Seconds:
    """Load a checkpoint on the CPU; what the process takes to end does not count."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _LOAD, folder.resolve(), precision],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        if program.stdout.readline() != "ready\n":
            raise RuntimeError(f"{folder} could not be loaded in {precision}.")
        return time.perf_counter() - began


def measure(
    folder: Path, repeats: int, attempts: int = ATTEMPTS
) -> dict[str, list[dict[str, float]]]:
    """What each start takes, `repeats` times, in turns.

    That is `seconds` to ready, `processor_seconds` to the end of the process, and `others`, what
    other processes took of the machine (see `rounds`).
    """
    starts: dict[str, Callable[[], Seconds]] = {
        "command_line": command_line,
        "space": space,
        "exact": lambda: engine(folder, PRECISIONS["exact"]),
        "int8": lambda: engine(folder, PRECISIONS["int8"]),
    }
    for start in starts.values():
        start()

    def timed(start: Callable[[], Seconds]) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Seconds]:
            before = _processors_time()
            seconds = start()
            return {"seconds": seconds, "processor_seconds": _processors_time() - before}

        return run

    works = {name: timed(start) for name, start in starts.items()}
    return in_turns(works, repeats, lambda said: print(said, file=sys.stderr), attempts)


def _processors_time() -> Seconds:
    """What processes took that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def table(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows, others = "", 0.0
    for name, label in LABELS.items():
        starts = report["starts"][name]
        taken = [start["seconds"] for start in starts]
        used = statistics.median(start["processor_seconds"] for start in starts)
        rows += (
            f"| {label} | {statistics.median(taken):.1f} s | {max(taken):.1f} s | {used:.1f} s |\n"
        )
        others = max(others, *(start["others"] or 0.0 for start in starts))
    spoilt = ": too much, so that the times are too long" if others > SPOILT else ""
    return f"""\
| start | median of {report["repeats"]} | slowest | processors' time, median |
|---|---|---|---|
{rows}
Made by `make startup` on {report["processor"]}, {report["cores"]} cores, {report["date"]}. The
files are in the page cache, and the code is compiled. 1.7B has random weights of the full size.
Other processes took up to {100 * others:.0f} % of the processors' time meanwhile{spoilt}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.performance.startup", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the random weights")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--attempts", type=int, default=ATTEMPTS, help="where others disturb")
    parser.add_argument("--output", type=Path, help="where to keep the figures (JSON)")
    parser.add_argument("--document", type=Path, help="Markdown file to put the table into")
    options = parser.parse_args(argv)
    from evaluation.performance.machine import processor

    starts = measure(build(options.folder), options.repeats, options.attempts)
    figures = {
        "processor": processor().name,
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "repeats": options.repeats,
        "starts": starts,
    }
    print(table(figures))
    if options.output is not None:
        replace_file(options.output, json.dumps(figures, indent=2) + "\n")
    if options.document is not None:
        replace_section(options.document, SECTION, table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
