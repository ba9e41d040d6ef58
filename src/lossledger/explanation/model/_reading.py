# SPDX-License-Identifier: Apache-2.0
"""What was read of a compiled Keras model and its data: arrays on the host, settings as found."""

from dataclasses import dataclass
from typing import Any

from lossledger._typing import Array, Mapping, Tree
from lossledger.explanation._parts import Extra
from lossledger.term import Term


@dataclass(frozen=True, eq=False)
class LossReading:
    """One loss of one output, as Keras calls it.

    Attributes:
        output: Name of the output.
        loss: The loss object that Keras calls; a function is wrapped by Keras.
        spelled: The loss as its users write it.
        loss_weight: Its factor.
        outputs: What the model gave, NumPy.
        targets: NumPy, as Keras hands them to the loss.
        sample_weight: As Keras hands them to the loss; None for none.
        weight_source: Where they come from: "sample_weight", "class_weight", "".
        mask: That the output carries; None for none.
        mask_source: The layer that made it, or "".
        values: What is left after the loss's own reduction, before weights; None if the loss
            cannot be called without reducing.
        own_mask: That the loss itself sets (`ignore_class`); None for none.
        value: The loss's own number, from Keras' call with weights and masks.
        terms: That the loss is made of, where it is one of ours.
        reduction: Of its one term, by Keras' name for it; "" where Keras has none, or it is
            Keras' own loss.
    """

    output: str
    loss: Any
    spelled: str
    loss_weight: float
    outputs: Array
    targets: Array
    sample_weight: Array | None
    weight_source: str
    mask: Array | None
    mask_source: str
    values: Array | None
    own_mask: Array | None
    value: float
    terms: tuple[Term, ...] = ()
    reduction: str = ""


@dataclass(frozen=True, eq=False)
class Reading:
    """A compiled model, and one batch of data.

    Attributes:
        model: The Keras model.
        version: Of Keras, "3.15.1".
        backend: "jax", "torch" or "tensorflow".
        jit: Whether `fit` compiles the step.
        losses: One for each loss of each output.
        extras: Regularizers, activity regularizers and added losses.
        number: What Keras itself minimizes, from its public `compute_loss`.
        x: Inputs as passed.
        y: Targets as passed.
        sample_weight: As passed.
        class_weight: As passed.
        compiled_loss: `loss` as it was compiled.
        compiled_weights: `loss_weights` as they were compiled.
        private: Whether private attributes of Keras could be read; else what follows from
            public ones alone.
        undecided: What could not be read, and why.
    """

    model: Any
    version: str
    backend: str
    jit: bool
    losses: tuple[LossReading, ...]
    extras: tuple[Extra, ...]
    number: float
    x: Tree
    y: Tree
    sample_weight: Tree
    class_weight: Mapping[int, float] | None
    compiled_loss: Any
    compiled_weights: Any
    private: bool
    undecided: tuple[str, ...] = ()
