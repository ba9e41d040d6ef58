# SPDX-License-Identifier: Apache-2.0
"""Compare two losses, or two models, on one batch."""

from typing import Any

from lossledger._errors import MatchError
from lossledger._typing import Mapping, Sequence, Tree
from lossledger.explanation._dispatch import refuse
from lossledger.explanation.comparison._comparison import Comparison
from lossledger.explanation.comparison._judge import between
from lossledger.explanation.comparison._sides import source_of
from lossledger.explanation.criterion._host import data_of

Convention = str | tuple[str | None, str | None] | None


def compare(
    a: Any,
    b: Any,
    outputs: Tree,
    targets: Tree = None,
    *,
    sample_weight: Tree = None,
    class_weight: Mapping[int, float] | None = None,
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
        b: The one to compare it with; of another library, version or setting. A model only if
            `a` is one.
        outputs: What the first takes: an array, or a tuple of arrays; inputs x of a model.
        targets: What the first takes; y of a model.
        sample_weight: For both.
        class_weight: As `fit` takes it, for both models.
        mask: For both. A Keras model makes its own.
        convention: The version of Keras whose numbers are wanted, as `explain` takes it: one
            name for both, or a pair. None in a pair leaves that one as it is.

    Returns:
        The comparison: the first stage at which they part, the factor between them, and the
        change that makes them equal, verified on this data.

    Raises:
        MatchError: If one of them does not take the data in any form, or an argument does not
            belong to what is compared.

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
    refuse("A criterion", {"class_weight": class_weight}, ("class_weight",))
    data = data_of(outputs, targets, sample_weight, mask)
    one, two = (source_of(x, data, c) for x, c in zip((a, b), pair, strict=True))
    return between(one, two, data, (a, b))


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
