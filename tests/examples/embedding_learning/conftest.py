"""Pictures that a network of a few steps can tell apart."""

import numpy as np
import pytest
from PIL import Image


def _coloured(root, classes, each=4, size=16, noise=30):
    rng = np.random.default_rng(0)
    for label, colour in enumerate(rng.integers(40, 216, (classes, 3))):
        folder = root / f"c{label:02d}"
        folder.mkdir(parents=True)
        for number in range(each):
            picture = np.clip(colour + rng.integers(-noise, noise + 1, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def coloured():
    """``coloured(root, classes, each=4, size=16, noise=30)`` writes ``root/cNN/N.png``: a colour a class, and noise."""
    return _coloured
