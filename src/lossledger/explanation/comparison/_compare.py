# SPDX-License-Identifier: Apache-2.0
"""Compare two losses, or two models, on one batch."""

from dataclasses import replace
from typing import Any

from lossledger._errors import MatchError
from lossledger._typing import Mapping, Sequence, Tree
from lossledger.explanation._dispatch import is_keras_model, refuse
from lossledger.explanation.comparison._beside import beside
from lossledger.explanation.comparison._comparison import Comparison
from lossledger.explanation.comparison._judge import between
from lossledger.explanation.comparison._sides import source_of
from lossledger.explanation.comparison._totals import totals
from lossledger.explanation.criterion._host import data_of

Convention = str | tuple[str | None, str | None] | None
ClassWeight = (
    Mapping[int, float] | tuple[Mapping[int, float] | None, Mapping[int, float] | None] | None
)


def compare(
    a: Any,
    b: Any,
    outputs: Tree,
    targets: Tree = None,
    *,
    sample_weight: Tree = None,
    class_weight: ClassWeight = None,
    mask: Tree = None,
    convention: Convention = None,
) -> Comparison:
    """Compare two losses that should agree: number and gradient, b against a.

    Both get the same outputs and targets. Where the second wants them in another form (class
    axis last, one-hot targets, probabilities), that form is found and named.

    A compiled Keras model stands for what it minimizes: Σ loss weight · value + Σ regularizers.
    Two models are compared part by part; a model and a criterion on the model's outputs.

    Args:
        a: A criterion, a preset, an objective or a compiled Keras model, as `explain` takes them.
            Beside a model, a function of (y_true, y_pred) is called as Keras calls it.
        b: The one to compare it with; of another library, version or setting. A model only if
            `a` is one.
        outputs: What the first takes: an array, or a tuple of arrays; inputs x of a model.
        targets: What the first takes; y of a model.
        sample_weight: For both.
        class_weight: As `fit` takes it, for both models; or a pair, None for a model without.
        mask: For both. A Keras model makes its own.
        convention: The version of Keras whose numbers are wanted, as `explain` takes it: one
            name for both, or a pair. None in a pair leaves that one as it is.

    Returns:
        The comparison: the first stage at which they part, the factor between them, and the
        change that makes them equal, verified on this data.

    Raises:
        MatchError: If one of them does not take the data in any form, or an argument does not
            belong to what is compared; if a model does not run, or minimizes something else than
            the sum of its losses and regularizers.
        DomainError: If one of them gives NaN or inf, or draws random numbers.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> torch, keras = ll.presets.torch, ll.presets.keras
        >>> found = ll.compare(
        ...     torch.MSELoss(reduction="sum"),
        ...     keras.MeanSquaredError(),
        ...     np.ones((4, 2)),
        ...     np.zeros((4, 2)),
        ... )
        >>> found.factor, found.constant
        (0.125, 'inverse to the batch size')
        >>> found.change.text
        'multiply the second by the number of elements'
    """
    pair = _pair(convention)
    given = {"class_weight": class_weight, "mask": mask}
    if is_keras_model(a):
        refuse("A Keras model", given, ("mask",))
        return _models(a, b, (outputs, targets, sample_weight), class_weight, pair)
    if is_keras_model(b):
        raise MatchError(
            "A model is compared as the first: both get its outputs",
            f"Found the model `{b.name}` as the second of {type(a).__name__}",
            "The two were passed in the other order",
            "Call ll.compare(model, criterion, x, y)",
        )
    refuse("A criterion", given, ("class_weight",))
    data = data_of(outputs, targets, sample_weight, mask)
    one, two = (source_of(x, data, c) for x, c in zip((a, b), pair, strict=True))
    return between(one, two, data, (a, b))


def _models(
    a: Any,
    b: Any,
    data: tuple[Tree, Tree, Tree],
    class_weight: ClassWeight,
    convention: tuple[str | None, str | None],
) -> Comparison:
    """Compare a model with another one, or with a criterion on its outputs."""
    from lossledger.explanation.comparison._models import (  # noqa: PLC0415 - imports Keras
        as_keras,
        side_of,
    )

    weights = _weights(class_weight, is_keras_model(b))
    first = side_of(a, data, weights[0], convention[0], "first")
    if is_keras_model(b):
        return totals(first, side_of(b, data, weights[1], convention[1], "second"))
    second, notes = beside(first, as_keras(b), convention[1])
    found = totals(first, second)
    return replace(found, notes=(*notes, *found.notes))


def _weights(
    class_weight: Any, several: bool
) -> tuple[Mapping[int, float] | None, Mapping[int, float] | None]:
    """Return the class weights of each model.

    Raises:
        MatchError: If there is no pair, or the second is of no model.
    """
    if not isinstance(class_weight, tuple):
        return class_weight, class_weight
    if len(class_weight) == 2 and (several or class_weight[1] is None):
        return class_weight
    raise MatchError(
        "`class_weight` must be one dict for both models, or a pair",
        f"Found {len(class_weight)} of them for {2 if several else 1} model(s)",
        "A criterion has class weights of its own",
        "Pass e.g. class_weight=({0: 1.0, 1: 5.0}, None)",
    )


def _pair(convention: Any) -> tuple[str | None, str | None]:
    """Return the convention of each.

    Raises:
        MatchError: If it is neither a name nor a pair.
    """
    if convention is None or isinstance(convention, str):
        return convention, convention
    if isinstance(convention, Sequence) and len(convention) == 2:
        return convention[0], convention[1]
    raise MatchError(
        "`convention` must be one name for both, or a pair of names",
        f"Found {convention!r}",
        "A name is missing, or there is one too many",
        "Pass e.g. convention=('keras3', 'keras2.3')",
    )
