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

FEW = 256  # rows, of which oneDNN shares out a product badly
HEIGHT = 16  # an array whose number of rows is no multiple of it MXNet transposes up to ten times slower


class Tree:
    """The different beginnings of some sentences: those of t words are the rows of step t.

    Parameters
    ----------
    indices : (length, n) int array
        The words of n sentences, on the host; negative after the end of a sentence.

    Attributes
    ----------
    words : (rows,) int array
        The last word of each beginning: first all of one word, then all of two, ...
    ends : list of int
        Where the rows of each step end.
    last : dict of int to slice
        Step at which sentences end -> its rows in the concatenated states of these steps, in order.
    leaves : (n,) int array
        Row of each whole sentence in these concatenated states.
    """

    def __init__(self, indices: np.ndarray):
        length, count = indices.shape
        order = np.lexsort(indices[::-1])  # sentences that begin alike lie side by side
        ordered = indices[:, order]
        first = ordered >= 0  # whether a sentence is the first with its beginning
        first[:, 1:] &= np.logical_or.accumulate(ordered[:, 1:] != ordered[:, :-1], axis=0)
        rows, counts = np.cumsum(first, axis=1) - 1, first.sum(axis=1)
        self.words = ordered[first]
        self.ends = np.cumsum(counts).tolist()
        last_step = (indices >= 0).sum(axis=0)[order] - 1  # of each sentence
        starts, self.last = np.zeros(length, np.int64), {}
        for step in np.unique(last_step).tolist():
            start = max((rows_.stop for rows_ in self.last.values()), default=0)
            self.last[step], starts[step] = slice(start, start + int(counts[step])), start
        self.leaves = np.empty(count, np.int64)
        self.leaves[order] = starts[last_step] + rows[last_step, np.arange(count)]
        # At steps where beginnings branch or sentences have ended: the row of the step before that each row continues.
        parents = {step: rows[step - 1, first[step]] for step in range(1, length)}
        self._parents = {
            step: rows_ for step, rows_ in parents.items() if not np.array_equal(rows_, np.arange(counts[step - 1]))
        }
        self._counts = counts

    def rows(self, step: int) -> slice:
        """The rows of `step` among all."""
        return slice(self.ends[step - 1] if step else 0, self.ends[step])

    def on(self, ctx) -> Tree:
        """Put on `ctx` what `spread` and `gather` need there; return this tree."""
        self._parent_rows = {step: devices.put(parents, ctx, np.int32) for step, parents in self._parents.items()}
        self._sums = {
            step: devices.put(np.arange(self._counts[step - 1])[:, None] == parents, ctx, np.float32)
            for step, parents in self._parents.items()
        }
        return self

    def spread(self, step: int, previous):
        """Rows of the step before -> rows of `step`, a copy for each row that continues one."""
        return nd.take(previous, self._parent_rows[step]) if step in self._parent_rows else previous

    def gather(self, step: int, gradient):
        """The gradient of `spread`: of its output -> of its input."""
        return _product(self._sums[step], gradient.T) if step in self._sums else gradient


class Pass:
    """One reading of a batch of sentences: made by a call, then asked for its gradient.

    Parameters
    ----------
    kind : {"lstm", "gru"}
    vectors : (u, dim_word) NDArray
        Vectors of the different words.
    indices : (length, n) int array
        The words of n sentences as rows of `vectors`, on the host; negative after the end of a sentence.
    i2h_weight, h2h_weight : (g * dim, dim_word) and (g * dim, dim) NDArray
        g = 4 gates (input, forget, cell, output) for ``lstm``, 3 (reset, update, new) for ``gru``, in Gluon's order.
    i2h_bias, h2h_bias : (g * dim,) NDArray

    Attributes
    ----------
    state : (n, dim) NDArray
        After the last word.
    """

    def __init__(self, kind: str, vectors, indices: np.ndarray, i2h_weight, h2h_weight, i2h_bias, h2h_bias):
        tree, ctx = Tree(indices).on(vectors.context), vectors.context
        words, leaves = (devices.put(which, ctx, np.int32) for which in (tree.words, tree.leaves))
        self.word_gates = nd.take(_product(vectors, i2h_weight, i2h_bias), words)
        recording = autograd.is_recording()
        self.cell = CELLS[kind](tree, h2h_weight, h2h_bias, keep=recording)
        with autograd.pause():
            self.last = self.cell.forward(self.word_gates)
        if recording:
            self.last.attach_grad()
        self.state = nd.take(self.last, leaves)

    def heads(self) -> tuple[list, list]:
        """Arrays and their gradients, for `autograd.backward` to continue from; the state's gradient must be computed.

        A parameter among them takes its gradient as it is.
        """
        return [self.word_gates, self.cell.weight, self.cell.bias], list(self.cell.backward(self.last.grad))


