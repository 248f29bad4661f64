"""One supervisor for all workers: what it says of one that dies, hangs, hangs up, or answers what nobody can read."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from sepconv_bench.errors import InputError
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.declaration import OURS, Declaration
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import CellMeasured, NetworkPart, Outcome
from sepconv_bench.run import protocol
from sepconv_bench.run.supervisor import Program, Supervisor, UnwantedError, WorkerError

WORKER = """
import os, sys, time
from sepconv_bench.run.serving import serve

def answer(data):
    if data == b"our own":
        os._exit(4)
    os.pwrite(int(sys.argv[2]), b"1 cpu.standard.mine\\n".ljust(128), 0)
    match data:
        case b"exit": os._exit(3)
        case b"abort":
            print("last words", file=sys.stderr, flush=True)
            os.abort()
        case b"hang": time.sleep(600)
        case b"hang up":
            os.close(int(sys.argv[1]))
            time.sleep(600)
    return data.upper()

serve(int(sys.argv[1]), answer)
"""


def supervisor(seconds: float = 60.0, wanted=lambda: True) -> Supervisor[str, str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = Program((sys.executable, "-c", WORKER), environment, seconds, own_seconds=60.0, keeps_errors=True)
    return Supervisor(program, str.encode, lambda data: data.decode("ascii"), wanted)


@pytest.fixture
def running() -> Iterator[Supervisor[str, str]]:
    with supervisor() as one:
        one.start()
        yield one


def test_a_job_is_answered_and_one_may_be_sent_ahead(running):
    assert running.ask("one") == "ONE"
    running.send("two")
    assert running.receive() == "TWO"


@pytest.mark.parametrize(
    ("job", "code", "reason", "last_line"),
    [
        ("exit", 3, "it ended its process with exit code 3", ""),
        ("abort", -6, "it crashed its process with SIGABRT", "last words"),
        ("hang up", -9, "it crashed its process with SIGKILL (out of memory?)", ""),
    ],
)
def test_a_worker_that_dies_is_described_and_can_be_started_again(job, code, reason, last_line, running, monkeypatch):
    monkeypatch.setattr("sepconv_bench.run.supervisor._LAST_SECONDS", 0.2)
    with pytest.raises(WorkerError) as died:
        running.ask(job)
    fault = died.value
    assert (fault.kernel, fault.exit_code, fault.reason, fault.last_line) == ("cpu.standard.mine", code, reason, last_line)
    assert not running.running
    running.start()
    assert running.ask("again") == "AGAIN"


def test_a_fault_of_our_own_is_not_the_kernels_that_ran_before(running):
    assert running.ask("one") == "ONE"
    with pytest.raises(WorkerError, match="it ended its process with exit code 4") as died:
        running.ask("our own")
    assert died.value.kernel == ""


def test_a_worker_that_hangs_is_ended_and_its_kernel_named():
    with supervisor(seconds=1.0) as one:
        one.start()
        assert one.ask("warm") == "WARM"
        start = time.monotonic()
        with pytest.raises(WorkerError, match="it gave no result within 1 s, and was ended") as hung:
            one.ask("hang")
        assert time.monotonic() - start < 20
        assert (hung.value.kernel, hung.value.exit_code) == ("cpu.standard.mine", None)
        assert not one.running


def test_a_worker_that_nobody_waits_for_is_ended():
    with supervisor(wanted=lambda: False) as one:
        one.start()
        with pytest.raises(UnwantedError):
            one.ask("hang")
        assert not one.running


def test_an_answer_that_cannot_be_read_is_the_workers_fault(running):
    with pytest.raises(WorkerError, match="an answer that cannot be read"):
        running.ask("ö")
    assert not running.running


# ---------------------------------------------------------------------------------------- the records

SHAPE = ConvShape(3, 4, 4, 5)
KERNEL = Declaration("cpu", "standard", "mine", OURS, ("standard",), "mine")
PART = NetworkPart(0.25, 128, 1, "block1")


@pytest.mark.parametrize(
    "job",
    [
        protocol.Start((os.fsencode("a\udcff.py"),), "cpu.*.numpy", "cpu", False),
        protocol.MeasureCeilings(0, 1.0),
        protocol.Check("cpu.standard.mine", SHAPE, 0),
        protocol.MeasureCell(SHAPE, ("cpu.standard.mine",), Rules(), 0),
        protocol.OpenNetwork(0.25, 128, 1, None, 0),
        protocol.MeasureNetworkPart(PART, None, ("cpu.standard.plan",), Rules(), 0),
    ],
)
def test_a_job_arrives_as_it_was_sent(job):
    assert protocol.decode_job(protocol.encode(job)) == job


def test_an_answer_arrives_as_it_was_sent():
    outcome = Outcome(KERNEL, "wrong", "NaN", error=float("inf"))
    answer = protocol.CellTimed(CellMeasured(SHAPE, (outcome,), {"cpu.standard.mine": (b"12345678",)}, network=PART))
    assert protocol.decode_answer(protocol.encode(answer)) == answer


@pytest.mark.parametrize(
    "made_up",
    [
        {"type": "Check", "kernel": "x", "shape": {"D_K": 0, "M": 1, "N": 1, "D_G": 1}, "seed": 0},
        {"type": "Check", "kernel": "x"},
        {"type": "__init__"},
        {"do": "start"},
        ["MeasureCeilings", 0, 1.0],
    ],
)
def test_what_is_no_job_is_refused_at_the_door(made_up):
    with pytest.raises(msgspec.ValidationError):
        protocol.decode_job(msgspec.msgpack.encode(made_up))


def test_a_word_of_the_users_that_is_no_text_is_refused():
    with pytest.raises(InputError, match="is no text"):
        protocol.encode(protocol.Start((), "cpu.\udcff", "cpu", False))
