"""f(x) and what the objective makes of it as one graph."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from common.export import package
from examples.im2vec.modelfile import Model


class Scored(HybridBlock):
    """Pictures (n, H, W, 3) -> the objective's score of each class (n, classes), and f(x) (n, dim).

    Parameters
    ----------
    model : Model
        Its scores are those of ``model.objective.scores``: products with the class vectors and a term of each class;
        of the hierarchical softmax a log-softmax over the groups and one within each.
    seen : common.export.package.Input
    """

    def __init__(self, model: Model, seen: package.Input):
        super().__init__()
        objective, dim = model.objective, model.net.dim
        self._members = None
        values = {"vectors": objective.v.data().asnumpy()}
        if model.metadata["objective"] == "hierarchical":
            self._members = [np.flatnonzero(objective.groups == g) for g in range(objective.groups.max() + 1)]
            order = np.concatenate(self._members)
            values.update(
                parents=objective.u.data().asnumpy(), group=objective.groups, order=order, back=np.argsort(order)
            )  # fmt: skip
        else:
            values["term"] = objective.scores(mx.nd.zeros((1, dim))).asnumpy()[0]
        with self.name_scope():
            self.features, self.head = package.of_views(model.net.backbone, seen), model.net.head
            for name, value in values.items():
                setattr(self, name, self.params.get_constant(name, np.asarray(value, np.float32)))
                getattr(self, name).initialize(ctx=mx.cpu())

    def hybrid_forward(self, F, x, vectors, term=None, parents=None, group=None, order=None, back=None):
        f = self.head(self.features(x))
        if self._members is None:
            return F.FullyConnected(f, vectors, term, num_hidden=self.vectors.shape[0], flatten=False), f
        of_groups = F.FullyConnected(f, parents, no_bias=True, num_hidden=self.parents.shape[0], flatten=False)
        logits = F.FullyConnected(f, vectors, no_bias=True, num_hidden=self.vectors.shape[0], flatten=False)
        ordered = F.take(logits, order, axis=1)  # classes of one group side by side
        ends = np.cumsum([len(one) for one in self._members])
        within = [
            F.log_softmax(F.slice_axis(ordered, axis=1, begin=int(end) - len(one), end=int(end)), axis=1)
            for one, end in zip(self._members, ends)
        ]
        within = F.concat(*within, dim=1) if len(within) > 1 else within[0]
        return F.take(F.log_softmax(of_groups, axis=1), group, axis=1) + F.take(within, back, axis=1), f
