"""What two or more of the examples need, one concept a file."""

import os

from common import handover

__version__ = "2.0.0"

handover.from_an_old_interpreter()

# Sums over a different number of threads round differently, so a run is only repeatable bit for bit
# with the thread count fixed. MXNet reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

try:
    from common import compat  # noqa: F401  (before mxnet is first imported)
except ModuleNotFoundError as error:  # a bare interpreter, which still answers --help
    if error.name != "numpy":
        raise
except KeyboardInterrupt:
    raise SystemExit(130) from None
