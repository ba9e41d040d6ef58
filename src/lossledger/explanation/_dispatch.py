# SPDX-License-Identifier: Apache-2.0
"""Who explains what: models, objectives, presets, and every other loss."""

import sys
from typing import Any

from lossledger._errors import MatchError
from lossledger._typing import Array, Mapping, Sequence, Tree
from lossledger.explanation._explanation import Explanation


def explain(
    thing: Any,
    outputs: Tree,
    targets: Tree = None,
    *,
    sample_weight: Tree = None,
    class_weight: Mapping[int, float] | None = None,
    mask: Tree = None,
    classes: Sequence[str] | None = None,
    convention: str | None = None,
) -> Explanation:
    """Explain how a loss makes its number on this data: Σ loss weight · value + Σ regularizers.

    Args:
        thing: A compiled Keras 3 model; a criterion (a torch.nn loss, a function of torch,
            optax or MONAI, bound with `functools.partial`, or any callable of outputs and
            targets that gives a number); an `Objective`; or a preset.
        outputs: What the criterion takes; for a Keras model its inputs x.
        targets: Targets, y of a Keras model.
        sample_weight: As the loss, or `fit`, takes it.
        class_weight: As `fit` takes it: weight by label. Keras models alone.
        mask: For objectives and presets that take one. A Keras model makes its own.
        classes: Names of the classes, for rows that people can read.
        convention: The version of Keras whose number is wanted: "keras1", "keras2.3",
            "keras2.10" (models alone), "keras2.11", "keras3" or "keras3.16"; Keras models and
            losses alone.

    Returns:
        The explanation; print it, or read `pieces`, `rows`, `notes`, `to_dict()`.

    Raises:
        MatchError: If an argument does not belong to what is explained, a model is not
            compiled, or targets do not match outputs.
    """
    given = {"sample_weight": sample_weight, "class_weight": class_weight, "mask": mask}
    if is_keras_model(thing):
        from lossledger.explanation.model import explain_model  # noqa: PLC0415 - imports Keras

        refuse("A Keras model", given, ("mask",))
        return explain_model(
            thing, outputs, targets, sample_weight, class_weight, classes, convention
        )
    from lossledger.explanation.criterion import explain_criterion  # noqa: PLC0415 - on first use

    refuse("A criterion", given, ("class_weight",))
    return explain_criterion(thing, outputs, targets, sample_weight, mask, classes, convention)


def is_keras_model(thing: Any) -> bool:
    """Whether it is a model of Keras 3, if that is imported at all."""
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "Model") and isinstance(thing, keras.Model)


def refuse(what: str, given: Mapping[str, Array], names: Sequence[str]) -> None:
    """Refuse arguments that belong to another kind of loss.

    Raises:
        MatchError: If one of them is given.
    """
    found = [name for name in names if given[name] is not None]
    if found:
        raise MatchError(
            f"{what} takes no {' and no '.join(names)}",
            f"Found {', '.join(found)}",
            "The argument belongs to another kind of loss",
            "Leave it out, or build it into what is explained",
        )
