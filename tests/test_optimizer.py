import dataclasses
import functools
import importlib

import keras
import numpy as np
import pytest

from core.config import Config
from core.support.devices import quick_adam
from core.training.fit import build
from core.training.optimizer import encoder_layers, learning_rate, make_optimizer, set_frozen


@pytest.mark.parametrize(
    ("steps", "warmup"), [(100, 0.1), (100, 0.0), (7, 0.1), (1, 0.1), (2, 0.5)]
)
def test_the_schedule_ends_at_its_floor(steps, warmup):
    config = Config(lr=1e-3, lr_floor=1e-5, warmup=warmup)
    schedule = learning_rate(config, steps)
    rates = [float(schedule(step)) for step in range(steps)]
    peak = min(round(warmup * steps), max(0, steps - 2))
    if steps > 1:
        assert rates[-1] == pytest.approx(1e-5, rel=1e-3)
    if peak < steps - 1:
        assert rates[peak] == max(rates) == pytest.approx(1e-3, rel=1e-3)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_a_last_layer_alone_learns_faster():
    config = Config(filters=2, class_names=("a", "b"), lr=1e-3)
    model = build(config)
    for frozen, peak in ((True, 2e-2), (False, 1e-3)):
        set_frozen(model, frozen, all_but_last=True)
        schedule = make_optimizer(config, model, steps=100)._learning_rate
        assert float(schedule(10)) == pytest.approx(peak)


def first_steps(config, policy, gradient, frozen=False):
    """How far the first step moves each variable of the encoder and of the rest."""
    model = build(config, policy)
    set_frozen(model, frozen)
    optimizer = make_optimizer(config, model, steps=10)
    variables = model.trainable_variables
    before = [np.array(variable) for variable in variables]
    scale = 2.0**15 if policy == "mixed_float16" else 1  # which Keras takes off again
    gradients = [keras.ops.full(v.shape, gradient * scale) for v in variables]
    optimizer.apply(gradients, variables)
    encoder = {v.path for layer in encoder_layers(model) for v in layer.variables}
    moved = {True: set(), False: set()}
    for old, variable in zip(before, variables, strict=True):
        step = np.unique(((old - np.array(variable)) / config.lr).astype(float).round(3))
        moved[variable.path in encoder] |= set(step.tolist())
    return moved[True], moved[False]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_the_first_step_by_hand(small_encoder, policy):
    """Adam's is as long as the learning rate, whatever the gradient; SGD's follows it."""
    config = Config(filters=2, warmup=0.0, lr=1e-2, encoder="vgg16")
    pretrained = {"encoder_weights": str(small_encoder), "encoder_lr_factor": 0.2}
    slower = dataclasses.replace(config, **pretrained)
    assert first_steps(config, policy, 3.0) == ({1.0}, {1.0})
    assert first_steps(slower, policy, 3.0) == ({0.2}, {1.0})
    assert first_steps(slower, policy, 3.0, frozen=True) == (set(), {1.0})
    assert first_steps(dataclasses.replace(slower, optimizer="sgd"), policy, 3.0) == ({0.6}, {3.0})


def _apply(optimizer, variables, *gradients):
    optimizer.apply(gradients, variables)


@pytest.mark.parametrize("graph", [False, True])
def test_adam_is_keras_own(graph, rng):
    """Five steps with gradients of many sizes, and a learning rate schedule."""
    schedule = learning_rate(Config(warmup=0.5, lr=1e-2), steps=5)
    values = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,))]
    gradients = [[10.0 ** rng.integers(-6, 3) * v for v in values] for _ in range(5)]
    found = []
    for kind in (quick_adam(), keras.optimizers.Adam):
        variables = [keras.Variable(value) for value in values]
        optimizer = kind(schedule)
        optimizer.build(variables)

        step = functools.partial(_apply, optimizer, variables)
        if graph and keras.backend.backend() == "tensorflow":
            step = importlib.import_module("tensorflow").function(step, autograph=False)
        for values_of_step in gradients:
            step(*map(keras.ops.convert_to_tensor, values_of_step))
        found.append([np.array(v) for v in (*variables, *optimizer.variables)])
    for own, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=2e-5, atol=1e-12)
    assert np.abs(found[0][0] - values[0]).min() > 1e-4


def test_sgd_has_the_paper_s_momentum():
    """With a constant gradient the second step is 1.99 times as long as the first."""
    config = Config(filters=2, warmup=0.0, lr=1e-2, lr_floor=1e-2, optimizer="sgd")
    model = build(config)
    optimizer = make_optimizer(config, model, steps=10)
    bias = model.trainable_variables[1]
    for step in (0, 1):
        before = np.array(bias)
        optimizer.apply([keras.ops.ones(v.shape) for v in model.trainable_variables])
        length = (before - np.array(bias)) / 1e-2
        np.testing.assert_allclose(length, (1, 1.99)[step], rtol=1e-4)
