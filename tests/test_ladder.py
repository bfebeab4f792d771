"""Laws of the ladder: whatever its upper rungs do, it decides, in time, and says why."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.ladder import Proposal, Rung, descend
from dispatch.worker import Unanswered, Worker
from tests import pathological


def does(deed):
    """A rung's decision that goes as named."""

    def decide(case):
        if deed == "raise":
            raise FloatingPointError(case)
        return Proposal({"good": 5.0, "nan": float("nan"), "infinite": -float("inf")}[deed])

    return decide


@given(deeds=st.lists(st.sampled_from(["good", "nan", "infinite", "raise"]), max_size=5))
def test_the_first_finite_power_wins_and_every_rung_above_it_says_why_not(deeds):
    rungs = [Rung(str(i), does(deed)) for i, deed in enumerate([*deeds, "good"])]
    descent = descend(rungs, "the case")
    first = [*deeds, "good"].index("good")
    assert descent.rung == str(first)
    assert descent.proposal.power_kw == 5.0
    assert [step.rung for step in descent.steps] == [str(i) for i in range(first)]
    for step, deed in zip(descent.steps, deeds, strict=False):
        assert {"nan": "nan kW", "infinite": "-inf kW", "raise": "the case"}[deed] in step.reason


def test_a_ladder_without_ground_is_an_error():
    with pytest.raises(RuntimeError, match="must be able to"):
        descend([Rung("one", does("raise"))], "case")


@pytest.fixture
def worker():
    started = []

    def start(build, *arguments):
        started.append(Worker("it", f"{build.__module__}:{build.__name__}", *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("deed", ["sleep", "spin", "hold the lock"])
def test_what_hangs_is_ended_in_time_and_started_again(deed, worker):
    it = worker(pathological.build, deed)
    it.await_ready(30.0)
    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"within 0\.2 s"):
        it.ask("and now", 0.2)
    assert time.monotonic() - began < 1.0
    with pytest.raises(Unanswered, match="still starting"):
        it.ask("and now", 0.0)
    it.await_ready(30.0)
    assert it.ask("well?", 1.0) == "well"


@pytest.mark.parametrize(("deed", "reason"), [("raise", "overflow"), ("unpicklable", "ickle"), ("die", "ended")])
def test_what_fails_or_dies_says_so_and_answers_the_next_question(deed, reason, worker):
    it = worker(pathological.build, deed)
    it.await_ready(30.0)
    with pytest.raises(Unanswered, match=reason):
        it.ask("and now", 5.0)
    it.await_ready(30.0)
    assert it.ask("well?", 1.0) == "well"


def test_what_cannot_be_built_is_no_answer(worker):
    with pytest.raises(Unanswered, match="no licence"):
        worker(pathological.cannot_build).await_ready(30.0)
    with pytest.raises(Unanswered, match="still starting"):
        worker(pathological.slow_to_build).ask("well?", 0.3)


def test_the_process_ends_with_its_parent(worker):
    it = worker(pathological.build, "good")
    it.await_ready(30.0)
    it._pipe.close()  # all that a parent that was killed leaves behind
    assert it._process.wait(10.0) == 0
