"""The shipped models, exported; and pictures of all kinds that a folder may hold."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.files.paths import REPO

sys.path.insert(0, str(REPO / "runtime"))  # one file, used as a user does who has nothing else

WORDS = {"cat": 1, "face": 2, "polar": 3, "bear": 4, "Red_Panda": 5, "moon": 6}


@pytest.fixture(scope="session")
def word_file(tmp_path_factory) -> Path:
    """Six words of 50 numbers."""
    file = tmp_path_factory.mktemp("words") / "words.vec"
    rows = {word: np.random.default_rng(seed).normal(size=50) for word, seed in WORDS.items()}
    lines = [f"{word} {' '.join(f'{x:.5f}' for x in row)}" for word, row in rows.items()]
    file.write_text("\n".join([f"{len(lines)} 50", *lines]) + "\n")
    return file


@pytest.fixture(scope="session")
def emoji(tmp_path_factory, word_file) -> Path:
    """The shipped model of visual_semantic: float32, a small word space."""
    from examples.visual_semantic import export

    folder = tmp_path_factory.mktemp("emoji") / "model"
    export.main(export.parse_args(["--package", str(folder), "--word-vectors", str(word_file)]))
    return folder


@pytest.fixture(scope="session")
def glyphs(tmp_path_factory, pictures) -> Path:
    """The shipped model of embedding_learning, with INT8 and two classes."""
    from examples.embedding_learning import export

    folder, root = tmp_path_factory.mktemp("glyphs"), pictures[0].parent
    for name, some in (("one", pictures[:3]), ("two", pictures[3:5])):
        (folder / "classes" / name).mkdir(parents=True)
        for path in some:
            (folder / "classes" / name / path.name).write_bytes(path.read_bytes())
    export.main(export.parse_args([
        "--package", str(folder / "model"), "--pictures", str(root), "--calibrate", "6", "--classes",
        str(folder / "classes"),
    ]))  # fmt: skip
    return folder / "model"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> list[Path]:
    """JPEG (grey, turned by EXIF, CMYK, large, with bytes after its end) and PNG (grey, RGBA, palette, 16 bits)."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)

    def drawn(height, width):
        coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        return Image.fromarray((smooth + rng.integers(-20, 20, smooth.shape)).clip(0, 255).astype(np.uint8))

    turned = Image.Exif()
    turned[0x0112] = 6
    drawn(331, 517).save(folder / "large.jpg", quality=90)
    drawn(97, 60).save(folder / "portrait.jpg", quality=80, subsampling=0)
    drawn(150, 200).save(folder / "turned.jpg", exif=turned)
    drawn(90, 70).convert("L").save(folder / "grey.jpg")
    drawn(90, 70).convert("CMYK").save(folder / "cmyk.jpg")
    with io.BytesIO() as whole:
        drawn(300, 300).save(whole, "JPEG")
        (folder / "tail.jpg").write_bytes(whole.getvalue() + b"beyond")
    drawn(40, 30).save(folder / "small.png")
    drawn(128, 128).convert("L").save(folder / "grey.png")
    transparent = drawn(90, 200)
    transparent.putalpha(Image.fromarray(rng.integers(0, 256, (90, 200), dtype=np.uint8)))
    transparent.save(folder / "rgba.png")
    drawn(80, 100).quantize(32).save(folder / "palette.png")
    Image.fromarray(rng.integers(0, 65536, (60, 50)).astype(np.uint16)).save(folder / "deep.png")
    drawn(60, 300).save(folder / "wide.webp", lossless=True)
    return sorted(folder.iterdir())
