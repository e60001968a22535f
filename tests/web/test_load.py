"""A small crowd for seconds; `make load` brings a large one for ten minutes."""

from collections.abc import Iterator

import pytest
from load import OPTIONS, Report, crowd, first_words, leaving
from own_space import Space, running_space

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_space() -> Iterator[Space]:
    with running_space(*OPTIONS) as space:
        yield space


def test_a_small_crowd_is_served_right(own_space: Space) -> None:
    report = crowd(own_space, clients=8, seconds=15, talks=1)
    assert report.broken() == []
    assert len(report.latencies) >= 8
    assert report.talks >= 1


def test_short_clips_do_not_wait_behind_long_recordings(own_space: Space) -> None:
    clips, recordings, took = first_words(own_space, 12, long_seconds=270.0, to_the_end=True)
    print(f"clips after {max(clips):.1f} s at most, recordings after {max(recordings):.1f} s")
    assert max(clips) < took / 3  # behind them they would wait until the end


def test_a_place_is_free_once_its_visitor_has_left(own_space: Space) -> None:
    freed, stayed = leaving(own_space)
    assert freed < stayed  # else the next would come in when the work of the others ends


def test_broken_promises_are_found() -> None:
    memory = [(float(at), 1_000_000 + 200 * at) for at in range(600)]
    report = Report(64, 600.0, [1.0], memory=memory, freed=3.0, submitted=3, first_words=[11.0])
    report.faults["lost"] += 1
    assert report.broken() == [
        "1 x lost",
        "3 requests, 2 outcomes",
        "somebody waited 11.0 s for the first word",
        "memory changed by +8.2%",
        "a place was free 3.0 s after its visitor had left",
    ]
    assert "| 1.0 / 1.0 / 1.0 s |" in report.table()
