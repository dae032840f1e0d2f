"""How hypothesis draws examples here: the same ones each time, few, and nothing is written into the checkout.

``PROPERTY_EXAMPLES=1000 pytest tests/properties`` draws that many, and others at each call.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, configuration, settings

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
_TABLES = tempfile.TemporaryDirectory(prefix="hypothesis-")  # of Unicode, which it keeps on the disk

configuration.set_hypothesis_home_dir(_TABLES.name)
settings.register_profile(
    "few",
    max_examples=EXAMPLES or 30,
    derandomize=not EXAMPLES,
    deadline=None,  # an MXNet operator takes long at its first call
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # so does drawing on a busy machine
)
settings.load_profile("few")


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory):
    """A function that makes an empty folder: ``tmp_path`` is one for all examples of a test."""

    def make() -> Path:
        return tmp_path_factory.mktemp("example")

    return make
