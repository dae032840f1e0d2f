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

HEIGHT = 16  # an array whose number of rows is no multiple of it MXNet transposes up to ten times slower


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
        self.cell = CELLS[kind](tree, h2h_weight, h2h_bias, keep=recording)
        with autograd.pause():
            self.last = self.cell.forward(self.of_words)
        if recording:
            self.last.attach_grad()
        self.state = nd.take(self.last, leaves)

    def heads(self) -> tuple[list, list]:
        """Once the state's gradient is there: arrays and their gradients, to go on with by `autograd.backward`.

        A parameter among them takes its gradient as it is.
        """
        return [self.of_words, self.cell.weight, self.cell.bias], list(self.cell.backward(self.last.grad))


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

    carries = 1  # arrays that a step hands to the next; the state is the first

    def __init__(self, tree: Tree, weight, bias, keep: bool):
        self.tree, self.weight, self.bias, self.keep = tree, weight, bias, keep
        self.dim, self.steps = weight.shape[1], []

    def forward(self, of_words):
        """The states of the steps where sentences end."""
        carried, states = None, []
        for step in range(len(self.tree.ends)):
            own = of_words[self.tree.rows(step)]
            if carried is None:  # before the first word
                before = [nd.zeros((len(own), self.dim), ctx=own.context)] * self.carries
                of_state = nd.broadcast_to(self.bias.expand_dims(0), own.shape)
            else:
                before = [self.tree.spread(step, array) for array in carried]
                of_state = _product(before[0], self.weight, self.bias)
            carried, kept = self.step(own, of_state, before)
            if self.keep:
                self.steps.append((before, kept))
            if step in self.tree.last:
                states.append(carried[0])
        return nd.concat(*states, dim=0)

    def backward(self, of_last):
        """Gradients of the words' part of the gates, of the weight and of the bias from that of what `forward` gave."""
        rows = self.tree.ends[-1]
        of_words, of_gates = self.room(rows + HEIGHT - rows % HEIGHT)
        of_gates[rows:] = 0
        later, turned = [0] * self.carries, self.weight.T
        for step, (before, kept) in reversed(list(enumerate(self.steps))):
            if step in self.tree.last:
                later[0] = of_last[self.tree.last[step]] + later[0]
            here = self.tree.rows(step)
            direct = self.back(before, kept, later, of_words[here], of_gates[here])
            if step:
                by_gates = _product(of_gates[here], turned)
                direct[0] = by_gates if direct[0] is None else by_gates + direct[0]
                later = [self.tree.gather(step, gradient) for gradient in direct]
        states = [before[0] for before, _ in self.steps]
        states.append(nd.zeros((len(of_gates) - rows, self.dim), ctx=self.weight.context))
        gates, ones = of_gates.T, nd.ones((1, len(of_gates)), ctx=self.weight.context)
        weight, bias = _product(gates, nd.concat(*states, dim=0).T), _product(gates, ones).reshape(-1)
        return of_words[:rows], weight, bias


class LSTM(_Cell):
    """Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000)."""

    carries = 2

    def step(self, of_words, of_state, before):
        """From the state and cell `before` a word to those after it, and what `back` needs."""
        gates = of_words + of_state
        both, new = _sigmoid(_gate(gates, 0, self.dim, 2)), _tanh(_gate(gates, 2, self.dim))
        take, hold, give = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _sigmoid(_gate(gates, 3, self.dim))
        cell = hold * before[1] + take * new
        shown = _tanh(cell)
        return (give * shown, cell), (take, hold, new, give, shown)

    def room(self, rows):
        """Where `back` writes the gradients of the words' and of the state's part of the gates: they are the same."""
        both = nd.empty((rows, 4 * self.dim), ctx=self.weight.context)
        return both, both

    def back(self, before, kept, later, of_words, _):
        """From the gradients of state and cell after a word to those of the gates, and of what was before, directly."""
        (take, hold, new, give, shown), (of_state, of_cell) = kept, later
        given = of_state * give
        of_give = given * shown
        of_cell = of_cell + (given - of_give * shown)
        held, taken = of_cell * hold, of_cell * take
        of_take, of_hold = taken * new, held * before[1]
        nd.concat(
            of_take - of_take * take, of_hold - of_hold * hold, taken - of_take * new, of_give - of_give * give,
            dim=1, out=of_words,
        )  # fmt: skip
        return [None, held]


class GRU(_Cell):
    """Cho et al. 2014, the state's part of the new value multiplied by the reset gate as in cuDNN and in Theano's."""

    def step(self, of_words, of_state, before):
        """From the state `before` a word to that after it, and what `back` needs."""
        both = _sigmoid(_gate(of_words, 0, self.dim, 2) + _gate(of_state, 0, self.dim, 2))
        reset, hold, own = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _gate(of_state, 2, self.dim)
        new = _tanh(_gate(of_words, 2, self.dim) + reset * own)
        change = before[0] - new
        return (new + hold * change,), (reset, hold, new, own, change)

    def room(self, rows):
        """As `LSTM.room`, but here the two differ."""
        return [nd.empty((rows, 3 * self.dim), ctx=self.weight.context) for _ in range(2)]

    def back(self, before, kept, later, of_words, of_gates):
        """As `LSTM.back`, of the state alone."""
        (reset, hold, new, own, change), (of_state,) = kept, later
        direct = of_state * hold
        of_new = of_state - direct
        of_new = of_new - of_new * nd.square(new)
        of_hold = direct * change
        of_hold = of_hold - of_hold * hold
        of_own = of_new * reset
        of_reset = of_own * own
        of_reset = of_reset - of_reset * reset
        nd.concat(of_reset, of_hold, of_new, dim=1, out=of_words)
        nd.concat(of_reset, of_hold, of_own, dim=1, out=of_gates)
        return [direct]


CELLS = {"lstm": LSTM, "gru": GRU}
