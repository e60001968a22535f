"""A crowd on a Space: is every visitor served right or told so, and what does it cost?

    make load

Starts the Space on the embedded checkpoint as a process of its own, keeps it busy with
`gradio_client` sessions and live talks, brings visitors of the page with long files and many short
ones, then lets a visitor leave half-way. Prints a table; exits with 1 when a promise is broken.
test_load.py does the same for seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import soundfile
from clips import EXAMPLES, reference
from gradio_client import Client, handle_file
from own_space import Space, running_space

from speech_translation.audio import load_audio
from speech_translation.types import SAMPLE_RATE

SHORT = ("en_1", "en_2", "ja_1", "ja_2", "en_two_sentences", "ja_two_sentences")
LONG = ("en_long", "ja_long")
LONG_SHARE = 0.03
ENDPOINTS = ("/translate", "/translate_segments", "/captions")
BUSY = "requests are ahead of you"

ANSWERED_WITHIN = 120.0  # seconds; later than that an answer counts as lost
VISITS = 20  # requests of a session, until another one takes its seat
FREED_WITHIN = 2.0
FIRST_WORD_WITHIN = 10.0
LONGEST = 700.0
OPTIONS = ("--max-seconds", f"{LONGEST:g}")  # of the Space: its line has room for two such
LONG_SECONDS = 540.0  # of the four files that visitors of the page bring
FLAT = 0.05


@dataclass
class Report:
    """What came of a crowd. Times in seconds, memory in bytes."""

    clients: int
    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Of those who were served what they had sent."""
    turned_away: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """Each way in which an answer was not what was promised, and how often."""
    submitted: int = 0
    talks: int = 0
    first_words: list[float] = field(default_factory=list)
    """How long visitors of the page waited for the first word of their translation."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    freed: float = 0.0
    """How long a place stayed taken after its visitor had left."""

    def percentile(self, share: float) -> float:
        """The latency that `share` of those served stay below."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def mean_memory(self, begin: float, end: float) -> float:
        """The mean of the samples from `begin` up to `end`."""
        return statistics.fmean(size for at, size in self.memory if begin <= at < end)

    @property
    def minutes(self) -> list[float]:
        """The mean memory of each minute."""
        whole = range(0, max(60, int(self.seconds) // 60 * 60), 60)
        return [self.mean_memory(begin, begin + 60) for begin in whole]

    @property
    def growth(self) -> float | None:
        """The last minute's memory over the third's, less one; None before the fourth is over."""
        if self.seconds < 240:
            return None
        last = self.mean_memory(self.seconds - 60, self.seconds)
        return last / self.mean_memory(120, 180) - 1

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        found = [f"{count} x {fault}" for fault, count in sorted(self.faults.items())]
        outcomes = len(self.latencies) + self.turned_away + self.faults.total()
        if self.submitted != outcomes:
            found.append(f"{self.submitted} requests, {outcomes} outcomes")
        if not self.latencies:
            found.append("nobody was served")
        if (slowest := max(self.first_words, default=0.0)) > FIRST_WORD_WITHIN:
            found.append(f"somebody waited {slowest:.1f} s for the first word")
        if self.growth is not None and abs(self.growth) > FLAT:
            found.append(f"memory changed by {self.growth:+.1%}")
        if self.freed > FREED_WITHIN:
            found.append(f"a place was free {self.freed:.1f} s after its visitor had left")
        return found

    def table(self) -> str:
        """The figures as Markdown."""
        served, growth = len(self.latencies), self.growth
        rows = [
            ("sessions at a time", f"{self.clients}, for {self.seconds / 60:.1f} minutes"),
            ("requests", f"{self.submitted}, and {self.talks} live talks"),
            ("served, each its own clip's text", f"{served}"),
            ("turned away and told so", f"{self.turned_away}"),
            ("lost, doubled, mixed up or failed", f"{self.faults.total()}"),
            (
                "answer after, p50 / p95 / p99",
                " / ".join(f"{self.percentile(share):.1f}" for share in (0.5, 0.95, 0.99)) + " s",
            ),
            (
                "first word on the page after, p50 / most",
                f"{statistics.median(self.first_words or [0.0]):.1f} / "
                f"{max(self.first_words, default=0.0):.1f} s, {len(self.first_words)} visitors",
            ),
            ("memory, minute by minute", " ".join(f"{x / 1e9:.2f}" for x in self.minutes) + " GB"),
            ("the last against the third", "" if growth is None else f"{growth:+.1%}"),
            ("place free after its visitor has left", f"{self.freed:.1f} s"),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {what} | {how} |" for what, how in rows)])


class Crowd:
    """Visitors who come, are served or turned away, and come again until `stop` is set."""

    def __init__(self, space: Space, report: Report, seed: int) -> None:
        self.space = space
        self.report = report
        self.stop = threading.Event()
        self._seed = seed
        self._lock = threading.Lock()

    def sit(self, seat: int) -> None:
        """One seat: session after session, each of `VISITS` requests."""
        chance = random.Random(f"{self._seed} {seat}")
        self.stop.wait(chance.uniform(0, 1))
        with tempfile.TemporaryDirectory() as folder:
            while not self.stop.is_set():
                client = Client(self.space.url, verbose=False, download_files=folder)
                try:
                    for _ in range(VISITS):
                        if not self.stop.is_set():
                            self.stop.wait(self._visit(client, chance))
                finally:
                    client.close()
                    client.executor.shutdown(wait=False)
                    # Client.__del__ would wait for its threads wherever the garbage is collected:
                    # once that was inside `threading`, whose lock it needs, and all stood still.
                    del client.executor

    def _visit(self, client: Client, chance: random.Random) -> float:
        """One request; returns how long the visitor stays away afterwards."""
        name = chance.choice(LONG if chance.random() < LONG_SHARE else SHORT)
        endpoint = chance.choice(ENDPOINTS)
        asked = chance.choice(("auto", "en2ja" if name.startswith("en") else "ja2en"))
        inputs = [handle_file(str(EXAMPLES / f"{name}.flac")), asked]
        if endpoint == "/captions":
            inputs.append("json")
        began = time.monotonic()
        fault, turned_away = "", False
        try:
            job = client.submit(*inputs, api_name=endpoint)
            answer = job.result(timeout=ANSWERED_WITHIN)
            if _text(endpoint, answer) != reference(name):
                fault = "another result than the clip's"
            elif len(job.outputs()) != 1:
                fault = f"{len(job.outputs())} results for one request"
        except TimeoutError:
            fault = "lost"
        except Exception as error:
            turned_away = BUSY in str(error)
            fault = "" if turned_away else f"{type(error).__name__}: {str(error)[:200]}"
        with self._lock:
            self.report.submitted += 1
            self.report.turned_away += turned_away
            if fault:
                self.report.faults[fault] += 1
            elif not turned_away:
                self.report.latencies.append(time.monotonic() - began)
        return chance.uniform(1, 4) if turned_away else chance.uniform(0, 1)

    def talk(self) -> None:
        """One live talk after another, each the same two sentences."""
        pcm = (load_audio(EXAMPLES / "en_two_sentences.flac") * 32767).astype("<i2").tobytes()
        half_second = SAMPLE_RATE  # bytes
        chunks = [pcm[at : at + half_second] for at in range(0, len(pcm), half_second)]
        while not self.stop.is_set():
            with httpx.Client(base_url=self.space.url, timeout=ANSWERED_WITHIN) as http:
                talk = http.post("live", params={"direction": "en2ja"}).json()["id"]
                for seq, chunk in enumerate(chunks):
                    query = {"seq": seq, "rate": SAMPLE_RATE}
                    http.post(f"live/{talk}", params=query, content=chunk).raise_for_status()
                    time.sleep(0.5)
                query = {"seq": len(chunks), "rate": SAMPLE_RATE, "last": 1}
                http.post(f"live/{talk}", params=query).raise_for_status()
                text = http.get(f"live/{talk}/captions.json").json()["text"]
                http.delete(f"live/{talk}")
            with self._lock:
                self.report.talks += 1
                if text != reference("en_two_sentences"):
                    self.report.submitted += 1
                    self.report.faults["another caption than what was said"] += 1

    def watch(self, began: float) -> None:
        """Sample the memory."""
        while not self.stop.wait(0.5):
            self.report.memory.append((time.monotonic() - began, self.space.resident()))


def _text(endpoint: str, answer: Any) -> str:
    if endpoint == "/captions":
        return str(json.loads(Path(answer).read_text("utf-8"))["text"])
    return str(answer["text"] if endpoint == "/translate_segments" else answer)


def crowd(space: Space, clients: int, seconds: float, talks: int, seed: int = 1) -> Report:
    """Keep `space` busy for so long, and say what came of it."""
    report = Report(clients, seconds)
    people = Crowd(space, report, seed)
    began = time.monotonic()
    with ThreadPoolExecutor(clients + talks + 1) as pool:
        jobs = [pool.submit(people.watch, began)]
        jobs += [pool.submit(people.sit, seat) for seat in range(clients)]
        jobs += [pool.submit(people.talk) for _ in range(talks)]
        time.sleep(seconds)
        people.stop.set()
        for job in jobs:
            job.result()
    return report


class Visitor:
    """A visitor of the page over plain HTTP, who can leave at any moment."""

    def __init__(self, space: Space, recording: Path) -> None:
        self._http = httpx.Client(base_url=f"{space.url}gradio_api/", timeout=ANSWERED_WITHIN)
        config = httpx.get(f"{space.url}config").json()
        button = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "run")
        number = next(d["id"] for d in config["dependencies"] if [button, "click"] in d["targets"])
        with recording.open("rb") as file:
            path = self._http.post("upload", files={"files": (recording.name, file)}).json()[0]
        session = secrets.token_hex(8)
        sound = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {
            "data": [sound, "auto", "", False, "card"],
            "fn_index": number,
            "session_hash": session,
        }
        self._began = time.monotonic()
        self._http.post("queue/join", json=body).raise_for_status()
        request = self._http.build_request("GET", "queue/data", params={"session_hash": session})
        self._lines = self._http.send(request, stream=True).iter_lines()
        self._value = ""
        self.first_word = math.inf
        """Seconds from the request to the first text."""

    def news(self) -> Iterator[dict[str, Any]]:
        """What the card hears, until its run has ended."""
        for line in self._lines:
            message: dict[str, Any] = json.loads(line.removeprefix("data: ")) if line else {}
            if message.get("msg") not in ("process_generating", "process_completed"):
                continue
            change = message["output"]["data"][0]
            # Gradio sends a text once, and then what becomes of it.
            for action, _, text in [("replace", [], change)] if isinstance(change, str) else change:
                self._value = self._value + text if action == "append" else text
            news: dict[str, Any] = json.loads(self._value)
            if any(x["text"] for x in [*news.get("segments", []), *news.get("growing", [])]):
                self.first_word = min(self.first_word, self.seconds)
            yield news
            if message["msg"] == "process_completed":
                return

    def until(self, *states: str) -> dict[str, Any]:
        """The first news with one of these states."""
        for news in self.news():
            if news["state"] in states:
                return news
        raise EOFError(str(states))

    @property
    def seconds(self) -> float:
        """How long ago the request was made."""
        return time.monotonic() - self._began

    def leave(self) -> None:
        """Cut the connection, as a closed tab or a killed process does."""
        self._http.close()


def long_recording(folder: Path, seconds: float) -> Path:
    """Speech that lasts so long."""
    path, speech = folder / f"long_{seconds:.0f}.flac", load_audio(EXAMPLES / "en_long.flac")
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for _ in range(round(seconds * SAMPLE_RATE / len(speech))):
            file.write(speech)
    return path


def first_words(
    space: Space, short: int, long_seconds: float, *, to_the_end: bool = False
) -> tuple[list[float], list[float], float]:
    """How long visitors of the page wait for their first word: those with clips, those before them.

    Four have a long recording, `short` have a clip that comes when the long ones are worked on.
    Last is how long it took until the recordings had their first word, or `to_the_end`.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(short + 4) as pool:
        recording = long_recording(Path(folder), long_seconds)
        long = [Visitor(space, recording) for _ in range(4)]
        for visitor in long:
            visitor.until("working", "done")

        def visit(number: int) -> float:
            visitor = Visitor(space, EXAMPLES / f"{SHORT[number % len(SHORT)]}.flac")
            assert visitor.until("done", "refused")["state"] == "done"
            return visitor.first_word

        def read(visitor: Visitor) -> tuple[float, float]:
            for _ in visitor.news():
                if visitor.first_word < math.inf and not to_the_end:
                    break
            took = visitor.seconds
            visitor.leave()
            return visitor.first_word, took

        reading = [pool.submit(read, visitor) for visitor in long]
        waited = list(pool.map(visit, range(short)))
        recordings, took = zip(*(job.result() for job in reading), strict=True)
        return waited, list(recordings), max(took)


def leaving(space: Space) -> tuple[float, float]:
    """How long until the next is let in when two have left: one in mid-work, one from the line.

    And how much longer the one who stays is worked on.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = long_recording(Path(folder), 0.95 * LONGEST)  # two fill the room of the line
        served = [Visitor(space, path) for _ in "12"]
        for visitor in served:
            visitor.until("working")
        first, second = (Visitor(space, path) for _ in "12")
        second.until("waiting")
        began = time.monotonic()
        served[0].leave()
        first.leave()
        second.until("working")
        freed = time.monotonic() - began
        second.leave()
        served[1].until("done")
        stayed = time.monotonic() - began - freed
        served[1].leave()
    return freed, stayed


def _in_the_middle(space: Space, seconds: float) -> list[float]:
    time.sleep(seconds / 3)
    clips, recordings, _ = first_words(space, 60, LONG_SECONDS)
    return clips + recordings


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--talks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    with running_space(*OPTIONS) as space:
        os.nice(10)  # people's programs run on machines of their own
        with ThreadPoolExecutor(1) as pool:
            pages = pool.submit(_in_the_middle, space, 60 * options.minutes)
            report = crowd(
                space, options.clients, 60 * options.minutes, options.talks, options.seed
            )
            report.first_words = pages.result()
        report.freed, _ = leaving(space)
    print(report.table())
    for promise in report.broken():
        print(f"broken: {promise}", file=sys.stderr)
    return 1 if report.broken() else 0


if __name__ == "__main__":
    raise SystemExit(main())
