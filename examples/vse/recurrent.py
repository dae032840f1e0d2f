"""LSTM and GRU over the words of sentences, with less arithmetic than the fused operator has on a CPU.

The operator multiplies every word of every sentence by the input weights, and takes every step of every sentence. But
a batch names the same words again and again ("a", "dog"), and its sentences begin alike ("a man in a ..."). So here
each different word is multiplied once, and each different beginning is read once, forward and backward. The first
step, whose state is zero, has no recurrent product; and the gradient of the recurrent weights is one product over all
steps. The result is that of `mxnet.gluon.rnn.LSTM` and ``GRU``, whose parameters are taken as they are.

The gradient is written out here. It does not go through `mxnet.autograd.Function`, whose backward runs in a thread of
its own: there it may wait for an update of the weights that waits for it.
"""

from __future__ import annotations

import numpy as np
from mxnet import autograd, nd

from common import devices


class Tree:
    """The different beginnings of some sentences: those of t words are the rows of step t.

    Parameters
    ----------
    places : (length, n) int array
        The words of n sentences, on the host; negative after the end of a sentence.

    Attributes
    ----------
    words : (rows,) int array
        The last word of each beginning: first all of one word, then all of two, ...
    ends : list of int
        Where the rows of each step end.
    last : dict of int to slice
        The steps where sentences end, in order, and where their rows are when those of these steps alone are in a row.
    leaves : (n,) int array
        The row of each whole sentence there.
    """

    def __init__(self, places: np.ndarray):
        length, count = places.shape
        order = np.lexsort(places[::-1])  # sentences that begin alike lie side by side
        laid = places[:, order]
        first = laid >= 0  # whether a sentence is the first with its beginning
        first[:, 1:] &= np.logical_or.accumulate(laid[:, 1:] != laid[:, :-1], axis=0)
        rows, counts = np.cumsum(first, axis=1) - 1, first.sum(axis=1)
        self.words = laid[first]
        self.ends = np.cumsum(counts).tolist()
        of_last = (places >= 0).sum(axis=0)[order] - 1  # the step of each sentence's last word
        starts, self.last = np.zeros(length, np.int64), {}
        for step in np.unique(of_last).tolist():
            before = max((rows_.stop for rows_ in self.last.values()), default=0)
            self.last[step], starts[step] = slice(before, before + int(counts[step])), before
        self.leaves = np.empty(count, np.int64)
        self.leaves[order] = starts[of_last] + rows[of_last, np.arange(count)]
        # Of the rows of a step where beginnings part or sentences have ended: whose continuation each is.
        parents = {step: rows[step - 1, first[step]] for step in range(1, length)}
        self._parents = {
            step: rows_ for step, rows_ in parents.items() if not np.array_equal(rows_, np.arange(counts[step - 1]))
        }
        self._counts = counts

    def rows(self, step: int) -> slice:
        """The rows of `step` among all."""
        return slice(self.ends[step - 1] if step else 0, self.ends[step])

    def on(self, ctx) -> Tree:
        """Get ready to `spread` and `gather` arrays on `ctx`."""
        self._taken = {step: devices.put(parents, ctx, np.int32) for step, parents in self._parents.items()}
        self._sums = {
            step: devices.put(np.arange(self._counts[step - 1])[:, None] == parents, ctx, np.float32)
            for step, parents in self._parents.items()
        }
        return self

    def spread(self, step: int, before):
        """From the rows of the step before to those of `step` that continue them."""
        return nd.take(before, self._taken[step]) if step in self._taken else before

    def gather(self, step: int, gradient):
        """From the gradient of what `spread` gave to that of what it took."""
        return _product(self._sums[step], gradient.T) if step in self._sums else gradient


