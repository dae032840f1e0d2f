"""Metrics of a run as lines and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from common.show.plots.base import colours, write


def curves(rows: Sequence[dict], path, names: Sequence[str], unit: str = "epoch") -> Path:
    """Metrics over the epochs, a panel for each.

    Parameters
    ----------
    rows : sequence of dict
        Of ``metrics.jsonl``.
    path : path
    names : sequence of str
        Of the metrics; those that no row has are left out.
    unit : str
        What an epoch is called.

    Returns
    -------
    Path
    """
    rows = [row for row in rows if row.get("batch") == 0]  # one row an epoch; the others are inside epochs
    names = [name for name in names if any(name in row for row in rows)]
    figure, axes = plt.subplots(1, max(len(names), 1), figsize=(4 * max(len(names), 1), 2.8), squeeze=False)
    for axis, name in zip(axes[0], names):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points), marker="o", markersize=3.5, color="#2166ac")
        axis.set(title=name, xlabel=unit)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return write(figure, path)


def range_test(rates: Sequence[float], losses: Sequence[float], suggestion: float, path, title: str = "") -> Path:
    """Loss over learning rate, and the rate suggested.

    Parameters
    ----------
    rates, losses : sequence of float
        Of each step; the losses smoothed.
    suggestion : float
        A learning rate.
    path : path
    title : str

    Returns
    -------
    Path
    """
    figure, axis = plt.subplots(figsize=(5.5, 3.4))
    axis.semilogx(rates, losses, color="#2166ac")
    axis.axvline(suggestion, color="#b2182b", linestyle="--", label=f"suggested: {suggestion:.2g}")
    axis.set(title=title, xlabel="learning rate", ylabel="loss, smoothed")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return write(figure, path)


def intervals(rows: Mapping[str, tuple[float, float]], path, title: str = "", unit: str = "") -> Path:
    """Methods compared: a dot for each and a line for what it is uncertain by, the best one on top.

    Parameters
    ----------
    rows : mapping of method to (middle, half width)
        A half width that is not a number, or 0, has no line.
    path : path
    title : str
    unit : str
        What the axis is called.

    Returns
    -------
    Path
    """
    ordered = sorted(rows.items(), key=lambda row: row[1][0])
    figure, axis = plt.subplots(figsize=(6, 0.27 * len(rows) + 1))
    middles, halves = np.array([row for _, row in ordered], float).T
    axis.errorbar(middles, range(len(rows)), xerr=np.nan_to_num(halves), fmt="o", color="#2166ac", markersize=4)
    axis.set_yticks(range(len(rows)), [name for name, _ in ordered])
    axis.set(title=title, xlabel=unit)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return write(figure, path)


def bars(rows: Mapping[str, Mapping[str, float]], path, title: str = "") -> Path:
    """Methods compared: a group of bars for each metric, a colour for each method, the values written on them.

    Parameters
    ----------
    rows : mapping of method to mapping of metric to value
    path : path
    title : str

    Returns
    -------
    Path
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = 0.8 / len(rows)
    figure, axis = plt.subplots(figsize=(max(4.5, 0.62 * len(names) * len(rows) + 1), 3.4))
    for number, ((method, row), colour) in enumerate(zip(rows.items(), colours(len(rows)))):
        heights = [row.get(name, np.nan) for name in names]
        at = np.arange(len(names)) + (number - (len(rows) - 1) / 2) * width
        drawn = axis.bar(at, heights, width * 0.94, label=method, color=colour)
        axis.bar_label(drawn, [f"{height:.3g}" if np.isfinite(height) else "" for height in heights], fontsize=7)
    axis.set_xticks(range(len(names)), names)
    axis.set_title(title)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return write(figure, path)
