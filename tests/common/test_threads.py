"""How the threads of a process wait for each other."""

import os
import subprocess
import sys

import pytest

from common.files.paths import REPO

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    "own, wanted",
    [
        ({}, ("active", "5000")),
        ({"OMP_WAIT_POLICY": "passive"}, ("passive", None)),
        ({"GOMP_SPINCOUNT": "7"}, (None, "7")),
    ],
)
def test_threads_wait_awake_for_a_short_while_unless_the_user_says_otherwise(own, wanted):
    environment = {key: value for key, value in os.environ.items() if key not in NAMES}
    code = f"import os, common; print([os.environ.get(name) for name in {NAMES}])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **own}, cwd=REPO, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(list(wanted)), done.stderr
