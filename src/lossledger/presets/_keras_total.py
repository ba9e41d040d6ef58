# SPDX-License-Identifier: Apache-2.0
"""The number that Keras trains on: several outputs, their weights, and regularizers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lossledger._array import library_of
from lossledger._errors import MatchError
from lossledger._typing import Array, Mapping
from lossledger.ledger import Ledger
from lossledger.losses.label_weights import label_weights
from lossledger.objective import Objective, near
from lossledger.presets._base import Given
from lossledger.presets._keras_base import AbstractKeras
from lossledger.regularizers import AbstractRegularizer
from lossledger.term import Term

Arrays = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Total:
    """Σ loss weight · loss + Σ regularizer: not divided by the weights' sum.

    Attributes:
        losses: A preset for each output, all of one convention.
        loss_weights: By output.
        regularizers: Such as `ll.L2(scale, parameters, half=False)`, which is Keras' L2.
        classes: Names of classes, by output; an output without names counts its classes.
    """

    losses: Mapping[str, AbstractKeras]
    loss_weights: Mapping[str, float]
    regularizers: tuple[AbstractRegularizer, ...]
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __call__(
        self,
        outputs: Arrays,
        targets: Arrays,
        sample_weight: Arrays | None = None,
        mask: Arrays | None = None,
    ) -> tuple[Array, Ledger]:
        """Return (total, ledger) of a batch; arrays by output."""
        objective, given = self._built(outputs, targets, sample_weight, mask)
        return objective(**given)

    def loss(
        self,
        outputs: Arrays,
        targets: Arrays,
        sample_weight: Arrays | None = None,
        mask: Arrays | None = None,
    ) -> Array:
        """Return the total alone."""
        return self(outputs, targets, sample_weight, mask)[0]

    def value_and_grad(
        self,
        outputs: Arrays,
        targets: Arrays,
        sample_weight: Arrays | None = None,
        mask: Arrays | None = None,
    ) -> tuple[Array, Any]:
        """Return (total, gradient by output) by closed-form derivatives."""
        objective, given = self._built(outputs, targets, sample_weight, mask)
        total, _, slopes = objective.value_and_grad(**given)
        return total, slopes

    def _built(
        self,
        outputs: Arrays,
        targets: Arrays,
        sample_weight: Arrays | None,
        mask: Arrays | None,
    ) -> tuple[Objective, dict[str, Any]]:
        terms: list[Term] = []
        found: dict[str, dict[str, Any]] = {
            "outputs": {}, "targets": {}, "sample_weight": {}, "mask": {}
        }  # fmt: skip
        for name, preset in self.losses.items():
            xp = library_of(outputs[name])
            several = (targets, sample_weight or {}, mask or {})
            others = [near(xp, outputs[name], arrays.get(name)) for arrays in several]
            given = preset.arrange(Given(xp, (outputs[name],), *others))
            axes = preset.axes(len(given.outputs[0].shape))
            recipe = preset.recipe(axes, given)
            factor = self.loss_weights[name]
            terms.append(
                Term(
                    name,
                    recipe.loss,
                    axes,
                    reduction=recipe.reduction,
                    loss_weight=recipe.loss_weight * factor,
                    name=name,
                    classes=self.classes.get(name, recipe.classes),
                )
            )
            found["outputs"][name] = given.outputs[0]
            found["targets"][name] = given.targets
            for kind, array in (("sample_weight", given.sample_weight), ("mask", given.mask)):
                if array is not None:
                    found[kind][name] = array
        settings = {kind: arrays or None for kind, arrays in found.items()}
        return Objective(*terms, *self.regularizers), settings


def total(
    losses: Mapping[str, AbstractKeras],
    loss_weights: Mapping[str, float] | None = None,
    regularizers: Sequence[AbstractRegularizer] = (),
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Total:
    """Return what Keras minimizes for a model with several outputs.

    All conventions add up the same way: Σ loss weight · loss + Σ regularizer, without
    dividing by the weights. They differ in the losses, and in weights that are left out: 1
    for an output in Keras 1 and 2, an error in Keras 3.

    Args:
        losses: A preset for each output.
        loss_weights: By output.
        regularizers: Regularizers, which are never divided by the batch.
        classes: Names of classes by output, for rows that people can read.

    Raises:
        MatchError: If names do not match, a loss is not reduced, or conventions differ.
    """
    conventions = {preset.convention for preset in losses.values()}
    bare = [n for n, preset in losses.items() if preset.reduction in ("none", None)]
    if len(conventions) != 1 or bare:
        raise MatchError(
            "A total needs losses of one convention, each of one number",
            f"Found the conventions {', '.join(sorted(conventions)) or 'none'}"
            + (f", and no reduction for {', '.join(bare)}" if bare else ""),
            "TensorFlow minimizes the sum of unreduced values, other backends raise",
            "Give every loss the same convention and a reduction",
        )
    weights = dict(loss_weights or dict.fromkeys(losses, 1.0))
    absent = [name for name in losses if name not in weights]
    unknown = [name for name in weights if name not in losses]
    if unknown or (absent and conventions == {"keras3"}):
        raise MatchError(
            "`loss_weights` must have the names of the outputs",
            f"Found {', '.join(weights)} for {', '.join(losses)}",
            "A name is misspelled; Keras 3 also wants a weight for every output",
            "Give each output its weight, 1.0 where it is plain",
        )
    every = dict.fromkeys(losses, 1.0) | weights
    return Total(dict(losses), every, tuple(regularizers), dict(classes or {}))


def class_weights(targets: Array, class_weight: Mapping[int, float]) -> Array:
    """Return the sample weights that `fit(class_weight=...)` makes: 1 for a label left out.

    Pass them as `sample_weight`. Under "sum_over_batch_size" the loss is Σ w·l / N: not divided
    by the sum of the weights, as torch's class weights are.

    Args:
        targets: Labels of shape (batch,) or (batch, 1), or rows of shape (batch, class).
        class_weight: Weights by label.
    """
    return label_weights(library_of(targets), targets, class_weight)
