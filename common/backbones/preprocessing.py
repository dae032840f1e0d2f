"""What belongs to a network's parameters: normalisation, size and filter of the pictures; in and out of JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

MAX_SIDE = 10_000  # pixels a side that a picture can have
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a network's first layer does to a plain picture: ``(x - mean) * scale``, channel by channel.

    Attributes
    ----------
    mean, scale : tuple of 3 float
        In the order the network takes its channels, for values 0..255.
    bgr : bool
        The network takes blue first.
    size : int
        Side in pixels of the pictures the parameters were trained on.
    interpolation : str
        How these were resized: one of `INTERPOLATIONS`.
    crop_share : float
        The share of a resized picture's shorter side that is cut out of its middle where the parameters are judged.
    """

    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    bgr: bool = False
    size: int = 224
    interpolation: str = "bilinear"
    crop_share: float = 1.0

    def replaced(
        self, mean: Sequence[float] | None = None, deviation: Sequence[float] | None = None
    ) -> Preprocessing:
        """The same with another mean or deviation.

        Parameters
        ----------
        mean, deviation : sequence of 3 float, optional
            Of red, green and blue, of values 0..255; None: as it is.
        """
        order = slice(None, None, -1 if self.bgr else 1)
        new = {"mean": tuple(mean[order])} if mean else {}
        if deviation:
            new["scale"] = tuple(1 / value for value in deviation[order])
        return dataclasses.replace(self, **new)

    def to_dict(self) -> dict:
        """The attributes by name, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping | Sequence) -> Preprocessing:
        """The preprocessing in what JSON held: in each form that a model file has had.

        Parameters
        ----------
        found : mapping or sequence
            The attributes by name, among any other keys (all but ``mean`` and ``scale`` may be missing), or a list of
            the first four in their order, as older models of the vse example have it.

        Returns
        -------
        Preprocessing

        Raises
        ------
        ValueError
            There is none in `found`, or one that cannot be.
        """
        from common.files import outside  # NumPy: the list of pretrained networks is shown without it

        if isinstance(found, (list, tuple)):
            found = dict(zip((field.name for field in dataclasses.fields(cls)), found))
        try:
            triples = [found["mean"], found["scale"]]
        except (KeyError, TypeError):
            raise ValueError("it has no 'mean' and 'scale' of three numbers") from None
        mean, scale = triples
        if not all(isinstance(three, (list, tuple)) and len(three) == 3 for three in triples) or not all(
            outside.number(value) for three in triples for value in three
        ):
            raise ValueError("its 'mean' and 'scale' are not three numbers each")
        bgr, size = found.get("bgr", False), found.get("size", cls.size)
        if not all(scale) or not isinstance(bgr, bool) or not outside.whole(size, high=MAX_SIDE):
            raise ValueError(f"its 'scale', 'bgr' or 'size' cannot be: {scale}, {bgr}, {size}"[:90])
        interpolation = found.get("interpolation", cls.interpolation)
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"its 'interpolation' is none of {', '.join(INTERPOLATIONS)}: {interpolation}"[:90])
        crop_share = found.get("crop_share", cls.crop_share)
        if not outside.number(crop_share, 0.05, 1):
            raise ValueError(f"its 'crop_share' cannot be: {crop_share}"[:90])
        return cls(tuple(mean), tuple(scale), bgr, size, interpolation, crop_share)


IMAGENET = Preprocessing(
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    scale=(1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)),
    crop_share=0.875,
)  # gluon's and torchvision's
CAFFE = Preprocessing(mean=(103.939, 116.779, 123.68), scale=(1.0, 1.0, 1.0), bgr=True)
TF = Preprocessing(mean=(127.5, 127.5, 127.5), scale=(1 / 127.5, 1 / 127.5, 1 / 127.5))
LITE = Preprocessing(mean=(127.0, 127.0, 127.0), scale=(1 / 128, 1 / 128, 1 / 128), crop_share=0.875)
CLIP = Preprocessing(
    mean=(0.48145466 * 255, 0.4578275 * 255, 0.40821073 * 255),
    scale=(1 / (0.26862954 * 255), 1 / (0.26130258 * 255), 1 / (0.27577711 * 255)),
    interpolation="bicubic",
)
