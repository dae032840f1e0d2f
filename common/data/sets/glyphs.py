"""Characters drawn in the twelve DejaVu faces that matplotlib carries: many classes, no download.

A class is a character, a sample one face's drawing of it, turned up to 20 degrees, shifted and scaled with a fixed
seed. The character's Unicode name is its sentence.
"""

from __future__ import annotations

import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.data.images import resize
from common.data.imageset import ImageSet
from common.files.disk import atomic, writing
from common.files.paths import data_dir

STYLES = ("", "-Bold", "-Oblique", "-BoldOblique")
FACES = tuple(
    f"DejaVu{family}{style.replace('Oblique', 'Italic') if family == 'Serif' else style}"
    for family in ("Sans", "SansMono", "Serif")
    for style in STYLES
)
DRAWN, READ = 64, 32  # pixels
DRAWING_SEED = 0  # of the pictures themselves; the split has its own


def face_file(face: str) -> Path:
    """The font file of a face, inside matplotlib."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"


def characters() -> list[str]:
    """The letters, digits and symbols that all twelve faces have: 2,051 characters in code-point order.

    Modifier letters are left out: they are small copies of the others.
    """
    from matplotlib.ft2font import FT2Font

    shared = set.intersection(*(set(FT2Font(str(face_file(face))).get_charmap()) for face in FACES))
    kinds = {code: unicodedata.category(chr(code)) for code in shared}
    return [chr(code) for code in sorted(shared) if kinds[code][0] in "LNS" and kinds[code] != "Lm"]


def name(character: str) -> str:
    """The Unicode name in lower case: ``"latin small letter e with circumflex"``."""
    return unicodedata.name(character).lower()


def load(path=None, image_size: int = READ) -> ImageSet:
    """All 2,051 x 12 pictures; drawn on the first call and kept.

    Parameters
    ----------
    path : path, optional
        Folder that keeps them; default ``data/glyphs``.
    image_size : int
        Side in pixels.

    Returns
    -------
    ImageSet
        Domains are the faces.

    Raises
    ------
    UserError
        The folder cannot be written.
    """
    folder = Path(path) if path else data_dir("glyphs")
    file = folder / f"glyphs-{image_size}.npz"
    chosen = characters()
    pictures = _kept(file, (len(chosen) * len(FACES), image_size, image_size))
    if pictures is None:
        pictures = draw(chosen, image_size)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with atomic(file, "give another --data-path") as tmp:
            np.savez_compressed(tmp, pictures=pictures)
    return ImageSet(
        images=np.repeat(pictures[..., None], 3, axis=-1),
        labels=np.repeat(np.arange(len(chosen)), len(FACES)),
        class_names=chosen,
        domains=np.tile(np.arange(len(FACES)), len(chosen)),
        domain_names=list(FACES),
    )


def _kept(file: Path, shape: tuple[int, int, int]) -> np.ndarray | None:
    """What an earlier call has drawn; None where that is not there, or not as it was written."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            pictures = kept["pictures"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None
    return pictures if (pictures.shape, pictures.dtype) == (shape, np.uint8) else None


def draw(chosen: list[str], size: int) -> np.ndarray:
    """Draw characters in every face, each turned, shifted and scaled at random but always the same.

    Parameters
    ----------
    chosen : list of str
    size : int
        Side in pixels.

    Returns
    -------
    (characters * faces, size, size) uint8
        Dark on white, the faces of a character side by side.
    """
    fonts = [ImageFont.truetype(str(face_file(face)), 40) for face in FACES]
    rng = np.random.default_rng(DRAWING_SEED)
    result = np.empty((len(chosen) * len(FACES), size, size), np.uint8)
    for number, (character, font) in enumerate((c, f) for c in chosen for f in fonts):
        angle, scale = rng.uniform(-20, 20), rng.uniform(0.8, 1.1)
        shift = rng.uniform(-4, 4, 2)
        canvas = Image.new("L", (DRAWN, DRAWN), 255)
        ImageDraw.Draw(canvas).text((DRAWN / 2, DRAWN / 2), character, font=font, fill=0, anchor="mm")
        cos, sin = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
        centre = DRAWN / 2
        offset_x = centre - cos * (centre + shift[0]) - sin * (centre + shift[1])
        offset_y = centre + sin * (centre + shift[0]) - cos * (centre + shift[1])
        matrix = (cos, sin, offset_x, -sin, cos, offset_y)
        turned = canvas.transform(
            (DRAWN, DRAWN), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=255
        )
        result[number] = resize(np.asarray(turned), (size, size))
    return result


def twins() -> list[list[str]]:
    """Groups of characters drawn with the very same outlines in every face, such as Latin, Greek and Cyrillic A.

    No method can tell them apart, which bounds what retrieval can reach.
    """
    fonts = [ImageFont.truetype(str(face_file(face)), 40) for face in FACES]
    groups: dict[tuple, list[str]] = {}
    for character in characters():
        key = tuple((bytes(mask), mask.size) for mask in (font.getmask(character) for font in fonts))
        groups.setdefault(key, []).append(character)
    return [group for group in groups.values() if len(group) > 1]


def twin_ceiling(class_names: list[str]) -> float:
    """The expected recall@1 of a perfect method on `class_names`, twins being drawn at random among themselves."""
    chosen = set(class_names)
    right = float(len(chosen))
    for group in twins():
        present = sum(character in chosen for character in group)
        if present > 1:
            same, others = len(FACES) - 1, (present - 1) * len(FACES)
            right -= present * (1 - same / (same + others))
    return right / len(chosen)
