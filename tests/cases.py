# SPDX-License-Identifier: Apache-2.0
"""The one table of cases: a new loss is one row, and inherits every law."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles_classification as known
import oracles_overlap as overlap
import oracles_regression as oracles
import sums

import lossledger as ll


@dataclass(frozen=True)
class Case:
    """A loss with a batch inside its domain.

    Attributes:
        id: Name in test ids.
        loss: A loss or callable.
        axes: Axes of the outputs.
        shape: Lengths of the axes.
        targets: How targets are drawn: a key of `TARGETS`.
        outputs: How outputs are drawn: a key of `OUTPUTS`, or one for each output.
        reads: Number of outputs.
        oracle: (outputs tuple, targets) -> values by another route; None if a library has none.
        smooth: False where a kink may lie within a finite difference's step.
        twice: Whether values are unchanged if the batch is duplicated (not for candidates).
    """

    id: str
    loss: Any
    axes: str
    shape: tuple[int, ...]
    targets: str
    outputs: str | tuple[str, ...] = "real"
    reads: int = 1
    oracle: Callable[..., Any] | None = None
    twice: bool = True

    def term(self, **settings: Any) -> ll.Term:
        """Return a term of this loss."""
        names = ("y",) if self.reads == 1 else tuple(f"y{i}" for i in range(self.reads))
        settings.setdefault("target", "t")
        settings.setdefault("name", "case")
        return ll.Term(names if self.reads > 1 else "y", self.loss, axes=self.axes, **settings)

    def sample(self, seed: int = 0, batch: int | None = None) -> tuple[tuple[Any, ...], Any]:
        """Draw (outputs, targets) in float64; targets are None if the loss takes none."""
        rng = np.random.default_rng(seed)
        shape = self.shape if batch is None else (batch, *self.shape[1:])
        axes = self.axes.split()
        kinds = (self.outputs,) * self.reads if isinstance(self.outputs, str) else self.outputs
        outputs = tuple(OUTPUTS[kind](rng, shape, axes) for kind in kinds)
        return outputs, TARGETS[self.targets](rng, shape, axes)


def _softmax(z: Any, axis: int) -> Any:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _class(axes: list[str]) -> int:
    return axes.index("class")


def _index(rng: Any, shape: tuple[int, ...], axes: list[str]) -> Any:
    place = _class(axes)
    return rng.integers(0, shape[place], shape[:place] + shape[place + 1 :])


def _one_hot(rng: Any, shape: tuple[int, ...], axes: list[str]) -> Any:
    index = np.expand_dims(_index(rng, shape, axes), _class(axes))
    hot = np.zeros(shape)
    np.put_along_axis(hot, index, 1.0, _class(axes))
    return hot


OUTPUTS: dict[str, Callable[..., Any]] = {
    "real": lambda rng, shape, axes: rng.normal(size=shape) * 2,
    "positive": lambda rng, shape, axes: rng.uniform(0.2, 3.0, shape),
    "unit": lambda rng, shape, axes: rng.uniform(0.05, 0.95, shape),
    "simplex": lambda rng, shape, axes: _softmax(rng.normal(size=shape), _class(axes)),
}
TARGETS: dict[str, Callable[..., Any]] = {
    "none": lambda rng, shape, axes: None,
    "real": lambda rng, shape, axes: rng.normal(size=shape),
    "positive": lambda rng, shape, axes: rng.uniform(0.2, 3.0, shape),
    "count": lambda rng, shape, axes: rng.integers(0, 5, shape).astype(float),
    "binary": lambda rng, shape, axes: (rng.random(shape) < 0.4).astype(float),
    "unit": lambda rng, shape, axes: rng.uniform(0.0, 1.0, shape),
    "index": _index,
    "one_hot": _one_hot,
    "soft": lambda rng, shape, axes: _softmax(rng.normal(size=shape), _class(axes)),
    "nonzero": lambda rng, shape, _: rng.uniform(1, 4, shape) * rng.choice([-1, 1], shape),
    "real_less_last": lambda rng, shape, _: rng.normal(size=shape[:-1]),
    "sign_per_sample": lambda rng, shape, axes: np.where(rng.random(shape[:1]) < 0.5, -1.0, 1.0),
}

CE = ll.losses.CrossEntropy
BCE = ll.losses.BinaryCrossEntropy
TAUS = (0.1, 0.5, 0.8)
ALPHAS = (0.2, 0.5, 0.9)
COUNTS = (100.0, 16.0, 1.0)
MARGINS = np.power(COUNTS, -0.25)
VECTORS = ("batch feature", (6, 4))
SPACE = "height width"
BATCH = f"batch {SPACE}"
IMAGE = ("batch height width class", (4, 3, 5, 3))

LOSSES: tuple[Case, ...] = (
    Case("ce-index", CE(), "batch class", (6, 4), "index"),
    Case("ce-soft", CE(), "batch class", (6, 4), "soft"),
    Case("ce-one-hot-first", CE(), "batch class time", (4, 3, 5), "one_hot"),
    Case("ce-smooth", CE(label_smoothing=0.1), "batch time class", (3, 4, 5), "index"),
    Case("ce-z-loss", CE(z_loss=1e-2), "batch class", (6, 4), "index"),
    Case("ce-probabilities", CE(from_logits=False), "batch class", (6, 4), "index", "simplex"),
    Case("bce", BCE(), *IMAGE, "binary"),
    Case("bce-soft-smooth", BCE(label_smoothing=0.2, pos_weight=3.0), *IMAGE, "unit"),
    Case("bce-pos-weight", BCE(pos_weight=[1.0, 2.0, 5.0]), *IMAGE, "binary"),
    Case("bce-probabilities", BCE(from_logits=False), "batch", (7,), "binary", "unit"),
    Case("focal", ll.losses.Focal(), *IMAGE, "binary", oracle=known.of_optax("sigmoid_focal_loss")),
    Case(
        "focal-alpha",
        ll.losses.Focal(1.5, 0.25),
        *IMAGE,
        "binary",
        oracle=known.focal_of_monai("sigmoid_focal_loss", gamma=1.5, alpha=0.25),
    ),
    Case(
        "focal-half",
        ll.losses.Focal(0.5),
        "batch",
        (7,),
        "binary",
        oracle=known.of_optax("sigmoid_focal_loss", gamma=0.5),
    ),
    Case(
        "focal-soft",
        ll.losses.Focal(3.0, label_smoothing=0.1),
        "batch time",
        (4, 3),
        "unit",
        oracle=known.elements(lambda p: -((1 - p) ** 3) * np.log(p), 0.1),
    ),
    Case(
        "focal-alpha-class",
        ll.losses.Focal(2.0, ALPHAS),
        *IMAGE,
        "unit",
        oracle=known.two_sided(
            lambda p: -np.multiply(ALPHAS, (1 - p) ** 2) * np.log(p),
            lambda p: -np.subtract(1, ALPHAS) * (1 - p) ** 2 * np.log(p),
        ),
    ),
    Case(
        "focal-softmax",
        ll.losses.Focal(kind="softmax"),
        *IMAGE,
        "index",
        oracle=known.focal_of_monai("softmax_focal_loss", gamma=2.0),
    ),
    Case(
        "focal-softmax-alpha",
        ll.losses.Focal(0.5, ALPHAS, "softmax"),
        "batch time class",
        (4, 2, 3),
        "index",
        oracle=known.rows(lambda p: -np.multiply(ALPHAS, (1 - p) ** 0.5) * np.log(p)),
    ),
    Case(
        "focal-softmax-soft",
        ll.losses.Focal(1.0, 0.3, "softmax"),
        "batch class time",
        (4, 3, 5),
        "soft",
        oracle=known.rows(lambda p: -0.3 * (1 - p) * np.log(p), axis=1),
    ),
    Case(
        "focal-softmax-smooth",
        ll.losses.Focal(2.0, ALPHAS, "softmax", 0.1),
        "batch class",
        (6, 3),
        "index",
        oracle=known.rows(lambda p: -np.multiply(ALPHAS, (1 - p) ** 2) * np.log(p), smoothing=0.1),
    ),
    Case(
        "quality-focal", ll.losses.QualityFocal(), *IMAGE, "unit", oracle=known.quality_focal(2.0)
    ),
    Case(
        "quality-focal-linear",
        ll.losses.QualityFocal(1.0),
        "batch",
        (7,),
        "binary",
        oracle=known.quality_focal(1.0),
    ),
    Case(
        "asymmetric",
        ll.losses.Asymmetric(),
        *IMAGE,
        "binary",
        oracle=known.asymmetric(1.0, 4.0, 0.05),
    ),
    Case(
        "asymmetric-root",
        ll.losses.Asymmetric(0.0, 0.5, 0.2),
        "batch time",
        (5, 3),
        "unit",
        oracle=known.asymmetric(0.0, 0.5, 0.2),
    ),
    Case(
        "asymmetric-no-margin",
        ll.losses.Asymmetric(0.5, 2.0, 0.0),
        "batch",
        (7,),
        "unit",
        oracle=known.asymmetric(0.5, 2.0, 0.0),
    ),
    Case(
        "poly1",
        ll.losses.Poly1(2.0),
        "batch time class",
        (3, 2, 4),
        "one_hot",
        oracle=known.of_optax("poly_loss_cross_entropy", epsilon=2.0),
    ),
    Case(
        "poly1-smooth",
        ll.losses.Poly1(-1.0, label_smoothing=0.2),
        "batch class",
        (6, 4),
        "index",
        oracle=known.rows(lambda p: -np.log(p) - (1 - p), smoothing=0.2),
    ),
    Case(
        "poly1-sigmoid",
        ll.losses.Poly1(2.0, "sigmoid", 0.2),
        *IMAGE,
        "unit",
        oracle=known.elements(lambda p: -np.log(p) + 2 * (1 - p), 0.2),
    ),
    Case(
        "hinge",
        ll.losses.Hinge(),
        *IMAGE,
        "binary",
        oracle=known.of_optax("hinge_loss", known.signs),
    ),
    Case(
        "squared-hinge",
        ll.losses.SquaredHinge(),
        "batch time",
        (5, 3),
        "binary",
        oracle=known.squared_hinge,
    ),
    Case(
        "multiclass-hinge",
        ll.losses.MulticlassHinge(),
        "batch time class",
        (3, 2, 4),
        "index",
        oracle=known.of_optax("multiclass_hinge_loss"),
    ),
    Case(
        "multiclass-hinge-soft",
        ll.losses.MulticlassHinge(2.0),
        "batch class",
        (6, 4),
        "soft",
        oracle=known.multiclass_hinge(2.0),
    ),
    Case(
        "logit-adjusted",
        ll.losses.LogitAdjusted(COUNTS),
        "batch time class",
        (3, 2, 3),
        "index",
        oracle=known.cross_entropy(lambda z, _: z + np.log(COUNTS)),
    ),
    Case(
        "logit-adjusted-smooth",
        ll.losses.LogitAdjusted(COUNTS, 0.5, 0.1),
        "batch class",
        (6, 3),
        "soft",
        oracle=known.cross_entropy(lambda z, _: z + 0.5 * np.log(COUNTS), smoothing=0.1),
    ),
    Case(
        "ldam",
        ll.losses.LDAM(COUNTS, scale=3.0),
        "batch time class",
        (3, 2, 3),
        "index",
        oracle=known.cross_entropy(lambda z, c: z - 0.5 * c * MARGINS, 3.0),
    ),
    Case(
        "ldam-soft",
        ll.losses.LDAM(COUNTS, 1.0, 1.0),
        "batch class",
        (6, 3),
        "soft",
        oracle=known.cross_entropy(lambda z, c: z - c * MARGINS),
    ),
    Case(
        "kl",
        ll.losses.KLDivergence(),
        "batch time class",
        (3, 2, 4),
        "soft",
        oracle=known.divergence("forward"),
    ),
    Case(
        "kl-one-hot",
        ll.losses.KLDivergence(0.5),
        "batch class",
        (6, 4),
        "one_hot",
        oracle=known.divergence("forward", 0.5),
    ),
    Case(
        "kl-logits",
        ll.losses.KLDivergence(2.0, "logits"),
        "batch class",
        (6, 4),
        "real",
        oracle=known.divergence("forward", 2.0, logits=True),
    ),
    Case(
        "reverse-kl",
        ll.losses.ReverseKL(),
        "batch time class",
        (3, 2, 4),
        "soft",
        oracle=known.divergence("reverse"),
    ),
    Case(
        "reverse-kl-logits",
        ll.losses.ReverseKL(2.0, "logits"),
        "batch class",
        (6, 4),
        "real",
        oracle=known.divergence("reverse", 2.0, logits=True),
    ),
    Case(
        "jensen-shannon",
        ll.losses.JensenShannon(),
        "batch time class",
        (3, 2, 4),
        "one_hot",
        oracle=known.divergence("js"),
    ),
    Case(
        "jensen-shannon-logits",
        ll.losses.JensenShannon(2.0, "logits"),
        "batch class",
        (6, 4),
        "real",
        oracle=known.divergence("js", 2.0, logits=True),
    ),
    Case(
        "gce",
        ll.losses.GeneralizedCrossEntropy(),
        "batch time class",
        (3, 2, 4),
        "index",
        oracle=known.rows(lambda p: (1 - p**0.7) / 0.7),
    ),
    Case(
        "gce-soft",
        ll.losses.GeneralizedCrossEntropy(1.0),
        "batch class",
        (6, 4),
        "soft",
        oracle=known.rows(lambda p: 1 - p),
    ),
    Case("brier", ll.losses.Brier(), "batch time class", (3, 2, 4), "index", oracle=known.brier),
    Case("brier-soft", ll.losses.Brier(), "batch class", (6, 4), "soft", oracle=known.brier),
    Case(
        "entropy", ll.losses.Entropy(), "batch time class", (3, 2, 4), "none", oracle=known.entropy
    ),
    Case(
        "squared",
        ll.losses.SquaredError(),
        "batch feature",
        (5, 3),
        "real",
        oracle=oracles.of_torch("mse_loss"),
    ),
    Case(
        "squared-half",
        ll.losses.SquaredError(half=True),
        "batch",
        (5,),
        "real",
        oracle=oracles.half_square,
    ),
    Case(
        "absolute",
        ll.losses.AbsoluteError(),
        "batch time",
        (5, 3),
        "real",
        oracle=oracles.of_torch("l1_loss"),
    ),
    Case(
        "huber",
        ll.losses.Huber(delta=0.7),
        "batch time",
        (5, 3),
        "real",
        oracle=oracles.of_torch("huber_loss", delta=0.7),
    ),
    Case("dice-batch", ll.losses.Dice(over="batch height width"), *IMAGE, "binary"),
    Case("dice-sample", ll.losses.Dice(over="height width", smooth=0.5), *IMAGE, "binary"),
    Case(
        "dice-softmax", ll.losses.Dice(over="batch height width", kind="softmax"), *IMAGE, "index"
    ),
    Case("dice-squared", ll.losses.Dice(over="batch height width", squared=True), *IMAGE, "unit"),
    Case("dice-soft", ll.losses.Dice(over="height width", soft_labels=True), *IMAGE, "unit"),
    Case(
        "jaccard",
        ll.losses.Jaccard(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_monai("DiceLoss", batch=True, jaccard=True, smooth_nr=1, smooth_dr=1),
    ),
    Case(
        "jaccard-sample",
        ll.losses.Jaccard(SPACE, squared=True, smooth=0.5),
        *IMAGE,
        "binary",
        oracle=overlap.of_monai(
            "DiceLoss", batch=False, jaccard=True, squared_pred=True, smooth_nr=0.5, smooth_dr=0.5
        ),
    ),
    Case(
        "jaccard-soft",
        ll.losses.Jaccard(BATCH, soft_labels=True, kind="softmax", smooth=0.2),
        *IMAGE,
        "soft",
        twice=False,
        oracle=overlap.of_smp("JaccardLoss", kind="softmax", smooth=0.1),
    ),
    Case(
        "tversky",
        ll.losses.Tversky(BATCH, 0.3, 0.6),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_monai(
            "TverskyLoss", batch=True, alpha=0.3, beta=0.6, smooth_nr=0.5, smooth_dr=0.5
        ),
    ),
    Case(
        "tversky-soft",
        ll.losses.Tversky(SPACE, 0.3, 0.6, smooth=0.4, soft_labels=True),
        *IMAGE,
        "unit",
        oracle=overlap.of_smp("TverskyLoss", sample=True, alpha=0.3, beta=0.6, smooth=0.2),
    ),
    Case(
        "focal-tversky",
        ll.losses.FocalTversky(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_smp("TverskyLoss", alpha=0.3, beta=0.7, gamma=0.75, smooth=0.5),
    ),
    Case(
        "focal-tversky-softmax",
        ll.losses.FocalTversky(SPACE, 0.8, 0.4, 2.0, kind="softmax", smooth_denominator=1.5),
        *IMAGE,
        "soft",
        oracle=overlap.ratio(
            0.8, 0.4, (1, 2), below=1.5, kind="softmax", h=lambda score: (1 - score) ** 2
        ),
    ),
    Case(
        "log-dice",
        ll.losses.LogDice(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.of_smp("DiceLoss", log_loss=True, smooth=0.5),
    ),
    Case(
        "log-jaccard",
        ll.losses.LogDice(SPACE, "jaccard", 0.5, smooth_denominator=0.7),
        *IMAGE,
        "unit",
        oracle=overlap.ratio(1, 1, (1, 2), smooth=0.5, below=0.7, h=lambda score: -np.log(score)),
    ),
    Case(
        "generalized",
        ll.losses.GeneralizedDice(BATCH),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.generalized(lambda y: y**-2.0, (0, 1, 2)),
    ),
    Case(
        "generalized-sample",
        ll.losses.GeneralizedDice(SPACE, "simple", smooth=0.1, kind="softmax"),
        *IMAGE,
        "soft",
        oracle=overlap.generalized(lambda y: 1 / y, (1, 2), smooth=0.1, kind="softmax"),
    ),
    Case(
        "generalized-uniform",
        ll.losses.GeneralizedDice(SPACE, "uniform"),
        *IMAGE,
        "binary",
        oracle=overlap.generalized(np.ones_like, (1, 2)),
    ),
    Case(
        "dice-global",
        ll.losses.Dice(f"{BATCH} class", smooth_denominator=0.0, smooth=0.0),
        *IMAGE,
        "binary",
        twice=False,
        oracle=overlap.ratio(0.5, 0.5, (0, 1, 2, 3), smooth=0.0),
    ),
    Case("boundary", ll.losses.Boundary(), *IMAGE, "real", oracle=overlap.boundary("sigmoid")),
    Case(
        "boundary-softmax",
        ll.losses.Boundary("softmax"),
        *IMAGE,
        "real",
        oracle=overlap.boundary("softmax"),
    ),
    Case(
        "boundary-probabilities",
        ll.losses.Boundary(from_logits=False),
        *IMAGE,
        "real",
        "unit",
        oracle=overlap.boundary("none"),
    ),
    Case(
        "load-balance",
        ll.losses.LoadBalance("batch time"),
        "batch time class",
        (4, 5, 3),
        "none",
        twice=False,
        oracle=overlap.load_balance((0, 1)),
    ),
    Case(
        "load-balance-sample",
        ll.losses.LoadBalance("time", "expert"),
        "batch time expert",
        (4, 5, 3),
        "none",
        oracle=overlap.load_balance((1,)),
    ),
    Case(
        "sums-rmse",
        sums.rmse("batch"),
        "batch feature",
        (6, 3),
        "real",
        twice=False,
        oracle=sums.by_rmse((0,)),
    ),
    Case("sums-f1", sums.f1(SPACE), *IMAGE, "binary", "unit", oracle=sums.by_f1((1, 2))),
    Case(
        "sums-mcc",
        sums.mcc("batch"),
        "batch",
        (12,),
        "binary",
        "unit",
        twice=False,
        oracle=sums.by_mcc,
    ),
    Case(
        "sums-correlation",
        sums.correlation("batch time"),
        "batch time",
        (5, 3),
        "real",
        twice=False,
        oracle=sums.by_correlation,
    ),
    Case(
        "sums-normalized",
        sums.normalized("batch time"),
        "batch time",
        (5, 3),
        "real",
        ("real", "positive"),
        2,
        twice=False,
        oracle=sums.by_normalized,
    ),
    Case(
        "sums-rows",
        sums.row_error("batch time"),
        "batch time class",
        (5, 3, 2),
        "real",
        twice=False,
        oracle=sums.by_row_error,
    ),
    Case(
        "smooth-l1",
        ll.losses.SmoothL1(beta=0.7),
        "batch time",
        (5, 3),
        "real",
        oracle=oracles.of_torch("smooth_l1_loss", beta=0.7),
    ),
    Case("log-cosh", ll.losses.LogCosh(), "batch time", (5, 3), "real", oracle=oracles.log_cosh),
    Case(
        "charbonnier",
        ll.losses.Charbonnier(epsilon=0.3),
        "batch time",
        (5, 3),
        "real",
        oracle=oracles.charbonnier(0.3),
    ),
    Case(
        "quantile",
        ll.losses.Quantile(0.8),
        "batch time",
        (5, 3),
        "real",
        oracle=oracles.pinball(0.8),
    ),
    Case(
        "quantiles",
        ll.losses.Quantile(TAUS),
        "batch time quantile",
        (5, 2, 3),
        "real_less_last",
        oracle=oracles.pinball(TAUS),
    ),
    Case(
        "squared-log",
        ll.losses.SquaredLogError(),
        "batch",
        (7,),
        "positive",
        "positive",
        oracle=oracles.squared_log,
    ),
    Case(
        "percentage",
        ll.losses.AbsolutePercentageError(),
        "batch time",
        (5, 3),
        "nonzero",
        oracle=oracles.percentage(100.0),
    ),
    Case(
        "poisson",
        ll.losses.PoissonNLL(),
        "batch time",
        (5, 3),
        "count",
        oracle=oracles.of_torch("poisson_nll_loss", eps=0.0),
    ),
    Case(
        "poisson-full",
        ll.losses.PoissonNLL(full=True),
        "batch",
        (7,),
        "count",
        oracle=oracles.poisson(log_input=True),
    ),
    Case(
        "poisson-stirling",
        ll.losses.PoissonNLL(full="stirling"),
        "batch",
        (7,),
        "count",
        oracle=oracles.of_torch("poisson_nll_loss", full=True, eps=0.0),
    ),
    Case(
        "poisson-rate",
        ll.losses.PoissonNLL(log_input=False, full=True),
        "batch",
        (7,),
        "count",
        "positive",
        oracle=oracles.poisson(log_input=False),
    ),
    Case(
        "poisson-rate-epsilon",
        ll.losses.PoissonNLL(log_input=False, epsilon=1e-3),
        "batch",
        (7,),
        "count",
        "positive",
        oracle=oracles.of_torch("poisson_nll_loss", log_input=False, eps=1e-3),
    ),
    Case(
        "gaussian",
        ll.losses.GaussianNLL(),
        "batch time",
        (5, 3),
        "real",
        ("real", "positive"),
        2,
        oracles.gaussian("variance", full=False),
    ),
    Case(
        "gaussian-deviation",
        ll.losses.GaussianNLL("deviation", full=True),
        "batch",
        (7,),
        "real",
        ("real", "positive"),
        2,
        oracles.gaussian("deviation", full=True),
    ),
    Case(
        "gaussian-log",
        ll.losses.GaussianNLL("log"),
        "batch",
        (7,),
        "real",
        "real",
        2,
        oracles.gaussian("log", full=False),
    ),
    Case(
        "laplace",
        ll.losses.LaplaceNLL(full=True),
        "batch time",
        (5, 3),
        "real",
        ("real", "positive"),
        2,
        oracles.laplace("scale", full=True),
    ),
    Case(
        "laplace-log",
        ll.losses.LaplaceNLL("log"),
        "batch",
        (7,),
        "real",
        "real",
        2,
        oracles.laplace("log", full=False),
    ),
    Case(
        "gaussian-kl",
        ll.losses.GaussianKL(),
        "batch latent",
        (5, 3),
        "none",
        "real",
        2,
        oracles.gaussian_kl,
    ),
    Case(
        "info-nce",
        ll.losses.InfoNCE(0.5),
        *VECTORS,
        "none",
        "real",
        2,
        oracles.info_nce(0.5, symmetric=False, normalize=True),
        twice=False,
    ),
    Case(
        "info-nce-symmetric",
        ll.losses.InfoNCE(0.5, symmetric=True),
        *VECTORS,
        "none",
        "real",
        2,
        oracles.info_nce(0.5, symmetric=True, normalize=True),
        twice=False,
    ),
    Case(
        "info-nce-dot",
        ll.losses.InfoNCE(4.0, True, normalize=False),
        *VECTORS,
        "none",
        "real",
        2,
        oracles.info_nce(4.0, symmetric=True, normalize=False),
        twice=False,
    ),
    Case(
        "triplet",
        ll.losses.TripletMargin(2.0),
        *VECTORS,
        "none",
        "real",
        3,
        oracles.of_torch("triplet_margin_loss", margin=2.0, eps=0.0),
    ),
    Case(
        "triplet-swap",
        ll.losses.TripletMargin(2.0, swap=True),
        "batch feature time",
        (4, 3, 2),
        "none",
        "real",
        3,
    ),
    Case(
        "triplet-swap-cubic",
        ll.losses.TripletMargin(2.0, p=3, swap=True, epsilon=1e-2),
        *VECTORS,
        "none",
        "real",
        3,
        oracles.of_torch("triplet_margin_loss", margin=2.0, p=3, swap=True, eps=1e-2),
    ),
    Case(
        "triplet-manhattan",
        ll.losses.TripletMargin(2.0, p=1),
        "batch feature",
        (6, 7),
        "none",
        "real",
        3,
        oracles.of_torch("triplet_margin_loss", margin=2.0, p=1, eps=0.0),
    ),
    Case(
        "pairwise-logistic",
        ll.losses.PairwiseLogistic(),
        "batch time",
        (5, 3),
        "none",
        "real",
        2,
        oracles.logistic,
    ),
    Case(
        "cosine-embedding",
        ll.losses.CosineEmbedding(margin=0.1),
        *VECTORS,
        "sign_per_sample",
        "real",
        2,
        oracles.of_torch("cosine_embedding_loss", margin=0.1),
    ),
)
