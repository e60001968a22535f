"""The simulation behind docs/scale.md: closed formulas, nothing lost, and the table it printed."""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
import simpy
from simpy.events import ProcessGenerator

from evaluation import capacity
from evaluation.capacity import Costs, Job, Load, Replica, Run, simulate

SCALE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"

# Small and hard to serve: servers that take four segments at a time, slowly.
FEW = Load(speakers=60, spaces=12, renewals=False)
SLOW = Costs(step=0.02, growth=0.001, batch=4)


def test_a_single_server_waits_as_an_m_d_1_queue_does() -> None:
    env, chance = simpy.Environment(), random.Random(1)
    service, load = 0.1, 0.7
    # One at a time, one step each, the same time for each: a deterministic server.
    replica = Replica(env, Costs(prefill=service, step=0.0, growth=0.0, batch=1))
    waits: list[float] = []

    def ask() -> ProcessGenerator:
        came = env.now
        yield replica.submit(Job(seconds=1.0, tokens=1))
        waits.append(env.now - came - service)

    def arrive() -> ProcessGenerator:
        for _ in range(40_000):
            yield env.timeout(chance.expovariate(load / service))
            env.process(ask())

    env.process(arrive())
    env.run()
    expected = load * service / (2 * (1 - load))  # Pollaczek and Khinchine
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.05)
    assert replica.computing / env.now == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize(
    ("in_flight", "published"), [(1, 0.373), (4, 0.426), (8, 0.549), (16, 0.777)]
)
def test_the_costs_give_back_the_published_latencies(in_flight: int, published: float) -> None:
    """Mean latencies of 50 s clips in bf16, from shreyansh26/optimizing-qwen3-asr-inference."""
    costs, env = Costs(), simpy.Environment()
    replica, latencies = Replica(env, costs), list[float]()

    def client(number: int) -> ProcessGenerator:
        yield env.timeout(number * 0.05)
        for _ in range(20):
            began = env.now
            for seconds, tokens in ((30.0, 47), (20.0, 31)):
                yield env.timeout(costs.overhead)
                yield replica.submit(Job(seconds, tokens))
            latencies.append(env.now - began)

    for number in range(in_flight):
        env.process(client(number))
    env.run()
    mean = sum(latencies) / len(latencies)
    assert mean == pytest.approx(published, rel=0.1)
    assert mean == pytest.approx(costs.closed_loop(in_flight, 50, 78, parts=2), rel=0.1)


def test_the_document_states_what_the_costs_amount_to() -> None:
    costs, load = Costs(), Load()
    per_second = [1000 / costs.throughput(s, load.job(s).tokens) for s in (20.0, 5.0)]
    long_calls = [(1, 1.715), (16, 3.787)]  # in flight, published mean of calls of 314 s
    slow = [100 * costs.closed_loop(n, 314, 491, parts=11) / t - 100 for n, t in long_calls]
    words = " ".join(SCALE.read_text("utf-8").split())
    assert f"| {per_second[0]:.2f} ({per_second[1]:.2f}) ms with 64 in flight" in words
    assert f"the long calls {slow[1]:.0f} to {slow[0]:.0f} % too slow" in words


@pytest.mark.parametrize("servers", [1, 3])
def test_a_server_that_dies_costs_time_and_no_words(servers: int) -> None:
    outcome = simulate(servers, FEW, SLOW)
    assert outcome.tried_again > 0
    captions = Counter((speaker, utterance) for speaker, utterance, _, _ in outcome.captions)
    assert len(captions) == outcome.spoken
    assert set(captions.values()) == {1}
    untroubled = simulate(servers, FEW, SLOW, dies=False)
    assert captions.keys() == {(speaker, n) for speaker, n, _, _ in untroubled.captions}
    worst = max(outcome.delays(capacity.DIES, capacity.DIES + capacity.OUTAGE))
    if servers == 1:  # nobody else: the text comes when the server is back
        assert worst > capacity.OUTAGE - 10
    else:
        assert worst < 20


def test_more_servers_are_never_worse() -> None:
    slack = 0.05  # seconds: which segments meet in a batch is chance
    p95 = [
        capacity.percentile(simulate(n, FEW, SLOW, dies=False).delays(0, capacity.ENDS), 0.95)
        for n in (1, 2, 3, 4)
    ]
    assert p95[0] > 1.1 * p95[-1]
    assert all(more <= fewer + slack for fewer, more in itertools.pairwise(p95))


def test_a_growing_line_gives_way_where_servers_are_short() -> None:
    load = Load(speakers=60, spaces=12)
    scarce, plenty = (simulate(n, load, SLOW, dies=False) for n in (1, 8))
    assert scarce.renewals < plenty.renewals
    assert scarce.spoken == plenty.spoken == len(scarce.captions)


def test_the_load_is_what_it_says() -> None:
    load, chance = Load(), random.Random(3)
    lengths = [load.length(chance) for _ in range(20_000)]
    pauses = [load.pause(chance) for _ in range(20_000)]
    assert sum(lengths) / len(lengths) == pytest.approx(load.segment, rel=0.02)
    share = sum(lengths) / (sum(lengths) + sum(pauses))
    assert share == pytest.approx(load.speech_share, rel=0.02)


def test_the_same_seed_gives_the_same_row_and_another_one_another() -> None:
    run = Run(2, FEW, dies=True)
    assert capacity.row(run, seed=5) == capacity.row(run, seed=5)
    assert capacity.row(run, seed=5) != capacity.row(run, seed=6)


def test_the_document_shows_what_the_simulation_gives(capsys: pytest.CaptureFixture[str]) -> None:
    document = SCALE.read_text("utf-8")
    shown = document.split("<!-- capacity -->\n")[1].split("<!-- /capacity -->")[0]
    assert capacity.main([]) == 0
    assert shown == capsys.readouterr().out, "run: python -m evaluation.capacity"
    assert "python -m evaluation.capacity" in document