def _product(rows, weight, bias=None):
    """``rows @ weight.T + bias`` by oneDNN: up to four times as fast as `mxnet.nd.dot`, which is OpenBLAS's.

    Of few rows as ``(weight @ rows.T).T``, for many cores: they share the rows of the first factor. On two the product
    of 128 rows is a quarter faster so, that of 32 rows twice as fast.
    """
    on_cores = rows.context.device_type == "cpu" and devices.threads() != 1
    if on_cores and len(rows) <= FEW and len(rows) < len(weight):
        product = nd.FullyConnected(weight, rows, num_hidden=len(rows), no_bias=True).T
        return product if bias is None else nd.broadcast_add(product, bias)
    return nd.FullyConnected(rows, weight, bias, num_hidden=len(weight), no_bias=bias is None)


def _sigmoid(x):
    return nd.Activation(x, act_type="sigmoid")  # oneDNN's, several times as fast as nd.sigmoid


def _tanh(x):
    return nd.Activation(x, act_type="tanh")


def _gate(x, first: int, dim: int, gates: int = 1):
    return nd.slice_axis(x, axis=1, begin=first * dim, end=(first + gates) * dim)


class _Cell:
    """From the words' part of the gates (rows, g * dim) to the states where sentences end, and back.

    The gates before their nonlinearity are a sum: ``word_gates``, the input product of the words, plus
    ``state_gates``, the recurrent product of the state. A subclass has `step`, forward through one word, and
    `step_backward`, which writes the gradients of both parts into slices of what `empty_gradients` gives.

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

    def forward(self, word_gates):
        """The states of the steps where sentences end."""
        carried, states = None, []
        for step in range(len(self.tree.ends)):
            own = word_gates[self.tree.rows(step)]
            if carried is None:  # before the first word
                previous = [nd.zeros((len(own), self.dim), ctx=own.context)] * self.carries
                state_gates = nd.broadcast_to(self.bias.expand_dims(0), own.shape)
            else:
                previous = [self.tree.spread(step, array) for array in carried]
                state_gates = _product(previous[0], self.weight, self.bias)
            carried, kept = self.step(own, state_gates, previous)
            if self.keep:
                self.steps.append((previous, kept))
            if step in self.tree.last:
                states.append(carried[0])
        return nd.concat(*states, dim=0)

    def backward(self, grad_states):
        """Gradients of the words' part of the gates, of the weight and of the bias from that of what `forward` gave."""
        rows = self.tree.ends[-1]
        grad_word, grad_state = self.empty_gradients(rows + HEIGHT - rows % HEIGHT)
        grad_state[rows:] = 0
        grad_carried, transposed = [0] * self.carries, self.weight.T
        for step, (previous, kept) in reversed(list(enumerate(self.steps))):
            if step in self.tree.last:
                grad_carried[0] = grad_states[self.tree.last[step]] + grad_carried[0]
            here = self.tree.rows(step)
            direct = self.step_backward(previous, kept, grad_carried, grad_word[here], grad_state[here])
            if step:
                by_gates = _product(grad_state[here], transposed)
                direct[0] = by_gates if direct[0] is None else by_gates + direct[0]
                grad_carried = [self.tree.gather(step, gradient) for gradient in direct]
        states = [previous[0] for previous, _ in self.steps]
        states.append(nd.zeros((len(grad_state) - rows, self.dim), ctx=self.weight.context))
        gates, ones = grad_state.T, nd.ones((1, len(grad_state)), ctx=self.weight.context)
        weight, bias = _product(gates, nd.concat(*states, dim=0).T), _product(gates, ones).reshape(-1)
        return grad_word[:rows], weight, bias


