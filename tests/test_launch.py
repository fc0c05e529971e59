"""The local backend: N at a time, in order of need, whatever leaves with whatever status; and how it is stopped."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import until
from leadline import launch
from leadline.errors import InputError, LeadlineError
from leadline.launch import Work
from leadline.runs.place import _locked


def work(folder, title, script, needs=(), **more):
    return Work(title, ("/bin/sh", "-c", script), folder / f"{title}.log", tuple(needs), **more)


def start(works, jobs=1):
    events = []
    return launch.local(works, jobs, events.append), events


def test_works_run_in_order_each_after_what_it_needs(tmp_path):
    sink = tmp_path / "order"
    works = [
        work(tmp_path, "last", f"test -s {tmp_path}/made && echo last >> {sink}", ["first", "second"]),
        work(tmp_path, "first", f"echo first >> {sink}"),
        work(tmp_path, "second", f"echo x > {tmp_path}/made; echo second >> {sink}", ["first"]),
    ]
    states, events = start(works)
    assert states == {"first": "finished", "second": "finished", "last": "finished"}
    assert sink.read_text().split() == ["first", "second", "last"]
    assert [(e["event"], e["title"]) for e in events if e["event"] == "started"] == [
        ("started", "first"), ("started", "second"), ("started", "last")]  # fmt: skip


def test_two_at_a_time_and_never_three(tmp_path):
    def meet(me, other):  # ends only if both run at once
        wait = f"for i in $(seq 500); do test -e {tmp_path}/{other} && exit 0; sleep 0.02; done; exit 1"
        return f"touch {tmp_path}/{me}; {wait}"

    works = [work(tmp_path, "a", meet("a", "b")), work(tmp_path, "b", meet("b", "a")), work(tmp_path, "c", "exit 0")]
    states, events = start(works, jobs=2)
    assert set(states.values()) == {"finished"}
    at_once = 0
    for event in events:
        at_once += 1 if event["event"] == "started" else -1
        assert at_once <= 2


def test_a_failure_stops_only_what_needs_it_and_is_told_with_its_last_lines(tmp_path):
    works = [
        work(tmp_path, "bad", "seq 20; echo the reason >&2; exit 3"),
        work(tmp_path, "after", "exit 0", ["bad"]),
        work(tmp_path, "after-that", "exit 0", ["after"]),
        work(tmp_path, "good", "exit 0"),
    ]
    states, events = start(works)
    assert states == {"bad": "failed", "after": "skipped", "after-that": "skipped", "good": "finished"}
    told = {event["title"]: event for event in events}
    assert told["bad"]["status"] == 3 and told["bad"]["last"] == ["17", "18", "19", "20", "the reason"]
    assert told["after"]["needs"] == ["bad"] and told["after-that"]["needs"] == ["after"]
    assert launch.noted_exit(tmp_path / "bad.log")["status"] == 3
    assert launch.noted_exit(tmp_path / "after.log") == {"status": None, "needs": ["bad"]}
    assert launch.noted_exit(tmp_path / "good.log")["status"] == 0


def test_what_is_settled_is_not_started(tmp_path):
    done = []

    def settled():
        done.append(True)
        return True

    states, events = start(
        [work(tmp_path, "a", f"touch {tmp_path}/ran", settled=settled), work(tmp_path, "b", "exit 0", ["a"])]
    )
    assert states == {"a": "there", "b": "finished"} and done == [True] and not (tmp_path / "ran").exists()


def test_a_log_is_of_the_last_attempt(tmp_path):
    start([work(tmp_path, "a", "echo one; exit 1")])
    start([work(tmp_path, "a", "echo two")])
    assert (tmp_path / "a.log").read_text() == "two\n" and launch.noted_exit(tmp_path / "a.log")["status"] == 0


def test_what_another_process_computes_is_waited_for(tmp_path):
    log = tmp_path / "a.log"
    lock = launch.claim(log)
    lock.write(b"theirs\n")
    lock.flush()
    events = []

    def tell(event):
        events.append(event["event"])
        if event["event"] == "elsewhere":
            assert launch.held(log) and log.read_text() == "theirs\n"
            lock.close()

    assert launch.claim(log) is None
    assert launch.local([work(tmp_path, "a", "echo ours")], 1, tell) == {"a": "finished"}
    assert events == ["elsewhere", "started", "finished"] and log.read_text() == "ours\n" and not launch.held(log)


def test_the_lock_goes_with_a_killed_process(tmp_path):
    log = tmp_path / "a.log"
    with launch.claim(log) as file:
        process = subprocess.Popen(["/bin/sh", "-c", "exec sleep 60"], stdout=file)
    assert launch.held(log)  # the child has it, though we have closed ours
    process.kill()
    process.wait()
    assert not launch.held(log) and not launch.held(tmp_path / "none.log")


def test_a_file_system_without_locks_is_no_other_process(tmp_path, monkeypatch):
    (tmp_path / "a.log").touch()

    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    for asks in (launch.claim, launch.held):
        with pytest.raises(LeadlineError, match=r"the file system there has no locks \(No locks available\)"):
            asks(tmp_path / "a.log")
    with pytest.raises(LeadlineError, match="has no locks"):
        _locked(tmp_path)


def test_threads_are_shared_out_and_wait_asleep(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [launch.environment(jobs)["OMP_NUM_THREADS"] for jobs in (1, 3, 8, 20)] == ["8", "2", "1", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [launch.environment(jobs)["OMP_NUM_THREADS"] for jobs in (1, 4)] == ["3", "2"]
    assert launch.environment(1)["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_command_is_this_python_and_one_run():
    command = launch.train_command(Path("r.yaml"), "base-s0", Path("runs/x"), ["--check"])
    assert command[:4] == (sys.executable, "-m", "leadline", "train")
    assert command[4:] == ("r.yaml", "--name", "base-s0", "--root", "runs/x", "--check")


def test_wrong_arguments(tmp_path):
    with pytest.raises(InputError, match=r"--on locl: there is no such backend. Did you mean `local`\? Known: local"):
        launch.backend("locl")
    assert launch.backend("local") is launch.local
    with pytest.raises(InputError, match="--jobs 0: at least one"):
        launch.local([], 0, print)


SWEEPER = """
import sys
from pathlib import Path
from leadline import launch
folder = Path(sys.argv[1])
child = sys.argv[2]
command = sys.executable, "-S", "-c"
works = [launch.Work(t, (*command, child.replace("ME", t)), folder / f"{t}.log") for t in "abc"]
print(sorted(launch.local(works, 2, lambda event: None).items()), flush=True)
"""
# Notes each signal that reaches it; SIGTERM ends it as it would end a training. (A shell would unblock what we block.)
POLITE = """
import signal, sys
def note(number, frame):
    open("DIR/ME.got", "a").write(signal.Signals(number).name + " ")
    if number == signal.SIGTERM:
        sys.exit(130)
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, note)
open("DIR/ME.up", "w").close()
while True:
    signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("DIR/ME.up", "w").close()
