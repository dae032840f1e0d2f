"""The model of `benchmarks/scaling.py`: what it is fitted to it finds again, and what it predicts is its formula."""

import numpy as np
import pytest

from benchmarks import scaling

TRUE = scaling.Fit(start=2e-3, worker=4e-9, server=3e-9)


def points(noise=0.0):
    rng = np.random.default_rng(0)
    return [
        (size, *layout, TRUE.seconds(size, *layout) * (1 + noise * rng.standard_normal()))
        for layout in scaling.LAYOUTS
        for size in scaling.SIZES
    ]


def test_the_fit_finds_what_made_the_points():
    found, error = scaling.fit(points())
    assert (found.start, found.worker, found.server) == pytest.approx((2e-3, 4e-9, 3e-9), rel=1e-6)
    assert error < 1e-6
    found, error = scaling.fit(points(noise=0.05))
    assert (found.start, found.worker, found.server) == pytest.approx((2e-3, 4e-9, 3e-9), rel=0.3)
    assert 0 < error < 0.1


def test_no_part_of_the_fit_is_negative():
    found, _ = scaling.fit([(size, workers, servers, 1e-9 * size) for size, workers, servers, _ in points()])
    assert min(found.start, found.worker, found.server) >= 0
    assert found.worker == pytest.approx(1e-9)


def test_what_is_predicted_is_the_formula_and_the_limit_is_where_it_meets_compute():
    args = scaling.parse_args(["--parameters", "1e6", "--step", "0.5", "--network", "8"])  # 1e9 bytes a second
    seconds, share = scaling.predict(TRUE, args, 16, 8)
    assert seconds == pytest.approx(2e-3 + 8e6 / 1e9 * 16 / 8 + 1e6 * 3e-9 * 16 / 8)
    assert share == pytest.approx(0.5 / (0.5 + seconds))
    for servers in (1, 8):
        limit = scaling.most_gpus(TRUE, args, servers)
        assert scaling.predict(TRUE, args, limit, servers)[0] == pytest.approx(args.step)


def test_the_page_has_a_row_for_each_layout_and_each_number_of_gpus():
    args = scaling.parse_args([])
    row = {"compute": 0.1, **{f"communication {size}": 0.0 for size in args.sizes}, "evaluation": 1.0}
    measured = {layout: dict(row) for layout in scaling.LAYOUTS}
    for size, workers, servers, seconds in points():
        measured[workers, servers][f"communication {size}"] = seconds
    lines = scaling.page(args, measured).splitlines()
    for first in ("| 4 | 2 | 0.1 |", *(f"| {gpus} |" for gpus in scaling.GPUS)):
        assert sum(line.startswith(first) for line in lines) == 1
    assert not [line for line in lines if "{" in line]
