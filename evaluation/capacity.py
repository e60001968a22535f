"""How many vLLM servers keep up with a thousand people who talk, and what one that dies costs.

    python -m evaluation.capacity
    python -m evaluation.capacity --step 0.022 --servers 4 8 12    # other costs, other rows

Nothing is measured here: a simulation, whose costs are published or assumed figures with their
source beside them. It runs the path of a live caption. A speaker talks in utterances and pauses
for exponential times, so that a thousand of them together begin utterances almost as a Poisson
process does. A Space sends their calls, up to a bound, to the server with the fewest requests of
its own in flight, as `RemoteEngine` does. A server computes step by step, and takes waiting
segments in before each step, as vLLM does. One server dies for two minutes: what it had is tried
again elsewhere. docs/scale.md holds the table and what follows from it.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import simpy
from simpy.events import ProcessGenerator

from speech_translation.engine.remote import FIRST_PAUSE, IN_FLIGHT, SHUNNED, TRIES
from speech_translation.types import Seconds

PAUSE_HEARD: Seconds = 0.5  # silence that ends an utterance: speech_translation/segments.py
CHUNK: Seconds = 0.5  # a page sends its sound so often: SEND_EVERY in web/page.js
RENEWED: Seconds = 1.0  # the growing line, at most so often: LiveTranslator's partial_every

WARM: Seconds = 8.0  # from here on it is counted
DIES: Seconds = 38.0
OUTAGE: Seconds = 120.0
TRANSLATED: Seconds = 4.0  # an utterance that ended so long before the outage knows nothing of it
ENDS: Seconds = 160.0  # end of the talks; what was said is still translated


@dataclass(frozen=True, slots=True)
class Costs:
    """What a segment costs a vLLM server with one GPU.

    Fitted to the bf16 figures of shreyansh26/optimizing-qwen3-asr-inference (README.md and
    inference/results/*.csv, July 2026; Qwen3-ASR-1.7B, a GPU that the figures do not name, its
    kernels want an H100). A clip of 50 s, cut by the server in 30 and 20 s, took 0.37 s alone and
    0.43, 0.55, 0.78 s with 4, 8, 16 in flight (means): 0.346 s and 0.027 s more for each one.
    Assumed: the parts run one after the other, as the times of longer recordings suggest; 78
    tokens a clip, from 1.16 words a second in the references and 1.35 tokens a word; how the 0.027
    s are shared between audio and steps; and that the line goes on to `batch` segments.
    `closed_loop` gives the fit back. The model card's 45.8 tok/s (transformers, one at a time)
    would be a `step` of 22 ms.
    """

    prefill: Seconds = 0.0005
    """GPU time for a second of audio, encoder and prompt."""
    step: Seconds = 0.0037
    """One decoding step of one segment."""
    growth: Seconds = 0.00003
    """What each segment of the batch adds to a step."""
    overhead: Seconds = 0.03
    """Of a request outside the GPU: network, reading, features."""
    batch: int = 64
    """Segments that run together: --max-num-seqs in deploy/."""

    def closed_loop(
        self, in_flight: int, seconds: Seconds, tokens: float, parts: int = 1
    ) -> Seconds:
        """Time of a clip of `parts` segments, while `in_flight` clips are always on their way."""
        step = self.step + self.growth * in_flight
        return parts * self.overhead + in_flight * seconds * self.prefill + tokens * step

    def throughput(self, seconds: Seconds, tokens: float) -> float:
        """Seconds of audio a full server translates in a second, in segments of `seconds`."""
        return self.batch * seconds / self.closed_loop(self.batch, seconds, tokens)


@dataclass(frozen=True)
class Load:
    """Who talks, and how. All of it assumed."""

    speakers: int = 1000
    spaces: int = 25
    """Processes of app.py that the speakers are spread over."""
    speech_share: float = 0.5
    """Part of the time in which a speaker talks."""
    segment: Seconds = 5.0
    """Mean length of an utterance; 13 of people reading gave 4.3."""
    spread: float = 0.6
    """Standard deviation of the logarithm of the length."""
    shortest: Seconds = 0.5
    longest: Seconds = 30.0
    tokens_per_second: float = 4.0
    """Of the translation, for a second of speech."""
    renewals: bool = True
    """Whether the line grows while it is spoken, or comes at the pause only."""

    def length(self, chance: random.Random) -> Seconds:
        """An utterance: lognormal, within the limits, in whole milliseconds."""
        middle = math.log(self.segment) - self.spread**2 / 2
        drawn = round(chance.lognormvariate(middle, self.spread), 3)
        return min(max(drawn, self.shortest), self.longest)

    def pause(self, chance: random.Random) -> Seconds:
        """The silence after an utterance; at least what ends it; in whole milliseconds."""
        mean = self.segment * (1 / self.speech_share - 1)
        return PAUSE_HEARD + round(chance.expovariate(1 / max(mean - PAUSE_HEARD, 1e-3)), 3)

    def job(self, seconds: Seconds) -> Job:
        """What an utterance of so many seconds asks of a server."""
        return Job(seconds, 1 + math.ceil(self.tokens_per_second * seconds))


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A segment to translate."""

    seconds: Seconds
    tokens: int
    """Of the answer, its end included."""


class Replica:
    """A vLLM server: step by step, with what waits taken into the batch before each step."""

    def __init__(self, env: simpy.Environment, costs: Costs) -> None:
        self.computing: Seconds = 0.0
        self.segment_seconds: Seconds = 0.0  # the time of each step, for each segment in it
        self.longest_queue = 0
        self._env = env
        self._costs = costs
        self._alive = True
        self._lives = 0
        self._waiting = deque[tuple[Job, simpy.Event]]()
        self._running: list[tuple[int, int, simpy.Event]] = []  # by the step that ends them
        self._order = itertools.count()
        self._wake = env.event()
        env.process(self._run())

    def submit(self, job: Job) -> simpy.Event:
        """An event with True when the job is done, with False when the server is or goes away."""
        answer = self._env.event()
        if not self._alive:
            return answer.succeed(False)
        self._waiting.append((job, answer))
        if not self._wake.triggered:
            self._wake.succeed()
        return answer

    def die(self) -> None:
        """Drop everything, and refuse what comes. The connections break, so callers know."""
        self._alive = False
        self._lives += 1
        lost = [answer for _, answer in self._waiting] + [x[2] for x in self._running]
        self._waiting.clear()
        self._running.clear()
        for answer in lost:
            answer.succeed(False)

    def revive(self) -> None:
        """Accept again."""
        self._alive = True

    def _run(self) -> ProcessGenerator:
        costs, running, waiting = self._costs, self._running, self._waiting
        steps = 0
        while True:
            if not waiting and not running:
                self._wake = self._env.event()
                yield self._wake
                continue
            seconds = 0.0
            while waiting and len(running) < costs.batch:
                job, answer = waiting.popleft()
                seconds += costs.prefill * job.seconds
                heapq.heappush(running, (steps + job.tokens, next(self._order), answer))
            self.longest_queue = max(self.longest_queue, len(waiting))
            seconds += costs.step + costs.growth * len(running)
            life = self._lives
            yield self._env.timeout(seconds)
            steps += 1
            if life != self._lives:
                continue
            self.computing += seconds
            self.segment_seconds += seconds * len(running)
            while running and running[0][0] <= steps:
                heapq.heappop(running)[2].succeed(True)


@dataclass(slots=True)
class _Server:
    """A replica as one Space sees it."""

    replica: Replica
    in_flight: int = 0
    shunned_until: Seconds = 0.0


class Space:
    """One process of app.py: the RemoteEngine that all its visitors share."""

    def __init__(
        self,
        env: simpy.Environment,
        replicas: Iterable[Replica],
        overhead: Seconds,
        chance: random.Random,
    ) -> None:
        self.longest_queue = 0
        self.tried_again = 0
        self._env = env
        self._servers = [_Server(replica) for replica in replicas]
        self._overhead = overhead
        self._chance = chance
        self._places = simpy.Resource(env, IN_FLIGHT)

    def ask(self, job: Job) -> simpy.Event:
        """An event with True when the job is done, with False when no server was to be had."""
        return self._env.process(self._ask(job))

    def _ask(self, job: Job) -> ProcessGenerator:
        with self._places.request() as place:
            self.longest_queue = max(self.longest_queue, len(self._places.queue))
            yield place
            yield self._env.timeout(self._overhead)
            return (yield self._env.process(self._send(job)))

    def _send(self, job: Job) -> ProcessGenerator:
        for attempt in range(TRIES):
            now = self._env.now
            server = min(
                self._servers,
                key=lambda x: (x.shunned_until > now, x.in_flight, self._chance.random()),
            )
            server.in_flight += 1
            whole = yield server.replica.submit(job)
            server.in_flight -= 1
            if whole:
                return True
            server.shunned_until = self._env.now + SHUNNED
            self.tried_again += 1
            pause = FIRST_PAUSE * 2**attempt * (1 + self._chance.random())
            if attempt < TRIES - 1:
                yield self._env.timeout(pause)
        return False


@dataclass(slots=True)
class Outcome:
    """What a run gave. Times in seconds."""

    captions: list[tuple[int, int, Seconds, Seconds]] = field(default_factory=list)
    """Speaker, number of the utterance, when it ended, how long after that its text was there."""
    spoken: int = 0
    """Utterances."""
    renewals: int = 0
    """How often a growing line was renewed before the outage, once warm."""
    audio: Seconds = 0.0
    """What the Spaces were asked to translate in that time, renewals included."""
    tried_again: int = 0
    longest_queue_of_a_space: int = 0
    longest_queue_of_a_server: int = 0
    utilisation: float = 0.0
    """Part of that time in which the servers computed."""
    batch: float = 0.0
    """Segments in a step, on average over the time in which a server computed."""

    def delays(self, start: Seconds, end: Seconds) -> list[Seconds]:
        """Delays of the utterances that ended in this time."""
        return sorted(delay for _, _, ended, delay in self.captions if start <= ended < end)


class _Speaker:
    """Somebody who talks, and the LiveTranslator that listens: one call at a time."""

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        load: Load,
        space: Space,
        chance: random.Random,
        ends: Seconds,
        outcome: Outcome,
    ) -> None:
        self._env, self._number, self._load, self._ends = env, number, load, ends
        self._space, self._chance, self._outcome = space, chance, outcome
        self._cost: tuple[Seconds, Seconds] = 0.0, 1.0  # of the last translation, for how much

    def talk(self) -> ProcessGenerator:
        load, chance, env = self._load, self._chance, self._env
        start = chance.uniform(0, load.segment / load.speech_share)
        for utterance in itertools.count():
            length, pause = load.length(chance), load.pause(chance)
            heard_at = start + length + PAUSE_HEARD + chance.uniform(0, CHUNK)
            if start + length > self._ends:
                return
            self._outcome.spoken += 1
            if load.renewals:
                yield from self._grow(start, start + length)
            yield from self._until(heard_at)
            while not (yield from self._translate(length)):
                yield env.timeout(CHUNK)  # kept, and tried again with the next chunk
            end = start + length
            self._outcome.captions.append((self._number, utterance, end, env.now - end))
            start += length + pause

    def _grow(self, start: Seconds, end: Seconds) -> ProcessGenerator:
        due = start + RENEWED
        while max(due, self._env.now) < end:
            yield from self._until(due)
            began = self._env.now
            cost, length = self._cost
            if cost * min(1.0, (began - start) / length) > RENEWED:
                return
            if WARM <= began < DIES:
                self._outcome.renewals += 1
            yield from self._translate(began - start)
            due = began + max(RENEWED, 2 * (self._env.now - began))

    def _translate(self, seconds: Seconds) -> ProcessGenerator:
        began = self._env.now
        if WARM <= began < DIES:
            self._outcome.audio += seconds
        done: Any = yield self._space.ask(self._load.job(seconds))
        self._cost = self._env.now - began, seconds
        return done

    def _until(self, time: Seconds) -> ProcessGenerator:
        if time > self._env.now:
            yield self._env.timeout(time - self._env.now)


def simulate(
    replicas: int,
    load: Load | None = None,
    costs: Costs | None = None,
    *,
    seed: int = 0,
    dies: bool = True,
    ends: Seconds = ENDS,
) -> Outcome:
    """All talks until `ends`, on so many servers, until the last utterance is translated.

    The speech depends on `seed` alone: it is the same for any number of servers. With `dies` the
    first server is away for OUTAGE seconds.
    """
    load, costs = load or Load(), costs or Costs()
    env, outcome = simpy.Environment(), Outcome()
    servers = [Replica(env, costs) for _ in range(replicas)]
    spaces = [
        Space(env, servers, costs.overhead, random.Random(f"{seed} space {i}"))
        for i in range(load.spaces)
    ]
    for number in range(load.speakers):
        chance = random.Random(f"{seed} speaker {number}")
        space = spaces[number % load.spaces]
        env.process(_Speaker(env, number, load, space, chance, ends, outcome).talk())

    def sums() -> tuple[Seconds, Seconds]:
        return sum(x.computing for x in servers), sum(x.segment_seconds for x in servers)

    def watch() -> ProcessGenerator:
        yield env.timeout(WARM)
        before = sums()
        yield env.timeout(DIES - WARM)
        computing, segment_seconds = (now - then for now, then in zip(sums(), before, strict=True))
        outcome.utilisation = computing / replicas / (DIES - WARM)
        outcome.batch = segment_seconds / computing
        if dies:
            servers[0].die()
            yield env.timeout(OUTAGE)
            servers[0].revive()

    env.process(watch())
    env.run()
    outcome.tried_again = sum(space.tried_again for space in spaces)
    outcome.longest_queue_of_a_space = max(space.longest_queue for space in spaces)
    outcome.longest_queue_of_a_server = max(server.longest_queue for server in servers)
    return outcome


def percentile(ordered: Sequence[float], part: float) -> float:
    """The value that `part` of the `ordered` ones do not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


@dataclass(frozen=True)
class Run:
    """A row of the table."""

    replicas: int
    load: Load
    dies: bool = False
    """Whether a server dies, which takes four times as long to simulate."""


RUNS = (
    Run(1, Load(renewals=False)),
    Run(2, Load(renewals=False), dies=True),
    Run(2, Load(), dies=True),
    Run(3, Load(), dies=True),
    Run(4, Load()),
    Run(3, Load(spaces=5)),
)
"""The table in docs/scale.md."""

HEAD = (
    "captions",
    "Spaces",
    "servers",
    "busy, batch",
    "audio, s/s",
    "renewals",
    "delay p50 / p95 / p99, s",
    "one away: p50 / p95 / worst, s",
    "tried again",
    "longest queue, Space / server",
)


def row(run: Run, costs: Costs | None = None, seed: int = 0) -> str:
    """One line of the table."""
    load, ends = run.load, ENDS if run.dies else DIES + 12  # few utterances are longer
    outcome = simulate(run.replicas, load, costs, seed=seed, dies=run.dies, ends=ends)
    calm, away, again = outcome.delays(WARM, DIES - TRANSLATED), "-", "-"
    if run.dies:
        late = outcome.delays(DIES, DIES + OUTAGE)
        away = f"{percentile(late, 0.5):.2f} / {percentile(late, 0.95):.2f} / {late[-1]:.2f}"
        again = str(outcome.tried_again)
    cells = [
        "line grows" if load.renewals else "at the pause",
        str(load.spaces),
        str(run.replicas),
        f"{100 * outcome.utilisation:.0f} %, {outcome.batch:.0f}",
        f"{outcome.audio / (DIES - WARM):.0f}",
        f"{outcome.renewals / max(1, len(outcome.delays(WARM, DIES))):.1f}",
        " / ".join(f"{percentile(calm, part):.2f}" for part in (0.5, 0.95, 0.99)),
        away,
        again,
        f"{outcome.longest_queue_of_a_space} / {outcome.longest_queue_of_a_server}",
    ]
    return "| " + " | ".join(cells) + " |"


def table(runs: Sequence[Run] = RUNS, costs: Costs | None = None, seed: int = 0) -> str:
    """The table of docs/scale.md, in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join(lines + [row(run, costs, seed) for run in runs]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.capacity", description=__doc__.split("\n")[0])
    for cost in fields(Costs):
        parser.add_argument(
            f"--{cost.name}",
            type=type(cost.default),
            default=cost.default,
            help="of a server; see Costs (default: %(default)s)",
        )
    parser.add_argument("--servers", type=int, nargs="+", help="rows for so many, instead of ours")
    parser.add_argument("--speakers", type=int, default=Load.speakers)
    parser.add_argument("--spaces", type=int, default=Load.spaces)
    parser.add_argument("--at-the-pause", action="store_true", help="no line that grows")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    runs: Sequence[Run] = RUNS
    if options.servers:
        load = Load(options.speakers, options.spaces, renewals=not options.at_the_pause)
        runs = [Run(servers, load, servers > 1) for servers in options.servers]
    costs = Costs(**{cost.name: getattr(options, cost.name) for cost in fields(Costs)})
    print(table(runs, costs, options.seed), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
