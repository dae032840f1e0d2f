"""What two or more of the examples need, one concept a file."""

import os

import numpy

# MXNet 1.9.1 still names `numpy.bool`, which numpy 1.24 removed: give the name back before mxnet is first imported.
if "bool" not in numpy.__dict__:
    numpy.bool = bool

# Sums over a different number of threads round differently, so a run is only repeatable bit for bit
# with the thread count fixed. MXNet reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
