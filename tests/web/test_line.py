"""The line in front of the model: seconds of audio count, and short recordings do not wait."""

import pytest

from web.line import AT_ONCE, RESERVE, SHORT, Full, Line, Ticket

HOUR = 3600.0


def places(*tickets: Ticket) -> list[int]:
    return [ticket.place for ticket in tickets]


def test_those_who_fit_work_at_once_and_the_rest_wait_in_order() -> None:
    line = Line(4 * HOUR, waiting=10)
    first, second, third, fourth = (line.join(2 * HOUR) for _ in range(4))
    assert places(first, second, third, fourth) == [0, 0, 1, 2]
    assert not third.wait(0)
    first.leave()
    assert third.wait(0)
    assert places(third, fourth) == [0, 1]


def test_a_short_recording_passes_the_long_ones_that_wait() -> None:
    line = Line(2 * HOUR, waiting=10)
    long = [line.join(2 * HOUR) for _ in range(4)]
    short = line.join(3.0)
    assert places(*long, short) == [0, 1, 2, 3, 0]


def test_short_recordings_have_a_bounded_room_of_their_own() -> None:
    line = Line(2 * HOUR, waiting=10**6)
    line.join(2 * HOUR)
    short = [line.join(SHORT) for _ in range(AT_ONCE)]
    working = [ticket for ticket in short if not ticket.place]
    assert sum(ticket.seconds for ticket in working) <= RESERVE
    assert len(working) < AT_ONCE


def test_short_recordings_leave_the_room_of_the_long_ones_alone() -> None:
    line = Line(2 * HOUR, waiting=10)
    working, _, long = (line.join(HOUR) for _ in range(3))
    short = [line.join(SHORT) for _ in range(int(RESERVE / SHORT))]
    assert places(long, *short) == [1] + [0] * len(short)
    working.leave()
    assert long.wait(0)


def test_a_long_recording_is_not_passed_by_others_for_ever() -> None:
    line = Line(2 * HOUR, waiting=10)
    working = line.join(1.5 * HOUR)
    long, later = line.join(2 * HOUR), line.join(0.25 * HOUR)
    assert places(long, later) == [1, 2]  # the later one would fit
    working.leave()
    assert places(long, later) == [0, 1]


def test_one_recording_is_always_let_in() -> None:
    line = Line(1.0, waiting=0)
    assert line.join(HOUR).wait(0)


def test_who_finds_no_place_is_told_how_many_wait() -> None:
    line = Line(HOUR, waiting=2)
    line.join(HOUR)
    waiting = [line.join(HOUR) for _ in range(2)]
    with pytest.raises(Full) as full:
        line.join(HOUR)
    assert full.value.ahead == 2
    assert places(*waiting) == [1, 2]
    assert line.join(3.0).wait(0)  # a short one needs no place there


def test_who_gives_up_leaves_no_gap() -> None:
    line = Line(HOUR, waiting=5)
    working, first, second = (line.join(HOUR) for _ in range(3))
    first.leave()
    first.leave()
    assert second.place == 1
    working.leave()
    assert second.wait(0)


def test_what_a_header_claims_is_corrected_by_what_was_decoded() -> None:
    line = Line(HOUR, waiting=5)
    claimed = line.join(HOUR)
    waiting = line.join(0.5 * HOUR)
    claimed.measured(0.25 * HOUR)
    assert waiting.wait(0)


def test_no_more_work_at_a_time_than_there_are_threads() -> None:
    line = Line(HOUR, waiting=AT_ONCE)
    tickets = [line.join(1.0) for _ in range(AT_ONCE + 1)]
    assert [ticket.place for ticket in tickets] == [0] * AT_ONCE + [1]