class Pass:
    """One reading of a batch of sentences: made by a call, then asked for its gradient.

    Parameters
    ----------
    kind : {"lstm", "gru"}
    vectors : (u, dim_word) NDArray
        Of the different words.
    places : (length, n) int array
        Which of them stands where, on the host; negative after the end of a sentence.
    i2h_weight, h2h_weight : (g * dim, dim_word) and (g * dim, dim) NDArray
        g = 4 gates (in, forget, cell, out) for ``lstm``, 3 (reset, update, new) for ``gru``, in Gluon's order.
    i2h_bias, h2h_bias : (g * dim,) NDArray

    Attributes
    ----------
    state : (n, dim) NDArray
        After the last word.
    """

    def __init__(self, kind: str, vectors, places: np.ndarray, i2h_weight, h2h_weight, i2h_bias, h2h_bias):
        tree, ctx = Tree(places).on(vectors.context), vectors.context
        words, leaves = (devices.put(which, ctx, np.int32) for which in (tree.words, tree.leaves))
        self.of_words = nd.take(_product(vectors, i2h_weight, i2h_bias), words)
        recording = autograd.is_recording()
        self.recurrent = [nd.identity(x) if recording else x for x in (h2h_weight, h2h_bias)]
        self.cell = CELLS[kind](tree, *self.recurrent, keep=recording)
        with autograd.pause():
            self.last = self.cell.forward(self.of_words)
        if recording:
            self.last.attach_grad()
        self.state = nd.take(self.last, leaves)

    def heads(self) -> tuple[list, list]:
        """Once the state's gradient is there: arrays and their gradients, to go on with by `autograd.backward`."""
        return [self.of_words, *self.recurrent], list(self.cell.backward(self.last.grad))


def _product(rows, weight, bias=None):
    """``rows @ weight.T + bias`` by oneDNN: up to four times as fast as `mxnet.nd.dot`, which is OpenBLAS's."""
    return nd.FullyConnected(rows, weight, bias, num_hidden=weight.shape[0], no_bias=bias is None)


def _sigmoid(x):
    return nd.Activation(x, act_type="sigmoid")  # oneDNN's, several times as fast as nd.sigmoid


def _tanh(x):
    return nd.Activation(x, act_type="tanh")


def _gate(x, first: int, dim: int, gates: int = 1):
    return nd.slice_axis(x, axis=1, begin=first * dim, end=(first + gates) * dim)


class _Cell:
    """From the words' part of the gates (rows, g * dim) to the states where sentences end, and back.

    Parameters
    ----------
    tree : Tree
    weight, bias : (g * dim, dim) and (g * dim,) NDArray
    keep : bool
        Keep of each step what `backward` needs.
    """

    def __init__(self, tree: Tree, weight, bias, keep: bool):
        self.tree, self.weight, self.bias, self.keep = tree, weight, bias, keep
        self.dim, self.steps = weight.shape[1], []

    def forward(self, of_words):
        """The states of the steps where sentences end."""
        carried, states = None, []
        for step in range(len(self.tree.ends)):
            carried, kept = self.step(step, of_words[self.tree.rows(step)], carried)
            if self.keep:
                self.steps.append(kept)
            if step in self.tree.last:
                states.append(carried[0])
        return nd.concat(*states, dim=0)

    def _ended(self, step: int, of_last, of_state=None):
        """The gradient of a step's state: `of_state`, from later steps, and that of sentences that end there."""
        if step not in self.tree.last:
            return of_state
        here = of_last[self.tree.last[step]]
        return here if of_state is None else of_state + here

    def _of_state(self, step: int, state):
        """The state's part of the gates of the next step: computed once for all beginnings that go on from it."""
        return self.tree.spread(step, _product(state, self.weight, self.bias))

    def _products(self, by_step: list):
        """Gradients of the recurrent weight and bias from those of the state's part of the gates, last step first."""
        states = [kept[-1] for kept in reversed(self.steps[:-1])]
        states.append(nd.zeros((len(by_step[-1]), self.dim), ctx=self.weight.context))  # before the first word
        gates = nd.concat(*by_step, dim=0).T
        ones = nd.ones((1, gates.shape[1]), ctx=self.weight.context)
        return _product(gates, nd.concat(*states, dim=0).T), _product(gates, ones).reshape(-1)


