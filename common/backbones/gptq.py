"""Weights rounded to 8 bits so that a layer's outputs change least: GPTQ, from what the layer sees."""

from __future__ import annotations

import numpy as np

SAMPLES = 16  # positions of a picture at which a convolution's inputs are looked at


class Moments:
    """Running mean and covariance of rows in groups, (n, groups, k)."""

    WAITING = 512  # rows that are collected and multiplied at once

    def __init__(self):
        self.count, self.sum, self.products, self.moved, self.waiting = 0, 0.0, 0.0, 0.0, []

    def add(self, rows: np.ndarray) -> None:
        """Count more rows in: (n, groups, k)."""
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) >= self.WAITING:
            self._multiply()

    def _multiply(self) -> None:
        if self.waiting:
            rows = np.concatenate(self.waiting).swapaxes(0, 1)
            self.count, self.waiting = self.count + rows.shape[1], []
            self.sum = self.sum + rows.sum(axis=1, dtype=np.float64)
            self.products = self.products + (rows.swapaxes(1, 2) @ rows).astype(np.float64)

    def move(self, constant: np.ndarray) -> None:
        """Add a constant to every row: (groups, k), or what can be broadcast to it."""
        self.moved = self.moved + constant

    @property
    def mean(self) -> np.ndarray:
        """The mean of the rows: (groups, k)."""
        self._multiply()
        return self.sum / self.count + self.moved

    @property
    def covariance(self) -> np.ndarray:
        """The covariance of the rows: (groups, k, k)."""
        self._multiply()
        mean = self.sum / self.count
        return self.products / self.count - mean[:, :, None] * mean[:, None]


def rounded(weight: np.ndarray, moments: Moments, levels: float = 127) -> tuple[np.ndarray, np.ndarray]:
    """A layer's weights after `gptq`, and what its outputs lose by that in the mean.

    Parameters
    ----------
    weight : (out, ...) array
        Its groups one after the other.
    moments : Moments
        Of the inputs.
    levels : float
        See `gptq`.

    Returns
    -------
    weight : array
        Of the same shape.
    lost : (out,) array
        To be added to the biases (Nagel et al. 2019, section 4.2).
    """
    by_group = weight.reshape(len(moments.mean), -1, moments.mean.shape[1])
    result = gptq(by_group, moments.covariance, levels)
    lost = np.einsum("gok,gk->go", by_group - stored(result, by_group, levels), moments.mean).reshape(-1)
    return result.reshape(weight.shape), lost


def _scale(weight: np.ndarray, levels: float) -> np.ndarray:
    """Steps to one, (groups, out, 1) float32, as a quantiser computes it."""
    return np.float32(levels) / np.maximum(np.abs(weight).max(axis=2, keepdims=True), 1e-12).astype(np.float32)


def stored(values: np.ndarray, weight: np.ndarray, levels: float) -> np.ndarray:
    """What a quantiser makes of a layer's weights after `gptq`.

    It stores whole numbers to 127, and to -128 where the largest weight, of a negative sign, lies at half a step below
    -127: the last digit of float32 decides about that.

    Parameters
    ----------
    values : (groups, out, k) array
    weight : (groups, out, k) array
        Before, with the same largest weight in each row.
    levels : float
        See `gptq`.

    Returns
    -------
    (groups, out, k) array
    """
    scale = _scale(weight, levels)
    return np.clip(np.rint(values.astype(np.float32) * scale), -np.ceil(levels), 127) / scale.astype(np.float64)


def gptq(weight: np.ndarray, covariance: np.ndarray, levels: float = 127, damping: float = 0.01) -> np.ndarray:
    """Weights of 8 bits whose products with inputs of that `covariance` are nearly those of `weight`.

    GPTQ: columns are quantised in order, and the rounding error of each is propagated to the remaining ones via the
    inverse covariance (Frantar et al. 2023, equation 3). The step is the largest weight of a row / `levels`, and that
    weight is not changed, so that a quantiser of the result computes the same step.

    Parameters
    ----------
    weight : (groups, out, k) array
    covariance : (groups, k, k) array
        Of the inputs.
    levels : float
        Steps to the largest weight in the quantiser that the result is for; it stores whole numbers to 127.
    damping : float
        Added to the variances, as a fraction of their mean.

    Returns
    -------
    (groups, out, k) array
        Multiples of the steps, but for the largest weight of each row.
    """
    left, steps = weight.astype(np.float64), 1 / _scale(weight, levels)[:, :, 0].astype(np.float64)
    mean = np.maximum(np.trace(covariance, axis1=1, axis2=2) / weight.shape[2], 1e-12)
    damped = covariance + damping * mean[:, None, None] * np.eye(weight.shape[2])
    spread = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(1, 2)
    result, largest = np.empty_like(weight), np.abs(weight).argmax(axis=2)
    kept = stored(weight, weight, levels)
    for k in range(weight.shape[2]):
        nearest = np.clip(np.rint(left[:, :, k] / steps), -127, 127) * steps
        result[:, :, k] = np.where(largest == k, weight[:, :, k], nearest)
        error = (left[:, :, k] - np.where(largest == k, kept[:, :, k], nearest)) / spread[:, k, k, None]
        left[:, :, k:] -= error[:, :, None] * spread[:, None, k, k:]
    return result


def windows(value: np.ndarray, kernel, pads, strides, groups: int, samples: int, rng) -> np.ndarray:
    """The inputs that a convolution multiplies with its weights, at random positions.

    Parameters
    ----------
    value : (C, H, W) array
        Of one picture.
    kernel, strides : (int, int)
        Down and across.
    pads : sequence of four int
        Above, left, below, right.
    groups : int
    samples : int
        Positions to draw.
    rng : numpy.random.Generator

    Returns
    -------
    (samples, groups, k) array
    """
    top, left, bottom, right = pads
    padded = np.pad(value, ((0, 0), (top, bottom), (left, right)))
    found = np.lib.stride_tricks.sliding_window_view(padded, tuple(kernel), axis=(1, 2))
    found = found[:, :: strides[0], :: strides[1]]
    rows, columns = (rng.integers(0, side, samples) for side in found.shape[1:3])
    return found[:, rows, columns].swapaxes(0, 1).reshape(samples, groups, -1)
