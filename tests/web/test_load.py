"""A small crowd for seconds; `make load` brings a large one for ten minutes."""

from collections.abc import Iterator

import pytest
from load import Report, crowd, leaving
from own_space import Space, running_space

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_space() -> Iterator[Space]:
    with running_space() as space:
        yield space


def test_a_small_crowd_is_served_right(own_space: Space) -> None:
    report = crowd(own_space, clients=8, seconds=15, talks=1)
    assert report.broken() == []
    assert len(report.latencies) > 8
    assert report.talks >= 1


def test_a_place_is_free_once_its_visitor_has_left(own_space: Space) -> None:
    assert leaving(own_space) < 30  # the recordings of those who stay take minutes


def test_broken_promises_are_found() -> None:
    memory = [(float(at), 1_000_000 + 200 * at) for at in range(600)]
    report = Report(64, 600.0, [1.0], memory=memory, freed=3.0, submitted=3, most_waiting=99)
    report.faults["lost"] += 1
    assert report.broken() == [
        "1 x lost",
        "3 requests, 2 outcomes",
        "99 requests waited",
        "memory changed by +8.2%",
        "a place was free 3.0 s after its visitor had left",
    ]
    assert "| 1.0 / 1.0 / 1.0 s |" in report.table()
