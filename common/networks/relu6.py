"""ReLU6: the activation of networks made for telephones, in the form that trains fast and in the one that fuses."""

from __future__ import annotations

import contextlib

from mxnet.gluon import HybridBlock


class ReLU6(HybridBlock):
    """min(max(x, 0), 6).

    `clip` is what INT8 and other tools fuse into the convolution before it. Left by itself it is slow: on a CPU twice
    as slow forwards as a ReLU and a minimum, and five times backwards, half of EfficientNet-Lite's training step.
    """

    clip = False

    def hybrid_forward(self, F, x):
        return F.clip(x, 0, 6) if self.clip else F.minimum(F.Activation(x, "relu"), 6)


@contextlib.contextmanager
def clipped(net: HybridBlock):
    """Within it, every ReLU6 of `net` is traced as a clip, to be fused."""

    def trace_as(clip: bool) -> None:
        net.apply(lambda block: setattr(block, "clip", clip) if isinstance(block, ReLU6) else None)
        net.hybridize()  # forgets what was traced before

    trace_as(True)
    try:
        yield
    finally:
        trace_as(False)
