"""LSTM and GRU over the words of equally long sentences, with less arithmetic than the fused operator has on a CPU.

The operator multiplies every word of every sentence by the input weights. A batch names the same words again and
again ("a", "dog"), so here each different word is multiplied once, forward and backward. The first step, whose state
is zero, has no recurrent product; and the gradient of the recurrent weights is one product over all steps. The result
is that of `mxnet.gluon.rnn.LSTM` and ``GRU``, whose parameters are taken as they are.
"""

from __future__ import annotations

from mxnet import autograd, nd


def last_state(kind: str, vectors, places, count: int, i2h_weight, h2h_weight, i2h_bias, h2h_bias):
    """The state after the last word.

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

    Returns
    -------
    (n, dim) NDArray
    """
    of_words = nd.FullyConnected(vectors, i2h_weight, i2h_bias, num_hidden=i2h_weight.shape[0])
    return CELLS[kind](count)(nd.take(of_words, places), h2h_weight, h2h_bias)


def _sigmoid(x):
    return nd.Activation(x, act_type="sigmoid")  # oneDNN's, several times as fast as nd.sigmoid


def _tanh(x):
    return nd.Activation(x, act_type="tanh")


def _gate(x, first: int, dim: int, gates: int = 1):
    return nd.slice_axis(x, axis=1, begin=first * dim, end=(first + gates) * dim)


class _Recurrent(autograd.Function):
    """(length * n, g * dim) words' part of the gates, recurrent weight and bias -> (n, dim) last state."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def _keep(self, weight):
        """Keep what `backward` needs: a copy, for the update of the weight waits for `backward`.

        `backward` runs in a thread of its own. The engine does not know what it is going to read, so that it would
        find the weight after the update, which in turn waits for the gradient: neither would ever begin.
        """
        self.dim, self.weight, self.steps = weight.shape[1], weight.copy(), []

    def _rows(self, x, step: int):
        return x[step * self.count : (step + 1) * self.count]

    def _products(self, by_step, states):
        """Gradients of the recurrent weight and bias from those of the gates' recurrent part in all steps."""
        ones = nd.ones((1, len(by_step)), ctx=by_step.context)
        bias = nd.dot(ones, by_step).reshape(-1)
        if not states:  # sentences of one word
            return nd.zeros((by_step.shape[1], self.dim), ctx=by_step.context), bias
        return nd.dot(by_step[self.count :], nd.concat(*states, dim=0), transpose_a=True), bias


class LSTM(_Recurrent):
    """Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000)."""

    def forward(self, of_words, weight, bias):
        self._keep(weight)
        state = cell = None
        for step in range(len(of_words) // self.count):
            x = self._rows(of_words, step)
            if state is None:
                gates = nd.broadcast_add(x, bias.expand_dims(0))
            else:
                gates = x + nd.FullyConnected(state, weight, bias, num_hidden=len(bias))
            both, new = _sigmoid(_gate(gates, 0, self.dim, 2)), _tanh(_gate(gates, 2, self.dim))
            take, keep, give = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _sigmoid(_gate(gates, 3, self.dim))
            before = cell
            cell = take * new if cell is None else keep * cell + take * new
            shown = _tanh(cell)
            state = give * shown
            self.steps.append((take, keep, new, give, before, shown, state))
        return state

    def backward(self, of_state):
        of_words = nd.empty((len(self.steps) * self.count, 4 * self.dim), ctx=of_state.context)
        of_cell = 0
        for step, (take, keep, new, give, before, shown, _) in reversed(list(enumerate(self.steps))):
            of_cell = of_cell + of_state * give * (1 - nd.square(shown))
            gates = nd.concat(
                of_cell * new * (take - nd.square(take)),
                nd.zeros_like(keep) if before is None else of_cell * before * (keep - nd.square(keep)),
                of_cell * take * (1 - nd.square(new)),
                of_state * shown * (give - nd.square(give)),
                dim=1, out=self._rows(of_words, step),
            )  # fmt: skip
            if step:
                of_state, of_cell = nd.dot(gates, self.weight), of_cell * keep
        return of_words, *self._products(of_words, [s[-1] for s in self.steps[:-1]])


class GRU(_Recurrent):
    """Cho et al. 2014, the state's part of the new value multiplied by the reset gate as in cuDNN and in Theano's."""

    def forward(self, of_words, weight, bias):
        self._keep(weight)
        state = None
        for step in range(len(of_words) // self.count):
            x = self._rows(of_words, step)
            if state is None:
                of_state = nd.broadcast_to(bias.expand_dims(0), x.shape)
            else:
                of_state = nd.FullyConnected(state, weight, bias, num_hidden=len(bias))
            both = _sigmoid(_gate(x, 0, self.dim, 2) + _gate(of_state, 0, self.dim, 2))
            reset, keep, own = _gate(both, 0, self.dim), _gate(both, 1, self.dim), _gate(of_state, 2, self.dim)
            new = _tanh(_gate(x, 2, self.dim) + reset * own)
            before = state
            state = (1 - keep) * new if state is None else new + keep * (state - new)
            self.steps.append((reset, keep, new, own, before, state))
        return state

    def backward(self, of_state):
        shape = (len(self.steps) * self.count, 3 * self.dim)
        of_words, of_states = nd.empty(shape, ctx=of_state.context), nd.empty(shape, ctx=of_state.context)
        for step, (reset, keep, new, own, before, _) in reversed(list(enumerate(self.steps))):
            of_new = of_state * (1 - keep) * (1 - nd.square(new))
            of_keep = of_state * (-new if before is None else before - new) * (keep - nd.square(keep))
            of_reset = of_new * own * (reset - nd.square(reset))
            nd.concat(of_reset, of_keep, of_new, dim=1, out=self._rows(of_words, step))
            gates = nd.concat(of_reset, of_keep, of_new * reset, dim=1, out=self._rows(of_states, step))
            if step:
                of_state = of_state * keep + nd.dot(gates, self.weight)
        return of_words, *self._products(of_states, [s[-1] for s in self.steps[:-1]])


CELLS = {"lstm": LSTM, "gru": GRU}
