"""Seconds by stage, also when the work was done in several runs."""

import pytest

from mantrap.workflow import stopwatch
from mantrap.workflow.stopwatch import Stopwatch


class Clock:
    """A clock that is set by hand; the processor gets half of each second."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def process_time(self):
        return self.now / 2


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    return clock


def seconds(watch):
    return [(t.stage, t.cpu_seconds, t.wall_seconds) for t in watch.times()]


def test_stages_are_measured_and_the_same_name_adds_up(clock):
    watch = Stopwatch()
    for stage, took in (("scan", 4), ("show", 1), ("scan", 2)):
        with watch.stage(stage):
            clock.now += took
        clock.now += 50
    assert seconds(watch) == [("scan", 3.0, 6.0), ("show", 0.5, 1.0)]


def test_the_seconds_of_a_run_before_count(clock, tmp_path):
    path = tmp_path / "seconds.json"
    first = Stopwatch(path)
    with first.stage("scan"):
        clock.now += 4
    second = Stopwatch(path)
    with second.stage("scan"):
        clock.now += 2
    assert seconds(second) == [("scan", 3.0, 6.0)]


def test_a_kill_loses_only_what_came_after_the_last_lap(clock, tmp_path):
    path = tmp_path / "seconds.json"
    killed = Stopwatch(path)
    with killed.stage("scan"):
        clock.now += 4
        killed.lap()
        clock.now += 4
        killed.lap()
        kept = path.read_bytes()
        clock.now += 30
    path.write_bytes(kept)
    assert seconds(Stopwatch(path)) == [("scan", 4.0, 8.0)]


def test_a_stage_that_fails_is_measured_too(clock):
    watch = Stopwatch()

    def fails():
        with watch.stage("scan"):
            clock.now += 4
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert seconds(watch) == [("scan", 2.0, 4.0)]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"scan": 3}', '{"scan": [1]}', '{"scan": ["a", "b"]}'])
def test_a_damaged_file_counts_for_nothing(clock, tmp_path, content):
    path = tmp_path / "seconds.json"
    path.write_text(content)
    watch = Stopwatch(path)
    with watch.stage("scan"):
        clock.now += 2
    assert seconds(watch) == [("scan", 1.0, 2.0)]
