# SPDX-License-Identifier: Apache-2.0
"""Presets of optax.losses against optax itself: softmax rows, divergences and vectors."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax.losses
import pytest
import torch
from conformance import Case, check_loss, jax_call, losses
from optax_cases import REDUCTIONS, case_of

import lossledger as ll
from lossledger._array import library_of
from lossledger.presets import optax as presets

RNG = np.random.default_rng(1)
# Shape, the place of the class axis, and optax's axis argument.
LAYOUTS = (((6, 4), 1, -1), ((3, 4, 2), 1, -2))
SEVERAL = ((3, 2, 2), (2, 0)), ((2, 3), None)


def softmax(z: Any, axis: Any) -> Any:
    """Return rows of probabilities."""
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def wheres(shape: tuple[int, ...], place: int) -> Iterator[Any]:
    """Nothing, a mask of elements (one row empty), a mask of classes, and one of rows."""
    yield None
    whole = RNG.random(shape) < 0.7
    np.moveaxis(whole, place, -1).reshape(-1, shape[place])[0] = False
    yield whole
    classes = np.ones([n if i == place else 1 for i, n in enumerate(shape)], bool)
    classes.reshape(-1)[1] = False
    yield classes
    yield RNG.random(shape[:place] + shape[place + 1 :]) < 0.6


def dense() -> Iterator[Case]:
    """Labels with one number a class: one-hot, soft, and rows that do not sum to 1."""
    for shape, place, axis in LAYOUTS:
        z = RNG.normal(size=shape) * 2
        soft = softmax(RNG.normal(size=shape), place)
        hot = (soft == soft.max(axis=place, keepdims=True)).astype(float)
        labels = itertools.cycle((soft, hot, 0.3 * soft))
        for y, where in zip(labels, wheres(shape, place), strict=False):
            yield case_of("softmax_cross_entropy", z, y, axis=axis, where=where)
            if where is None or where.ndim == z.ndim:
                options = {"epsilon": (2.0, -1.0)[y is hot], "axis": axis, "where": where}
                yield case_of("poly_loss_cross_entropy", z, y, **options)
        if axis == -1:
            far = np.where(hot == 0, z, -np.inf)
            far[0] = z[0]
            yield case_of("safe_softmax_cross_entropy", z, soft)
            yield case_of("safe_softmax_cross_entropy", far, np.where(np.isinf(far), 0, soft))
            yield case_of("safe_softmax_cross_entropy", z, hot)
    for shape, axis in SEVERAL:
        z = RNG.normal(size=shape)
        y = softmax(RNG.normal(size=shape), axis)
        more = {"axis": axis, "where": RNG.random(shape) < 0.7, "ours": ("torch",)}
        yield case_of("softmax_cross_entropy", z, y, **more)
        yield case_of("poly_loss_cross_entropy", z, y, **more)


def integer() -> Iterator[Case]:
    """Integer labels, with scores that tie as those of a new network."""
    for shape, place, axis in LAYOUTS:
        rows = shape[:place] + shape[place + 1 :]
        z = RNG.normal(size=shape) * 2
        y = RNG.integers(0, shape[place], rows)
        for where in wheres(shape, place):
            name = "softmax_cross_entropy_with_integer_labels"
            yield case_of(name, z, y, axis=axis, where=where)
    for shape, axis in SEVERAL[:1]:
        rest = [n for i, n in enumerate(shape) if i not in axis]
        size = np.prod([shape[i] for i in axis])
        y = RNG.integers(0, size, rest)
        for where in (None, RNG.random(shape) < 0.7):
            more = {"axis": axis, "where": where, "ours": ("torch",)}
            z = RNG.normal(size=shape)
            yield case_of("softmax_cross_entropy_with_integer_labels", z, y, **more)
    for shape in ((6, 4), (2, 3, 5)):
        y = RNG.integers(0, shape[-1], shape[:-1])
        for z in (RNG.normal(size=shape), np.zeros(shape), RNG.integers(0, 2, shape) * 1.0):
            yield case_of("multiclass_perceptron_loss", z, y)
            yield case_of("multiclass_hinge_loss", z, y)
            if len(shape) == 2:
                yield case_of("multiclass_sparsemax_loss", z * 0.7, y)


def divergences() -> Iterator[Case]:
    """Log-probabilities against probabilities with zeros, or against logs."""
    for shape, place, axis in (*LAYOUTS, *((s, None, a) for s, a in SEVERAL)):
        along = axis if place is None else place
        x = np.log(softmax(RNG.normal(size=shape), along))
        t = softmax(RNG.normal(size=shape), along)
        logs = np.log(t)
        t = np.where(RNG.random(shape) < 0.2, 0, t)
        for where in (RNG.random(shape) < 0.7, RNG.random(shape[1:]) < 0.7)[: 1 + (axis == -1)]:
            more = {"axis": axis, "where": None if axis == -2 else where}
            yield case_of("kl_divergence", x, t, **more)
            yield case_of("kl_divergence_with_log_targets", x, logs, **more)
            yield case_of("generalized_kl_divergence", x * 1.2, t, **more)
    yield case_of("convex_kl_divergence", x, t, axis=None)


def vectors() -> Iterator[Case]:
    """Vectors above and below the floor, along one axis and several."""
    names = ("cosine_similarity", "cosine_distance")
    for shape, axis in (*((s, a) for s, _, a in LAYOUTS), *SEVERAL):
        a, b = RNG.normal(size=shape), RNG.normal(size=shape)
        several = {} if isinstance(axis, int) else {"ours": ("torch",)}
        wheres = (None, RNG.random(shape) < 0.8)
        for name, where in itertools.product(names, wheres):
            epsilon = 2.0 if (where is None) == (name == "cosine_distance") else 0.0
            yield case_of(name, a, b, epsilon=epsilon, axis=axis, where=where, **several)
    for axis, degree, margin in ((-1, 2, 1.0), (0, 2, 0.2), (-1, 4, 0.2)):
        three = tuple(RNG.normal(size=(5, 3)) for _ in range(3))
        three[0][0], three[2][0] = three[1][0], three[1][0]
        options = {"axis": axis, "norm_degree": degree, "margin": margin}
        yield case_of("triplet_margin_loss", three, **options)
    same = (np.zeros((4, 3)),) * 3
    yield case_of("triplet_margin_loss", same, margin=0.0)
    for size, temperature in ((4, 0.07), (9, 0.5)):
        x, y = RNG.normal(size=(size, 3)), RNG.integers(0, 3, size)
        y[:2] = 1
        yield case_of("ntxent", x, y, temperature=temperature)
    yield case_of("ntxent", x, np.zeros(size, int))


def log_sum_exp(row: Any) -> Any:
    """A potential of rows in any library."""
    return library_of(row).logsumexp(row, -1)


def softmax_of(row: Any) -> Any:
    """Return the gradient of log-sum-exp."""
    xp = library_of(row)
    return xp.exp(xp.log_softmax(row, -1))


def largest(row: Any) -> Any:
    """A potential of which the largest score alone has a gradient."""
    return library_of(row).max(row)


def potentials() -> Iterator[Case]:
    """Potentials of a user: one smooth, with its derivative for NumPy, and one with a kink."""
    name = "make_fenchel_young_loss"
    for turn, shape in enumerate(((6, 4), (2, 3, 5), (4, 3), (2, 2, 2, 3))):
        last = list(REDUCTIONS.values())[turn % 3]
        options = {"reduction": list(REDUCTIONS)[turn % 3]}
        for theirs, mine, derivative in (
            (jax.scipy.special.logsumexp, log_sum_exp, softmax_of),
            (jax.numpy.max, largest, None),
        ):
            call = optax.losses.make_fenchel_young_loss(theirs)
            preset = getattr(presets, name)(mine, derivative, **options)
            z, y = RNG.normal(size=shape) * 3, RNG.normal(size=shape)
            ours = ("torch", "jax") if derivative is None else ("numpy", "torch", "jax")
            whole = jax_call(lambda z, y, f=call, last=last: last(f(z, y)))
            yield Case(name, preset, whole, (z,), softmax(y, -1) if turn else y, ours=ours)


CASES = [*potentials(), *dense(), *integer(), *divergences(), *vectors()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are optax's, in as many cases as the page says."""
    check_loss("optax", loss, CASES)


def test_a_potential_needs_its_derivative_in_numpy() -> None:
    """NumPy cannot differentiate a function; torch and JAX do, also for closed forms."""
    z, y = RNG.normal(size=(5, 3)), softmax(RNG.normal(size=(5, 3)), -1)
    bare = presets.make_fenchel_young_loss(log_sum_exp, reduction="mean")
    with pytest.raises(ll.ReductionError, match="Found the potential 'log_sum_exp' alone"):
        bare.value_and_grad(z, y)
    expected = (softmax(z, -1) - y) / 5
    _, slope = bare.value_and_grad(torch.from_numpy(z), torch.from_numpy(y))
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-12)
    wrong = presets.make_fenchel_young_loss(log_sum_exp, log_sum_exp, reduction="mean")
    with pytest.raises(ll.ShapeError, match="derivative of a row must be a vector"):
        wrong.value_and_grad(z, y)
