"""What two or more of the examples need, one concept a file."""

import os

from common import handover

__version__ = "2.0.0"

handover.from_an_old_interpreter()

# Sums over a different number of threads round differently, so a run is only repeatable bit for bit
# with the thread count fixed. MXNet reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

# Between two operators MXNet's threads wait. Where a process has more of them than there are cores, as MXNet's engine
# makes it have, libgomp sends them to sleep after a microsecond, and to wake one takes a tenth of a millisecond: longer
# than many an operator. So they wait actively, but for 5,000 turns (50 microseconds), since with more turns the threads
# that wait would take the cores from those that work.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
    os.environ.update(OMP_WAIT_POLICY="active", GOMP_SPINCOUNT="5000")

try:
    from common import compat  # noqa: F401  (before mxnet is first imported)
except ModuleNotFoundError as error:  # a bare interpreter, which still answers --help
    if error.name != "numpy":
        raise
except KeyboardInterrupt:
    raise SystemExit(130) from None
