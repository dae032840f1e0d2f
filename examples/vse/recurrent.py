"""LSTM and GRU over the words of equally long sentences, with less arithmetic than the fused operator has on a CPU.

The operator multiplies every word of every sentence by the input weights. A batch names the same words again and
again ("a", "dog"), so here each different word is multiplied once, forward and backward. The first step, whose state
is zero, has no recurrent product; and the gradient of the recurrent weights is one product over all steps. The result
is that of `mxnet.gluon.rnn.LSTM` and ``GRU``, whose parameters are taken as they are.

The gradient is written out here. It does not go through `mxnet.autograd.Function`, whose backward runs in a thread of
its own: there it may wait for an update of the weights that waits for it.
"""

from __future__ import annotations

from mxnet import autograd, nd


class Pass:
    """One reading of a batch of sentences: made by a call, then asked for its gradient.

    Parameters
    ----------
    kind : {"lstm", "gru"}
    vectors : (u, dim_word) NDArray
        Of the different words.
    places : (length * n,) NDArray of int32
        Which of them stands where: the first words of all sentences, then the second ones, ...
    count : int
        n, the sentences.
    i2h_weight, h2h_weight : (g * dim, dim_word) and (g * dim, dim) NDArray
        g = 4 gates (in, forget, cell, out) for ``lstm``, 3 (reset, update, new) for ``gru``, in Gluon's order.
    i2h_bias, h2h_bias : (g * dim,) NDArray

    Attributes
    ----------
    state : (n, dim) NDArray
        After the last word. Where autograd records, it is a variable: `heads` says how its gradient goes on.
    """

    def __init__(self, kind: str, vectors, places, count: int, i2h_weight, h2h_weight, i2h_bias, h2h_bias):
        self.of_words = nd.take(
            nd.FullyConnected(vectors, i2h_weight, i2h_bias, num_hidden=i2h_weight.shape[0]), places
        )  # fmt: skip
        recording = autograd.is_recording()
        self.recurrent = [nd.identity(x) if recording else x for x in (h2h_weight, h2h_bias)]
        self.cell = CELLS[kind](count, *self.recurrent, keep=recording)
        with autograd.pause():
            self.state = self.cell.forward(self.of_words)
        if recording:
            self.state.attach_grad()

    def heads(self) -> tuple[list, list]:
        """Once the state has its gradient: arrays and their gradients, to go on with by `autograd.backward`."""
        return [self.of_words, *self.recurrent], list(self.cell.backward(self.state.grad))


def _sigmoid(x):
    return nd.Activation(x, act_type="sigmoid")  # oneDNN's, several times as fast as nd.sigmoid


def _tanh(x):
    return nd.Activation(x, act_type="tanh")


def _gate(x, first: int, dim: int, gates: int = 1):
    return nd.slice_axis(x, axis=1, begin=first * dim, end=(first + gates) * dim)