while True:
    signal.pause()
"""


@pytest.fixture
def sweeper(tmp_path):
    """A process in a group of its own that runs three works, two at a time; both are up when it is handed over."""
    script = tmp_path / "sweeper.py"
    script.write_text(SWEEPER)
    started = []

    def begin(child):
        command = [sys.executable, str(script), str(tmp_path), child.replace("DIR", str(tmp_path))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
        started.append(process)
        until(lambda: all((tmp_path / f"{title}.up").exists() for title in "ab"))
        return process

    yield begin
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_asks_its_runs_and_waits(sweeper, tmp_path, number):
    process = sweeper(POLITE)
    if number != signal.SIGTERM:
        os.killpg(process.pid, number)  # as Ctrl-C in a terminal, or its closing: to the whole group
    else:
        process.send_signal(number)
    out = process.communicate(timeout=30)[0]
    assert out.strip() == str([("a", "interrupted"), ("b", "interrupted"), ("c", "interrupted")])
    assert process.returncode == 0 and not (tmp_path / "c.up").exists()
    for title in "ab":  # once, and never as Ctrl-C
        assert (tmp_path / f"{title}.got").read_text() == "SIGTERM "
        left = launch.noted_exit(tmp_path / f"{title}.log")
        assert (left["status"], left["state"]) == (130, "interrupted")


def test_a_second_signal_ends_them_at_once(sweeper, tmp_path):
    process = sweeper(STUBBORN)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    out = process.communicate(timeout=30)[0]
    assert out.count("interrupted") == 3
    assert not launch.held(tmp_path / "a.log") and not launch.held(tmp_path / "b.log")


def test_killing_the_group_kills_the_runs(sweeper, tmp_path):
    process = sweeper(POLITE)
    assert launch.held(tmp_path / "a.log") and launch.held(tmp_path / "b.log")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not launch.held(tmp_path / "a.log") and not launch.held(tmp_path / "b.log"))
    assert launch.noted_exit(tmp_path / "a.log") is None
