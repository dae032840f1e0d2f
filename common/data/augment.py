"""Strong random changes of pictures in training: one change a picture, a hole in it, and mixtures of two.

`TrivialAugment` and `RandomErasing` are called with one picture (H, W, 3) uint8 and a random generator, as the
transforms of `common.data.transforms` are; `Mixture` with a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from common.data.transforms import random_window

GREY = 128  # where nothing of the picture is left


def _affine(coefficients: Callable) -> Callable:
    """The change of a picture that takes each pixel from ``A p + b``, with the middle of the picture at 0."""

    def change(picture: Image.Image, strength: float) -> Image.Image:
        width, height = picture.size
        a, b, x, c, d, y = coefficients(strength, width, height)
        middle = (width - 1) / 2, (height - 1) / 2
        x += middle[0] - a * middle[0] - b * middle[1]
        y += middle[1] - c * middle[0] - d * middle[1]
        # Pillow takes pixel centres at halves.
        x, y = x + 0.5 - 0.5 * (a + b), y + 0.5 - 0.5 * (c + d)
        values = (a, b, x, c, d, y)
        return picture.transform(picture.size, Image.Transform.AFFINE, values, fillcolor=(GREY,) * 3)

    return change


def _enhanced(kind: type) -> Callable:
    return lambda picture, strength: kind(picture).enhance(1 + strength)


def _turned(degrees: float, *_) -> tuple:
    angle = np.deg2rad(degrees)
    return np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0


class TrivialAugment:
    """One change of fourteen, each as likely, of a strength drawn evenly: nothing has to be chosen.

    In the wide space: shear of up to 0.99, shift of up to 1/7 of the side, rotation by up to 135 degrees, brightness,
    colour, contrast and sharpness of 0.01 to 1.99 times, 2 to 8 bits a channel, inversion of what is brighter than a
    threshold, automatic contrast, equalised histogram; or none. Pixels from outside the picture are grey.

    References
    ----------
    S. G. Müller, F. Hutter: TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation. ICCV 2021, algorithm 1
    and table 8 (shifts there are of 32 pixels of 224).
    """

    CHANGES = (  # name, change, weakest, strongest, whether either way
        ("identity", lambda picture, _: picture, 0, 0, False),
        ("shear x", _affine(lambda s, *_: (1, s, 0, 0, 1, 0)), 0, 0.99, True),
        ("shear y", _affine(lambda s, *_: (1, 0, 0, s, 1, 0)), 0, 0.99, True),
        ("shift x", _affine(lambda s, width, _: (1, 0, s * width, 0, 1, 0)), 0, 1 / 7, True),
        ("shift y", _affine(lambda s, _, height: (1, 0, 0, 0, 1, s * height)), 0, 1 / 7, True),
        ("rotate", _affine(_turned), 0, 135, True),
        ("brightness", _enhanced(ImageEnhance.Brightness), 0, 0.99, True),
        ("colour", _enhanced(ImageEnhance.Color), 0, 0.99, True),
        ("contrast", _enhanced(ImageEnhance.Contrast), 0, 0.99, True),
        ("sharpness", _enhanced(ImageEnhance.Sharpness), 0, 0.99, True),
        ("posterise", lambda picture, lost: ImageOps.posterize(picture, 8 - round(lost)), 0, 6, False),
        ("solarise", lambda picture, below: ImageOps.solarize(picture, 256 - round(below)), 0, 256, False),
        ("automatic contrast", lambda picture, _: ImageOps.autocontrast(picture), 0, 0, False),
        ("equalise", lambda picture, _: ImageOps.equalize(picture), 0, 0, False),
    )
    LEVELS = 31

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _, change, low, high, signed = self.CHANGES[rng.integers(len(self.CHANGES))]
        strength = low + (high - low) * rng.integers(self.LEVELS) / (self.LEVELS - 1)
        if signed and rng.random() < 0.5:
            strength = -strength
        return np.asarray(change(Image.fromarray(picture), strength))


class RandomErasing:
    """A grey rectangle of 2 to 33 % of the area over some pictures, so that no single part is relied on.

    Parameters
    ----------
    probability : float
        Of a picture to get one, 0..1.

    References
    ----------
    Z. Zhong et al.: Random Erasing Data Augmentation. AAAI 2020, algorithm 1; aspect ratios of 0.3 to 3.3.
    """

    AREA, RATIO = (0.02, 0.33), 3.3

    def __init__(self, probability: float):
        self.probability = probability

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.probability:
            return picture
        window = random_window(*picture.shape[:2], self.AREA, self.RATIO, rng, rest=1)
        if window:
            y, x, high, wide = window
            picture = picture.copy()
            picture[y : y + high, x : x + wide] = GREY
        return picture


class Mixture:
    r"""Each picture of a batch mixed with another one, and what is wanted of it with what is wanted of that.

    A batch's share :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`: MixUp adds :math:`\lambda` of a picture and
    :math:`1 - \lambda` of the other, CutMix lays a window of the other, of :math:`1 - \lambda` of the area, on it.
    With both, each batch gets one of them.

    Parameters
    ----------
    classes : int
    mixup, cutmix : float
        :math:`\alpha` of each; 0: not this one.

    References
    ----------
    H. Zhang et al.: mixup: Beyond Empirical Risk Minimization. ICLR 2018, equations 1 and 2.
    S. Yun et al.: CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features. ICCV 2019,
    equations 1 and 2.
    """

    def __init__(self, classes: int, mixup: float = 0.0, cutmix: float = 0.0):
        self.classes, self.mixup, self.cutmix = classes, mixup, cutmix

    def __call__(
        self, pictures: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mix.

        Parameters
        ----------
        pictures : (n, S, S, 3) uint8
        labels : (n,) int
        rng : numpy.random.Generator

        Returns
        -------
        (n, S, S, 3) uint8, (n, classes) float32
            The pictures, and the wanted probability of each class.
        """
        kinds = [(alpha, kind) for alpha, kind in ((self.mixup, _blended), (self.cutmix, _pasted)) if alpha]
        alpha, kind = kinds[rng.integers(len(kinds))]
        others = rng.permutation(len(labels))
        mixed, share = kind(pictures, pictures[others], rng.beta(alpha, alpha), rng)
        wanted = np.zeros((len(labels), self.classes), np.float32)
        rows = np.arange(len(labels))
        wanted[rows, labels] = share
        wanted[rows, labels[others]] += np.float32(1 - share)
        return mixed, wanted


def _blended(pictures, others, share: float, rng) -> tuple[np.ndarray, float]:
    return np.rint(share * pictures + (1 - share) * others).astype(np.uint8), share


def _pasted(pictures, others, share: float, rng) -> tuple[np.ndarray, float]:
    """With the share that is left, of a window cut off at the pictures' edges."""
    side = pictures.shape[1]
    half = side * np.sqrt(1 - share) / 2
    middle = rng.integers(0, side, 2)
    (top, left), (bottom, right) = ((middle + end).round().astype(int).clip(0, side) for end in (-half, half))
    pictures = pictures.copy()
    pictures[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return pictures, 1 - (bottom - top) * (right - left) / side**2
