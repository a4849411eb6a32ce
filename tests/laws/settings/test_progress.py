"""A rule's log: everything is in it, wrong input is one sentence, and progress says how far and how long."""

import sys

import pytest
from weightspace import progress
from weightspace.errors import InputError
from weightspace.progress import Progress, rule_log


@pytest.fixture
def streams(monkeypatch):
    """This test's own stdout and stderr, put back after it whatever the log left there."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    return sys.stdout, sys.stderr


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(progress, "time", clock := Clock())
    return clock


def fail(error):
    raise error


@pytest.mark.usefixtures("streams")
def test_both_streams_go_to_the_log_line_by_line(tmp_path):
    path = tmp_path / "rule.log"
    with rule_log(str(path)):
        print("out")
        sys.stderr.write("err\n")
        seen = path.read_text()
    assert seen == path.read_text() == "out\nerr\n"


@pytest.mark.usefixtures("streams")
def test_wrong_input_is_one_sentence_and_exit_code_1(tmp_path):
    path = tmp_path / "rule.log"
    with pytest.raises(SystemExit) as stop, rule_log(str(path)):
        fail(InputError("a.parquet: no such file"))
    assert stop.value.code == 1
    assert path.read_text() == "error: a.parquet: no such file\n"


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "a.parquet"), RuntimeError("I/O: Disk quota exceeded")])
def test_a_file_that_cannot_be_written_is_one_sentence_and_exit_code_1(tmp_path, error):
    path = tmp_path / "rule.log"
    with pytest.raises(SystemExit) as stop, rule_log(str(path)):
        fail(error)
    assert stop.value.code == 1
    assert path.read_text() == f"error: {error}\n"


def test_a_log_that_cannot_be_written_is_one_sentence_on_the_terminal(capsys):
    with pytest.raises(SystemExit) as stop, rule_log("/dev/full"):
        print("more than the disk holds")
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"


@pytest.mark.usefixtures("streams")
def test_an_interrupt_leaves_one_line_and_the_exit_code_of_one(tmp_path):
    path = tmp_path / "rule.log"
    with pytest.raises(SystemExit) as stop, rule_log(str(path)):
        fail(KeyboardInterrupt())
    assert stop.value.code == 130
    assert path.read_text() == "interrupted; the next run goes on from the last saved state\n"


@pytest.mark.usefixtures("streams")
def test_a_bug_leaves_its_traceback_in_full_and_goes_on_upwards(tmp_path):
    path, error = tmp_path / "rule.log", ValueError("planted")
    with pytest.raises(type(error), match="planted"), rule_log(str(path)):
        fail(error)
    assert path.read_text().startswith("Traceback")
    assert "in fail\n" in path.read_text()
    assert path.read_text().endswith(f"{type(error).__name__}: planted\n")


@pytest.mark.parametrize("error", [None, InputError("planted"), ValueError("planted")], ids=lambda error: type(error).__name__)
def test_streams_are_given_back(tmp_path, streams, error):
    try:
        with rule_log(str(tmp_path / "rule.log")):
            if error:
                fail(error)
    except (SystemExit, ValueError):
        pass
    assert (sys.stdout, sys.stderr) == streams


def test_progress_says_how_much_is_done_how_fast_and_how_long_it_will_take(clock, capsys):
    progress = Progress("step", 200)
    clock.now += 10
    progress.update(50)
    assert capsys.readouterr().out == "step 0/200: started\nstep 50/200 (25%), 5/s, 30 s left\n"


def test_before_anything_is_done_progress_says_neither_how_fast_nor_how_long(clock, capsys):
    progress = Progress("step", 200)
    clock.now += 10
    progress.update(0)
    assert capsys.readouterr().out.splitlines()[-1] == "step 0/200 (0%)"


def test_progress_counts_its_rate_from_where_it_resumed(clock, capsys):
    progress = Progress("step", 200, done=100)
    clock.now += 10
    progress.update(150)
    assert capsys.readouterr().out == "step 100/200: resumed\nstep 150/200 (75%), 5/s, 10 s left\n"


def test_progress_is_quiet_between_and_never_at_the_end(clock, capsys):
    progress = Progress("step", 1000, every_seconds=5.0)
    for done in range(1, 1000):
        clock.now += 0.1
        progress.update(done)
    progress.update(1000)
    lines = capsys.readouterr().out.splitlines()
    assert 99 / 5 <= len(lines) <= 100 / 5 + 2
    assert lines[-1].startswith("step 1000/1000 (100%)")
    assert lines[-1].endswith("0 s left")


def test_nothing_to_do_is_done(capsys):
    Progress("step", 0).update(0)
    assert "step 0/0" in capsys.readouterr().out.splitlines()[-1]