class LSTM(_Cell):
    """Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000)."""

    carries = 2

    def step(self, word_gates, state_gates, previous):
        """From the state and cell before a word to those after it, and what `step_backward` needs."""
        gates = word_gates + state_gates
        both, new = _sigmoid(_gate(gates, 0, self.dim, 2)), _tanh(_gate(gates, 2, self.dim))
        input_gate, forget_gate = _gate(both, 0, self.dim), _gate(both, 1, self.dim)
        output_gate = _sigmoid(_gate(gates, 3, self.dim))
        cell = forget_gate * previous[1] + input_gate * new
        cell_tanh = _tanh(cell)
        return (output_gate * cell_tanh, cell), (input_gate, forget_gate, new, output_gate, cell_tanh)

    def empty_gradients(self, rows):
        """Arrays for the gradients of the words' and of the state's part of the gates: here they are the same."""
        both = nd.empty((rows, 4 * self.dim), ctx=self.weight.context)
        return both, both

    def step_backward(self, previous, kept, grad_carried, grad_word_gates, _):
        """Gradients of the gates, written in place, and of the previous state and cell but by way of the gates.

        Parameters
        ----------
        previous : [state, cell] before the word
        kept : tuple
            What `step` gave for this.
        grad_carried : [state, cell]
            Gradients of the state and cell after the word.
        grad_word_gates, grad_state_gates : (rows, 4 * dim) NDArray
            Where to write; the same array here.

        Returns
        -------
        list
            For the state None: it acts by way of the gates alone.
        """
        (input_gate, forget_gate, new, output_gate, cell_tanh), (grad_state, grad_cell) = kept, grad_carried
        through_output = grad_state * output_gate
        grad_output = through_output * cell_tanh
        grad_cell = grad_cell + (through_output - grad_output * cell_tanh)
        grad_previous, through_input = grad_cell * forget_gate, grad_cell * input_gate
        grad_input, grad_forget = through_input * new, grad_previous * previous[1]
        nd.concat(
            grad_input - grad_input * input_gate, grad_forget - grad_forget * forget_gate,
            through_input - grad_input * new, grad_output - grad_output * output_gate,
            dim=1, out=grad_word_gates,
        )  # fmt: skip
        return [None, grad_previous]


class GRU(_Cell):
    """Cho et al. 2014, the state's part of the new value multiplied by the reset gate as in cuDNN and in Theano's."""

    def step(self, word_gates, state_gates, previous):
        """From the state before a word to that after it, and what `step_backward` needs."""
        both = _sigmoid(_gate(word_gates, 0, self.dim, 2) + _gate(state_gates, 0, self.dim, 2))
        reset, update, own = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _gate(state_gates, 2, self.dim)
        new = _tanh(_gate(word_gates, 2, self.dim) + reset * own)
        change = previous[0] - new
        return (new + update * change,), (reset, update, new, own, change)

    def empty_gradients(self, rows):
        """As `LSTM.empty_gradients`, but here the two differ."""
        return [nd.empty((rows, 3 * self.dim), ctx=self.weight.context) for _ in range(2)]

    def step_backward(self, previous, kept, grad_carried, grad_word_gates, grad_state_gates):
        """As `LSTM.step_backward`, of the state alone, which also acts directly."""
        (reset, update, new, own, change), (grad_state,) = kept, grad_carried
        direct = grad_state * update
        grad_new = grad_state - direct
        grad_new = grad_new - grad_new * nd.square(new)
        grad_update = direct * change
        grad_update = grad_update - grad_update * update
        grad_own = grad_new * reset
        grad_reset = grad_own * own
        grad_reset = grad_reset - grad_reset * reset
        nd.concat(grad_reset, grad_update, grad_new, dim=1, out=grad_word_gates)
        nd.concat(grad_reset, grad_update, grad_own, dim=1, out=grad_state_gates)
        return [direct]


CELLS = {"lstm": LSTM, "gru": GRU}
