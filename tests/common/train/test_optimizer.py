"""Parameter groups behind one Trainer: the same steps as separate Trainers, and as the formulas."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from common.train import optimizer, schedule

CONTEXTS = [mx.cpu(0), mx.cpu(1)]


def parameters(devices=1):
    """A weight (3, 2) and a boundary (4,), with the same values each time."""
    rng = np.random.default_rng(0)
    made = []
    for name, shape in (("weight", (3, 2)), ("beta", (4,))):
        parameter = gluon.Parameter(name, shape=shape)
        parameter.initialize(ctx=CONTEXTS[:devices])
        parameter.set_data(mx.nd.array(rng.normal(size=shape)))
        made.append(parameter)
    return made


def set_gradients(made, number):
    """The gradients of step `number`: another one on each device."""
    for place, parameter in enumerate(made):
        for device, gradient in enumerate(parameter.list_grad()):
            rng = np.random.default_rng([number, place, device])
            gradient[:] = mx.nd.array(rng.normal(size=parameter.shape))
            parameter.list_data()[device]._fresh_grad = True


def gradient(number, place, shape, devices):
    return sum(np.random.default_rng([number, place, d]).normal(size=shape) for d in range(devices))


def values(made):
    return [[array.asnumpy() for array in parameter.list_data()] for parameter in made]


ADAM = {"learning_rate": 0.01, "wd": 0.1, "epsilon": 1e-7}
SGD = {"learning_rate": 0.1, "momentum": 0.9}


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("kvstore", ["device", "local"])
def test_groups_equal_separate_trainers_step_by_step(devices, kvstore):
    together, apart = parameters(devices), parameters(devices)
    one = optimizer.trainer([([together[0]], "adam", ADAM), ([together[1]], "sgd", SGD)], mx.kv.create(kvstore))
    two = [
        gluon.Trainer([p], name, dict(options), kvstore=kvstore, update_on_kvstore=False)
        for p, name, options in ((apart[0], "adam", ADAM), (apart[1], "sgd", SGD))
    ]
    for number in range(6):
        if number == 3:  # the schedule
            one.optimizer.scale_rates(0.5)
            for trainer in two:
                trainer.set_learning_rate(trainer.learning_rate * 0.5)
        for made in (together, apart):
            set_gradients(made, number)
        one.step(7)
        for trainer in two:
            trainer.step(7)
        for ours, theirs in zip(values(together), values(apart)):
            for a, b in zip(ours, theirs):
                np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(ours[0], ours[-1])  # devices stay together


def test_the_boundaries_move_by_sgd_with_momentum():
    made = parameters(2)
    updater = optimizer.trainer([([made[0]], "adam", ADAM), ([made[1]], "sgd", SGD)], "device")
    expected, speed = made[1].data(CONTEXTS[0]).asnumpy().astype(np.float64), 0.0
    for number in range(5):
        set_gradients(made, number)
        updater.step(10)
        speed = 0.9 * speed - 0.1 * gradient(number, 1, (4,), 2) / 10
        expected = expected + speed
        np.testing.assert_allclose(made[1].data(CONTEXTS[1]).asnumpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-1])
def test_adam_takes_its_epsilon(epsilon):
    """Kingma and Ba 2015, algorithm 1, in the order of section 2's last remark; weight decay in the gradient."""
    made = parameters()
    options = {**ADAM, "epsilon": epsilon}
    updater = optimizer.trainer([([made[0]], "adam", options), ([made[1]], "sgd", SGD)])
    w = made[0].data().asnumpy().astype(np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for number in range(1, 5):
        set_gradients(made, number)
        updater.step(2)
        g = gradient(number, 0, (3, 2), 1) / 2 + 0.1 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        rate = 0.01 * np.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        w = w - rate * m / (np.sqrt(v) + epsilon)
        np.testing.assert_allclose(made[0].data().asnumpy(), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kvstore", [None, "device", "local"])
def test_adamw_is_the_update_that_pytorch_publishes(kvstore):
    """The algorithm in the documentation of torch.optim.AdamW; two devices, groups of their own, and a schedule."""
    made = parameters(2 if kvstore else 1)
    groups = [
        ([made[0]], "adamw", {"learning_rate": 0.01, "wd": 0.1, "epsilon": 1e-3}),
        ([made[1]], "adamw", {"learning_rate": 0.1, "wd": 0, "beta1": 0.8, "beta2": 0.99}),
    ]
    updater = optimizer.trainer(groups, kvstore or "device")
    options = [(0.01, 0.1, 0.9, 0.999, 1e-3), (0.1, 0, 0.8, 0.99, 1e-8)]
    expected = [(p.list_data()[0].asnumpy().astype(np.float64), 0, 0) for p in made]
    for step in range(1, 7):
        factor = 0.5 if step > 3 else 1
        updater.optimizer.scale_rates(factor)
        set_gradients(made, step)
        updater.step(2)
        for place, (rate, decay, beta1, beta2, epsilon) in enumerate(options):
            w, m, v = expected[place]
            g = gradient(step, place, w.shape, 2 if kvstore else 1) / 2
            w = w - factor * rate * decay * w
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
            corrected = np.sqrt(v / (1 - beta2**step)) + epsilon
            expected[place] = w - factor * rate * m / (1 - beta1**step) / corrected, m, v
            for array in made[place].list_data():
                np.testing.assert_allclose(array.asnumpy(), expected[place][0], rtol=1e-5, atol=1e-6)


def test_adamw_shrinks_weights_without_gradients_by_the_decay_alone():
    made = parameters()
    made[1].wd_mult = 0
    before = values(made)
    updater = optimizer.trainer([(made, "adamw", {"learning_rate": 0.5, "wd": 0.1})])
    for _ in range(3):
        for parameter in made:
            parameter.grad()[:] = 0
            parameter.list_data()[0]._fresh_grad = True
        updater.step(1)
    np.testing.assert_allclose(made[0].data().asnumpy(), before[0][0] * 0.95**3, rtol=1e-5)
    np.testing.assert_array_equal(made[1].data().asnumpy(), before[1][0])


def test_adamw_clips_gradients():
    clipped, small = parameters(), parameters()
    for made, clip in ((clipped, 0.25), (small, None)):
        options = {"wd": 0, "epsilon": 1.0, **({"clip_gradient": clip} if clip else {})}
        updater = optimizer.trainer([(made, "adamw", options)])
        for parameter in made:
            parameter.grad()[:] = 8 if clip else 0.25
            parameter.list_data()[0]._fresh_grad = True
        updater.step(1)
    for a, b in zip(values(clipped), values(small)):
        np.testing.assert_array_equal(a, b)


def test_a_parameters_own_factor_counts():
    fast, slow = parameters()[:1], parameters()[:1]
    slow[0].lr_mult = 0.01
    before = fast[0].data().asnumpy()
    for made in (fast, slow):
        updater = optimizer.trainer([(made, "sgd", {"learning_rate": 1.0})])
        set_gradients(made, 0)
        updater.step(1)
    moved = [made[0].data().asnumpy() - before for made in (fast, slow)]
    np.testing.assert_allclose(moved[1], 0.01 * moved[0], atol=1e-6)


def test_what_takes_no_gradient_is_left_out():
    made = parameters()
    made[1].grad_req = "null"
    updater = optimizer.trainer([([made[0]], "adam", ADAM), ([made[1]], "sgd", SGD)])
    assert len(updater.optimizer.optimizers) == 1
    before = made[1].data().asnumpy()
    made[0].grad()[:] = 1
    with autograd.record():
        loss = made[0].data().sum()
    loss.backward()
    updater.step(1)
    np.testing.assert_array_equal(made[1].data().asnumpy(), before)


def test_rates_are_scaled_from_the_first_ones():
    made = parameters()
    grouped = optimizer.trainer([([made[0]], "adam", ADAM), ([made[1]], "sgd", SGD)]).optimizer
    for factor in (0.5, 0.25, 1.0):
        grouped.scale_rates(factor)
        assert [o.learning_rate for o in grouped.optimizers] == pytest.approx([0.01 * factor, 0.1 * factor])
        assert grouped.learning_rate == pytest.approx(0.01 * factor)


def test_only_asynchronous_stores_update_where_the_server_is():
    class Store:
        def __init__(self, kind):
            self.type = kind

    for kind, on_store in (("device", False), ("local", False), ("dist_sync", False), ("dist_async", True)):
        trainer = optimizer.trainer([(parameters()[:1], "sgd", {})], Store(kind))
        assert trainer._kvstore_params["update_on_kvstore"] is on_store


def test_steps_of_the_schedule():
    steps = [12, 14, 16, 18]
    assert [schedule.step_factor(e, steps, 0.5) for e in (0, 11, 12, 13, 14, 17, 18, 19)] == [
        1, 1, 0.5, 0.5, 0.25, 0.125, 0.0625, 0.0625,
    ]  # fmt: skip
    assert schedule.step_factor(3, [], 0.5) == 1
    assert schedule.step_factor(2.5, [1, 2.5], 0.1) == pytest.approx(0.01)


def test_one_cycle_rises_then_falls():
    factors = [schedule.one_cycle(i / 100) for i in range(101)]
    assert factors[0] == pytest.approx(0.04) and factors[25] == pytest.approx(1) and factors[100] == pytest.approx(1e-5)
    assert factors[12] < factors[13] and all(a > b for a, b in zip(factors[25:], factors[26:]))
    assert factors[62] == pytest.approx((1 + np.cos(np.pi * 37 / 75)) / 2, abs=1e-4)


def test_half_a_cosine_falls_over_all_epochs():
    factors = [schedule.half_cosine(epoch, 8) for epoch in range(9)]
    assert factors[0] == 1 and factors[4] == pytest.approx(0.5) and factors[8] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)
