"""Two processes that want the same files at once."""

import signal
import time

import pytest

from tests.faults.programs import MANY, PATIENCE, POLL, PROGRAMS, differing, finish, one_line, outcome, start


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS if MANY else ("embedding_learning", "generate_embedding"))
def test_the_second_is_refused_and_the_first_ends_as_if_alone(name, data, undisturbed, tmp_path):
    program, whole, run = PROGRAMS[name], undisturbed(name), tmp_path / "run"
    run.mkdir()
    first = start(program.command(data, run), data, tmp_path / "first.out")
    while first.poll() is None and not (program.reached(run) and (run / program.begun).is_file()):
        time.sleep(POLL)
    first.send_signal(signal.SIGSTOP)  # or it would have ended before the second has begun
    try:
        line = one_line(finish(program.resumed(data, run), data))
    finally:
        first.send_signal(signal.SIGCONT)
    assert "is written by another process now: wait for its end, or give another" in line
    assert first.wait(PATIENCE) == 0, (tmp_path / "first.out").read_text()
    assert not differing(run, whole.outcome)


@pytest.mark.slow
def test_two_that_read_the_same_features_both_end_well(data, undisturbed, tmp_path):
    """The second waits for the first one's features: each is read once, and both models are the same."""
    model = undisturbed("visual_semantic").folder / "model.params"
    features, program = data / "kept" / "features", PROGRAMS["visual_semantic"]
    before, runs = set(features.rglob("*.npz")), [tmp_path / "first", tmp_path / "second"]
    flags = ["--stages", "2a", "--params", str(model), "--resize", "17"]  # in a size that nobody has read yet
    both = [start(program.command(data, run, *flags), data, run.with_suffix(".out")) for run in runs]
    for process, run in zip(both, runs):
        assert process.wait(PATIENCE) == 0, run.with_suffix(".out").read_text()
    assert outcome(runs[0]) == outcome(runs[1]) and "stage2a/model.params" in outcome(runs[0])
    made = set(features.rglob("*.npz")) - before
    assert made and not list(features.rglob(".*.npz")), made
