# SPDX-License-Identifier: Apache-2.0
"""Why is the loss of a five-class U-Net tiny while one class is terrible, and what helps?"""

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import lossledger as ll
from lossledger.demo.scenes import CLASSES, SceneSettings, compose, split_digits

AXES = "batch height width class"
SIZE = 24
SCENES = 160
RARE_CHANCE = 0.12
EPOCHS = 14
CLASS_WEIGHT = (1.0, 1.0, 1.0, 1.0, 2.0)

Data = tuple[np.ndarray, np.ndarray]


def scenes() -> tuple[Data, Data]:
    """Return training and test scenes of scanned digits, and a mask for each of five groups."""
    settings = SceneSettings(size=SIZE, digits=(2, 3), rare_chance=RARE_CHANCE)
    train, test = split_digits()
    found = [compose(SCENES, part, seed, settings) for seed, part in enumerate((train, test))]
    first, second = ((s.images[..., None], s.masks) for s in found)
    return first, second


def weighted_bce_dice(targets: Any, outputs: Any) -> Any:
    """Return 0.5 · class-weighted BCE of pixels + Dice over all classes: a user's own loss."""
    probabilities = ops.clip(ops.sigmoid(outputs), 1e-7, 1 - 1e-7)
    chosen = ops.where(targets > 0.5, probabilities, 1 - probabilities)
    bce = ops.mean(-ops.log(chosen) * ops.convert_to_tensor(CLASS_WEIGHT))
    overlap = 2 * ops.sum(targets * probabilities) + 1e-6
    return 0.5 * bce + 1 - overlap / (ops.sum(targets) + ops.sum(probabilities) + 1e-6)


def first_weights(shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    """Return a kernel's first weights (He's, of NumPy): the same ones on every backend."""
    width = (2 / math.prod(shape[:-1])) ** 0.5
    return np.random.default_rng(shape).normal(0, width, shape).astype(dtype or "float32")


def unet() -> keras.Model:
    """Return a U-Net of two levels: one logit for each pixel and class."""

    def conv(x: Any, width: int) -> Any:
        x = layers.Conv2D(
            width, 3, padding="same", use_bias=False, kernel_initializer=first_weights
        )(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))

    images = keras.Input((SIZE, SIZE, 1), name="image")
    full = conv(images, 16)
    half = conv(conv(layers.MaxPooling2D()(full), 32), 32)
    up = layers.Concatenate()([layers.UpSampling2D()(half), full])
    start = keras.initializers.Constant(-2.0)  # most pixels belong to no class
    head = layers.Conv2D(
        len(CLASSES),
        1,
        kernel_initializer=first_weights,
        bias_initializer=start,
        name="segmentation",
    )
    return keras.Model(images, head(conv(up, 16)))


def per_class() -> ll.Objective:
    """Return BCE and Dice as means over classes of each class's own."""
    loss = ll.losses.BinaryCrossEntropy()
    dice = ll.losses.Dice(over="batch height width")
    return ll.Objective(
        ll.Term(
            "segmentation", loss, AXES, classes=CLASSES, loss_weight=0.5, name="bce",
            reduction=ll.Macro(by="class label"),
        ),
        ll.Term(
            "segmentation", dice, AXES, classes=CLASSES, reduction=ll.Mean("class"), name="dice"
        ),
    )  # fmt: skip


def by_class(told: ll.Explanation) -> dict[str, float]:
    """Return each class's IoU: the share of pixels right, of those that it has or is given."""
    return {row.cls or "": row.iou for row in told.rows if row.iou is not None}


def show_users_loss(train: Data, test: Data) -> dict[str, float]:
    """Train by the user's loss; print the explanation of the loss on the test scenes."""
    model = unet()
    model.compile(keras.optimizers.Adam(1e-2), weighted_bce_dice)
    model.fit(*train, batch_size=16, epochs=EPOCHS, verbose=0)
    print(f"1. {EPOCHS} epochs by 0.5 * weighted BCE + Dice over all classes; the test scenes\n")
    told = ll.explain(model, *test, classes=CLASSES)
    print(told)
    return by_class(told)


def show_per_class(train: Data, test: Data) -> dict[str, float]:
    """Train by an objective of classes; print the ledger of the last epoch."""
    model = unet()
    ll.keras.compile(model, per_class(), optimizer=keras.optimizers.Adam(1e-2))
    model.fit(*train, batch_size=16, epochs=EPOCHS, verbose=0)
    print(f"\n2. {EPOCHS} epochs by 0.5 * BCE + Dice, each averaged by class; the last epoch\n")
    print(model.ledger)
    return by_class(ll.explain(model, *test))


def main() -> None:
    """Train twice and answer."""
    train, test = scenes()
    before = show_users_loss(train, test)
    after = show_per_class(train, test)
    print("\n3. IoU on the test scenes\n")
    print(f"   {'class':<10}{'one Dice of all':>18}{'by class':>18}")
    for name in CLASSES:
        print(f"   {name:<10}{before[name]:>18.3f}{after[name]:>18.3f}")
    rare = CLASSES[-1]
    print(f"""
Answer
   The usual loss pools pixels and classes before it divides. A class of few pixels then has
   no say: {rare} is found with an IoU of {before[rare]:.1%}, and the total does not show it.
   Averaged by class, BCE over positives and negatives apart and Dice of each class, every
   class has the same say: the IoU of {rare} becomes {after[rare]:.1%}. The ledger has a row
   for each class in every epoch, so nothing has to be looked for.""")


if __name__ == "__main__":
    main()
