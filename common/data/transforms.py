"""What happens to a picture between the disk and the network: sizes and crops, and random changes in training.

A transform is called with one picture (H, W, 3) uint8 and a random generator, and gives (S, S, 3) uint8. `batch`
does the same to an array of pictures of one size at once. Normalisation is not here: it is the network's first layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from common.data import images

DRAWS = 10  # of a random window, until one fits

class Eval:
    """Resize, then cut the middle: one view of a picture.

    Parameters
    ----------
    resize : int
        Pixels.
    crop : int
        Side of the result in pixels.
    keep_aspect : bool
        Resize the shorter side to `resize`; otherwise both, whatever the shape.
    """

    count = 1  # of views
    random = False  # whether a picture comes out otherwise each time

    def __init__(self, resize: int = 256, crop: int = 224, keep_aspect: bool = False):
        self.resize, self.crop, self.keep_aspect = max(resize, crop), crop, keep_aspect

    @property
    def min_side(self) -> int:
        """Pixels that a picture's sides should have, where it can be decoded at a smaller scale."""
        return self.resize

    @property
    def one_size(self) -> bool:
        """Whether pictures before they are cut have one size, and can be kept as one array: see `sized` and `batch`."""
        return not self.keep_aspect

    @property
    def settings(self) -> str:
        """What a picture goes through, as a key of what is kept of it."""
        return f"{self.resize} {self.crop} {self.keep_aspect}"

    @property
    def whole(self) -> Eval:
        """The first view alone."""
        return Eval(self.resize, self.crop, self.keep_aspect)

    def pictures(self, views: int) -> int:
        """How many pictures make a batch of at most so many views, since the network sees all of a batch at once."""
        return max(1, views // self.count)

    def size(self, picture: np.ndarray) -> tuple[int, int]:
        """(width, height) in pixels of `picture` before it is cut."""
        return images.short_size(picture, self.resize) if self.keep_aspect else (self.resize, self.resize)

    def sized(self, picture: np.ndarray) -> np.ndarray:
        """The picture before it is cut: what is not random, done once for pictures that are kept."""
        return images.resize(picture, self.size(picture))

    def __call__(self, picture: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        return self.middle(self.sized(picture))

    def middle(self, sized: np.ndarray) -> np.ndarray:
        """The middle of a picture that was resized, (crop, crop, 3)."""
        y, x = (sized.shape[0] - self.crop) // 2, (sized.shape[1] - self.crop) // 2
        return sized[y : y + self.crop, x : x + self.crop]

    def batch(self, pictures: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Cut the middle out of pictures.

        Parameters
        ----------
        pictures : (n, resize, resize, 3) uint8
            As `sized` makes them.
        rng : numpy.random.Generator, optional
            Not used.

        Returns
        -------
        (n, crop, crop, 3) uint8
        """
        y = (self.resize - self.crop) // 2
        return np.ascontiguousarray(pictures[:, y : y + self.crop, y : y + self.crop])


class Views(Eval):
    """A picture as `Eval` gives it and its middle, larger: several views, whose features are averaged.

    Parameters
    ----------
    resize, crop, keep_aspect
        See `Eval`.
    middles : sequence of float
        Shares of both sides, 0..1: what was photographed is in the middle mostly.
    """

    def __init__(self, resize: int = 256, crop: int = 224, keep_aspect: bool = False, middles: Sequence[float] = ()):
        super().__init__(resize, crop, keep_aspect)
        if not all(0 < share < 1 for share in middles):
            raise ValueError(f"views {', '.join(map(str, middles))}: shares of a picture's sides lie between 0 and 1")
        self.middles, self.count = tuple(middles), 1 + len(middles)

    @property
    def min_side(self) -> int:
        return round(self.resize / min(self.middles))

    @property
    def one_size(self) -> bool:
        return False

    @property
    def settings(self) -> str:
        return f"{super().settings} {self.middles}"

    def __call__(self, picture: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """The views of one picture: (1 + middles, crop, crop, 3) uint8."""
        views = [super().__call__(picture)]
        for share in self.middles:
            views.append(super().__call__(inner(picture, share)))
        return np.stack(views)


def inner(picture: np.ndarray, share: float) -> np.ndarray:
    """The middle of a picture.

    Parameters
    ----------
    picture : (H, W, 3) array
    share : float
        Of both sides, 0..1.
    """
    y, x = (int(side * (1 - share) / 2) for side in picture.shape[:2])
    return picture[y : picture.shape[0] - y, x : picture.shape[1] - x]


def evaluation(resize: int, crop: int, keep_aspect: bool = False, middles: Sequence[float] = ()) -> Eval:
    """`Views` where there are `middles`, or else `Eval`.

    Parameters
    ----------
    resize, crop, keep_aspect, middles
        See there.
    """
    return Views(resize, crop, keep_aspect, middles) if middles else Eval(resize, crop, keep_aspect)


def saved(metadata: Mapping) -> Eval:
    """What pictures go through by a model's metadata.

    Parameters
    ----------
    metadata : mapping
        ``resize``, ``crop``, ``keep_aspect``, and ``views``, which models of old have not.
    """
    return evaluation(metadata["resize"], metadata["crop"], metadata["keep_aspect"], metadata.get("views", ()))


class Train(Eval):
    """Resize, cut at a random place, and mirror every other picture; more on demand.

    Parameters
    ----------
    resize, crop, keep_aspect
        See `Eval`.
    mirror : bool
        Mirror left to right with probability one half.
    rotation : float
        Turn by up to so many degrees either way.
    zoom : float
        Enlarge by up to this fraction (0.1: up to 1.1 times).
    lighting : float
        Change brightness and contrast by up to this fraction either way.
    """

    random = True

    def __init__(
        self, resize: int = 256, crop: int = 224, keep_aspect: bool = False, mirror: bool = True,
        rotation: float = 0.0, zoom: float = 0.0, lighting: float = 0.0,
    ):  # fmt: skip
        super().__init__(resize, crop, keep_aspect)
        self.mirror, self.rotation, self.zoom, self.lighting = mirror, rotation, zoom, lighting

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        width, height = self.size(picture)
        enlarged = width > picture.shape[1] or height > picture.shape[0]
        if self.rotation or self.zoom or enlarged:
            return self._changed(self.sized(picture), rng)
        # Resize no more than what is kept: the window that becomes the crop.
        window = round(self.crop * picture.shape[0] / height), round(self.crop * picture.shape[1] / width)
        cropped = images.resize(self._window(picture, window, rng), (self.crop, self.crop))
        return _mirrored_and_lit(cropped, self.mirror, self.lighting, rng)

    def batch(self, pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cut and change each picture at random.

        Parameters
        ----------
        pictures : (n, resize, resize, 3) uint8
            As `sized` makes them.
        rng : numpy.random.Generator

        Returns
        -------
        (n, crop, crop, 3) uint8
        """
        if self.rotation or self.zoom or self.lighting:
            return np.stack([self._changed(picture, rng) for picture in pictures])
        n, room = len(pictures), self.resize - self.crop
        if room:
            y, x = rng.integers(0, room + 1, (2, n))
            windows = np.lib.stride_tricks.sliding_window_view(pictures, (self.crop, self.crop), axis=(1, 2))
            pictures = windows[np.arange(n), y, x].transpose(0, 2, 3, 1)
        if self.mirror:
            flip = rng.random(n) < 0.5
            pictures = np.where(flip[:, None, None, None], pictures[:, :, ::-1], pictures)
        return np.ascontiguousarray(pictures)

    def _changed(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.rotation or self.zoom:
            height, width = picture.shape[:2]
            angle, scale = rng.uniform(-self.rotation, self.rotation), 1 + rng.uniform(0, self.zoom)
            matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle, scale)
            picture = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        window = self._window(picture, (self.crop, self.crop), rng)
        return _mirrored_and_lit(window, self.mirror, self.lighting, rng)

    @staticmethod
    def _window(picture: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """A window of `size` (height, width), at random."""
        y, x = (rng.integers(0, whole - side + 1) for whole, side in zip(picture.shape, size))
        return picture[y : y + size[0], x : x + size[1]]


class RandomResizedCrop:
    """Cut out a window of random area and shape, resize it to a square, mirror and light it, and change it further.

    A window that does not fit into the picture is drawn again, and after ten draws it is the whole picture.

    Parameters
    ----------
    size : int
        Side of the result in pixels.
    min_area : float
        The smallest share of the picture's area that a window has; 1: always the whole picture.
    mirror, lighting
        See `Train`.
    resize : callable (picture, (width, height)) -> picture
        How the window is resized.
    changes : sequence of callable (picture, rng) -> picture
        What is done at the end, such as that of `common.data.augment`.

    References
    ----------
    C. Szegedy et al.: Going Deeper with Convolutions. CVPR 2015, section 6: windows of 8 to 100 % of the area, with
    aspect ratios of 3/4 to 4/3.
    """

    RATIO = 4 / 3

    def __init__(
        self, size: int, min_area: float = 0.08, mirror: bool = True, lighting: float = 0.0,
        resize: Callable = images.resize, changes: Sequence[Callable] = (),
    ):  # fmt: skip
        self.size, self.min_area, self.mirror, self.lighting = size, min_area, mirror, lighting
        self.resize, self.changes = resize, changes

    def window(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """A window of a picture: its upper edge, its left one, its height and its width in pixels.

        Parameters
        ----------
        height, width : int
            Of the picture, in pixels.
        rng : numpy.random.Generator
        """
        whole = 0, 0, height, width
        if self.min_area >= 1:
            return whole
        return random_window(height, width, (self.min_area, 1), self.RATIO, rng) or whole

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y, x, height, width = self.window(*picture.shape[:2], rng)
        cropped = self.resize(picture[y : y + height, x : x + width], (self.size, self.size))
        cropped = _mirrored_and_lit(cropped, self.mirror, self.lighting, rng)
        for change in self.changes:
            cropped = change(cropped, rng)
        return cropped


def random_window(
    height: int, width: int, areas: tuple[float, float], ratio: float, rng: np.random.Generator, rest: int = 0
) -> tuple[int, int, int, int] | None:
    """A window of a picture, of random area, shape and place; after ten draws of windows that do not fit, none.

    Parameters
    ----------
    height, width : int
        Of the picture, in pixels.
    areas : (low, high)
        Share of the picture's area, drawn evenly, 0..1.
    ratio : float
        The largest of width and height to each other, above 1; its logarithm is drawn evenly.
    rng : numpy.random.Generator
    rest : int
        Pixels that the window leaves of each side of the picture at least.

    Returns
    -------
    y, x, high, wide : int
        Its upper edge, its left one, its height and its width in pixels; or None.
    """
    for _ in range(DRAWS):
        area = rng.uniform(*areas) * height * width
        shape = np.exp(rng.uniform(-np.log(ratio), np.log(ratio)))
        high, wide = (max(1, round(np.sqrt(side))) for side in (area / shape, area * shape))
        if high <= height - rest and wide <= width - rest:
            return int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1)), high, wide
    return None


def _mirrored_and_lit(picture: np.ndarray, mirror: bool, lighting: float, rng: np.random.Generator) -> np.ndarray:
    if mirror and rng.random() < 0.5:
        picture = picture[:, ::-1]
    if lighting:
        contrast = 1 + rng.uniform(-lighting, lighting)
        brightness = 255 * rng.uniform(-lighting, lighting)
        middle = 127.5 * (1 - contrast) + brightness
        picture = (picture * contrast + middle).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture)