class _Cell:
    """From the words' part of the gates (length * n, g * dim) to the last state (n, dim), and back.

    Parameters
    ----------
    count : int
        n.
    weight, bias : (g * dim, dim) and (g * dim,) NDArray
    keep : bool
        Keep of each step what `backward` needs.
    """

    def __init__(self, count: int, weight, bias, keep: bool):
        self.count, self.weight, self.bias, self.keep = count, weight, bias, keep
        self.dim, self.steps = weight.shape[1], []

    def _rows(self, x, step: int):
        return x[step * self.count : (step + 1) * self.count]

    def _product(self, state):
        return nd.FullyConnected(state, self.weight, self.bias, num_hidden=len(self.bias))

    def forward(self, of_words):
        """The last state."""
        carried = None
        for step in range(len(of_words) // self.count):
            carried, kept = self.step(self._rows(of_words, step), carried)
            if self.keep:
                self.steps.append(kept)
        return carried[0]

    def _products(self, by_step, states: list):
        """Gradients of the recurrent weight and bias from those of the gates' recurrent part in all steps."""
        ones = nd.ones((1, len(by_step)), ctx=by_step.context)
        bias = nd.dot(ones, by_step).reshape(-1)
        if not states:  # sentences of one word
            return nd.zeros_like(self.weight), bias
        return nd.dot(by_step[self.count :], nd.concat(*states, dim=0), transpose_a=True), bias


class LSTM(_Cell):
    """Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000)."""

    def step(self, of_words, carried):
        """From (state, cell), None at first, to the next, and what `backward` needs."""
        if carried is None:
            gates, before = nd.broadcast_add(of_words, self.bias.expand_dims(0)), None
        else:
            gates, before = of_words + self._product(carried[0]), carried[1]
        both, new = _sigmoid(_gate(gates, 0, self.dim, 2)), _tanh(_gate(gates, 2, self.dim))
        take, hold, give = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _sigmoid(_gate(gates, 3, self.dim))
        cell = take * new if before is None else hold * before + take * new
        shown = _tanh(cell)
        state = give * shown
        return (state, cell), (take, hold, new, give, before, shown, state)

    def backward(self, of_state):
        """Gradients of the words' part of the gates, of the weight and of the bias from that of the last state."""
        of_words = nd.empty((len(self.steps) * self.count, 4 * self.dim), ctx=of_state.context)
        of_cell = 0
        for step, (take, hold, new, give, before, shown, _) in reversed(list(enumerate(self.steps))):
            of_cell = of_cell + of_state * give * (1 - nd.square(shown))
            gates = nd.concat(
                of_cell * new * (take - nd.square(take)),
                nd.zeros_like(hold) if before is None else of_cell * before * (hold - nd.square(hold)),
                of_cell * take * (1 - nd.square(new)),
                of_state * shown * (give - nd.square(give)),
                dim=1, out=self._rows(of_words, step),
            )  # fmt: skip
            if step:
                of_state, of_cell = nd.dot(gates, self.weight), of_cell * hold
        return of_words, *self._products(of_words, [kept[-1] for kept in self.steps[:-1]])


class GRU(_Cell):
    """Cho et al. 2014, the state's part of the new value multiplied by the reset gate as in cuDNN and in Theano's."""

    def step(self, of_words, carried):
        """From (state,), None at first, to the next, and what `backward` needs."""
        before = None if carried is None else carried[0]
        if before is None:
            of_before = nd.broadcast_to(self.bias.expand_dims(0), of_words.shape)
        else:
            of_before = self._product(before)
        both = _sigmoid(_gate(of_words, 0, self.dim, 2) + _gate(of_before, 0, self.dim, 2))
        reset, hold, own = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _gate(of_before, 2, self.dim)
        new = _tanh(_gate(of_words, 2, self.dim) + reset * own)
        state = (1 - hold) * new if before is None else new + hold * (before - new)
        return (state,), (reset, hold, new, own, before, state)

    def backward(self, of_state):
        """As `LSTM.backward`."""
        shape = (len(self.steps) * self.count, 3 * self.dim)
        of_words, of_states = nd.empty(shape, ctx=of_state.context), nd.empty(shape, ctx=of_state.context)
        for step, (reset, hold, new, own, before, _) in reversed(list(enumerate(self.steps))):
            of_new = of_state * (1 - hold) * (1 - nd.square(new))
            of_hold = of_state * (-new if before is None else before - new) * (hold - nd.square(hold))
            of_reset = of_new * own * (reset - nd.square(reset))
            nd.concat(of_reset, of_hold, of_new, dim=1, out=self._rows(of_words, step))
            gates = nd.concat(of_reset, of_hold, of_new * reset, dim=1, out=self._rows(of_states, step))
            if step:
                of_state = of_state * hold + nd.dot(gates, self.weight)
        return of_words, *self._products(of_states, [kept[-1] for kept in self.steps[:-1]])


CELLS = {"lstm": LSTM, "gru": GRU}
