# SPDX-License-Identifier: Apache-2.0
"""One batch as `fit` hands it to a model: dtypes, and weights made of class weights."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Mapping, Tree
from lossledger.presets.keras import class_weights


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch on the model's device.

    Attributes:
        x: Inputs.
        y: Targets.
        sample_weight: In the structure of the targets; None for none.
        source: Where they come from: "sample_weight", "class_weight" or "".
    """

    x: Tree
    y: Tree
    sample_weight: Tree
    source: str


def batch_of(
    x: Tree, y: Tree, sample_weight: Tree, class_weight: Mapping[int, float] | None
) -> Batch:
    """Return data as `fit` would hand them to the model in one batch.

    Raises:
        MatchError: If something is no array, or both kinds of weights are given.
        ShapeError: If the arrays have different numbers of samples.
    """
    source = ""
    if class_weight is not None:
        sample_weight = _of_classes(y, sample_weight, class_weight)
        source = "class_weight"
    elif sample_weight is not None:
        sample_weight = _for_each_output(y, sample_weight)
        source = "sample_weight"
    found = {"x": x, "y": y, "sample_weight": sample_weight}
    for name, tree in found.items():
        _check_arrays(name, tree)
    _check_lengths(found)
    tensors = {name: _mapped(_tensor, tree) for name, tree in found.items()}
    return Batch(**tensors, source=source)


def _mapped(change: Any, tree: Tree) -> Tree:
    return keras.tree.map_structure(lambda leaf: None if leaf is None else change(leaf), tree)


def _tensor(leaf: Array) -> Array:
    """Return a tensor; numbers with a fraction in Keras' floatx, as `fit` casts them."""
    if type(leaf).__module__.startswith("pandas"):
        values = leaf.to_numpy()
        leaf = values[:, None] if values.ndim == 1 else values
    # A copy: nothing that Keras computes in place may reach the caller's arrays.
    tensor = keras.ops.copy(keras.ops.convert_to_tensor(leaf))
    name = keras.backend.standardize_dtype(tensor.dtype)
    floats = name.startswith(("float", "bfloat"))
    return keras.ops.cast(tensor, keras.config.floatx()) if floats else tensor


def _of_classes(y: Tree, sample_weight: Tree, class_weight: Mapping[int, float]) -> Array:
    """Return the sample weights that `fit` makes of class weights."""
    if sample_weight is not None or keras.tree.is_nested(y):
        both = sample_weight is not None
        raise MatchError(
            "`class_weight` is for a model of one output, without `sample_weight`",
            "Found both" if both else "Found several targets",
            "Keras' fit raises here too",
            "Multiply the class weights into sample weights, one array for each output",
        )
    return np.asarray(class_weights(np.asarray(host(y)), class_weight), keras.config.floatx())


def _for_each_output(y: Tree, sample_weight: Tree) -> Tree:
    """Return weights in the structure of the targets: one array serves every output."""
    nested = keras.tree.is_nested(sample_weight)
    if not keras.tree.is_nested(y) or nested:
        return sample_weight
    shape = tuple(np.shape(sample_weight))
    if len(shape) != 1 and shape[1:] != (1,):
        raise ShapeError(
            "One `sample_weight` for several outputs must have one number a sample",
            f"Found shape {shape}",
            "Keras' fit raises here too: outputs differ in their other axes",
            "Pass one array for each output, in the structure of y",
        )
    return keras.tree.map_structure(lambda _: sample_weight, y)


def _check_arrays(name: str, tree: Tree) -> None:
    for leaf in keras.tree.flatten(tree):
        if leaf is not None and not hasattr(leaf, "shape"):
            raise MatchError(
                f"`{name}` must be one batch of arrays",
                f"Found {type(leaf).__name__}",
                "Numbers in lists, a generator or a dataset were passed",
                "Pass NumPy arrays or tensors; of a dataset, one of its batches",
            )


def _check_lengths(found: Mapping[str, Tree]) -> None:
    shapes = {
        f"{name} {tuple(leaf.shape)}": (tuple(leaf.shape) or (0,))[0]
        for name, tree in found.items()
        for leaf in keras.tree.flatten(tree)
        if leaf is not None
    }
    if len(set(shapes.values())) > 1:
        raise ShapeError(
            "x, y and sample_weight must have the same number of samples",
            f"Found {', '.join(shapes)}",
            "The first axis is the batch; one of them has another",
            "Pass the same samples of each",
        )


def host(tensor: Array) -> Array:
    """Return an array on the host: NumPy, narrow floats widened to float32."""
    if tensor is None or isinstance(tensor, np.ndarray):
        return tensor
    if keras.ops.is_tensor(tensor):
        narrow = keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16")
        tensor = keras.ops.cast(tensor, "float32") if narrow else tensor
        tensor = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
        tensor = tensor.numpy() if hasattr(tensor, "numpy") else tensor
    return np.array(tensor)