class LSTM(_Cell):
    """Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000)."""

    def step(self, step, of_words, carried):
        """From (state, cell), None at first, to the next, and what `backward` needs."""
        if carried is None:
            gates, before = nd.broadcast_add(of_words, self.bias.expand_dims(0)), None
        else:
            gates, before = of_words + self._of_state(step, carried[0]), self.tree.spread(step, carried[1])
        both, new = _sigmoid(_gate(gates, 0, self.dim, 2)), _tanh(_gate(gates, 2, self.dim))
        take, hold, give = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _sigmoid(_gate(gates, 3, self.dim))
        cell = take * new if before is None else hold * before + take * new
        shown = _tanh(cell)
        state = give * shown
        return (state, cell), (take, hold, new, give, before, shown, state)

    def backward(self, of_last):
        """Gradients of the words' part of the gates, of the weight and of the bias from that of what `forward` gave."""
        of_words = nd.empty((self.tree.ends[-1], 4 * self.dim), ctx=of_last.context)
        of_state, of_cell, turned, by_step = None, 0, self.weight.T, []
        for step, (take, hold, new, give, before, shown, _) in reversed(list(enumerate(self.steps))):
            of_state = self._ended(step, of_last, of_state)
            given = of_state * give
            of_cell = of_cell + given * (1 - nd.square(shown))
            taken, held = of_cell * take, of_cell * hold
            gates = nd.concat(
                taken * new * (1 - take),
                nd.zeros_like(held) if before is None else held * before * (1 - hold),
                taken * (1 - nd.square(new)),
                given * shown * (1 - give),
                dim=1, out=of_words[self.tree.rows(step)],
            )  # fmt: skip
            by_step.append(self.tree.gather(step, gates))
            if step:
                of_state, of_cell = _product(by_step[-1], turned), self.tree.gather(step, held)
        return of_words, *self._products(by_step)


class GRU(_Cell):
    """Cho et al. 2014, the state's part of the new value multiplied by the reset gate as in cuDNN and in Theano's."""

    def step(self, step, of_words, carried):
        """From (state,), None at first, to the next, and what `backward` needs."""
        if carried is None:
            before, of_before = None, nd.broadcast_to(self.bias.expand_dims(0), of_words.shape)
        else:
            before, of_before = self.tree.spread(step, carried[0]), self._of_state(step, carried[0])
        both = _sigmoid(_gate(of_words, 0, self.dim, 2) + _gate(of_before, 0, self.dim, 2))
        reset, hold, own = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _gate(of_before, 2, self.dim)
        new = _tanh(_gate(of_words, 2, self.dim) + reset * own)
        change = -new if before is None else before - new
        state = new + hold * change
        return (state,), (reset, hold, new, own, change, state)

    def backward(self, of_last):
        """As `LSTM.backward`."""
        of_words = nd.empty((self.tree.ends[-1], 3 * self.dim), ctx=of_last.context)
        of_state, turned, by_step = None, self.weight.T, []
        for step, (reset, hold, new, own, change, _) in reversed(list(enumerate(self.steps))):
            of_state = self._ended(step, of_last, of_state)
            kept = of_state * hold
            of_new = (of_state - kept) * (1 - nd.square(new))
            of_hold = kept * change * (1 - hold)
            of_own = of_new * reset
            of_reset = of_own * own * (1 - reset)
            nd.concat(of_reset, of_hold, of_new, dim=1, out=of_words[self.tree.rows(step)])
            gates = nd.concat(of_reset, of_hold, of_own, dim=1)
            by_step.append(self.tree.gather(step, gates))
            if step:
                of_state = self.tree.gather(step, kept) + _product(by_step[-1], turned)
        return of_words, *self._products(by_step)


CELLS = {"lstm": LSTM, "gru": GRU}
