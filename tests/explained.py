# SPDX-License-Identifier: Apache-2.0
"""Criteria of every library that is recognized, each with a batch that it takes."""

import functools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WEIGHT = torch.tensor([1.0, 2.0, 5.0])


def states() -> tuple[object, ...]:
    """Return the state of every generator that a criterion might draw from."""
    theirs = np.random.get_state()[1]  # noqa: NPY002 - the user's own state
    return (
        torch.random.get_rng_state().numpy().tobytes(),
        theirs.tobytes(),
        repr(random.getstate()).encode(),
    )


def drawn() -> float:
    """Return a number from NumPy's own generator, and one from Python's."""
    return float(np.random.rand()) + random.random()  # noqa: NPY002 - as users do


class Batches:
    """The same random batches at every call; the user's own random numbers are left alone."""

    def __init__(self) -> None:
        """Draw them."""
        draw = torch.Generator().manual_seed(0)
        self.logits = torch.randn(6, 3, generator=draw)
        self.labels = torch.tensor([0, 1, 2, 0, -100, 1])
        self.inside = self.labels.clamp(min=0)
        self.yes = (torch.rand(6, 3, generator=draw) < 0.4).float()
        self.signs = 2 * self.yes - 1
        self.shares = torch.sigmoid(self.logits)
        self.image = torch.randn(2, 3, 4, 4, generator=draw)
        self.plane = torch.randint(0, 3, (2, 1, 4, 4), generator=draw)
        self.hot = functional.one_hot(self.plane[:, 0], 3).movedim(-1, 1).float()
        self.lists = torch.tensor([[0, -1, 1]] * 6)


def torch_modules() -> Iterator[tuple[Any, Any, Any]]:
    """Yield (criterion, outputs, targets) for every loss of torch.nn that has a preset."""
    b = Batches()
    z, y, p = b.logits, b.yes, b.shares
    yield nn.CrossEntropyLoss(weight=WEIGHT), z, b.labels
    yield nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=1), z, b.inside
    yield nn.NLLLoss(weight=WEIGHT, reduction="sum"), z.log_softmax(1), b.labels
    yield nn.BCELoss(weight=WEIGHT), p, y
    yield nn.BCEWithLogitsLoss(pos_weight=WEIGHT), z, y
    yield nn.L1Loss(), z, y
    yield nn.MSELoss(reduction="sum"), z, y
    yield nn.SmoothL1Loss(beta=0.3), z, y
    yield nn.HuberLoss(delta=0.3), z, y
    yield nn.PoissonNLLLoss(full=True), z, y
    yield nn.GaussianNLLLoss(full=True), (z, p), y
    yield nn.KLDivLoss(reduction="batchmean"), z.log_softmax(1), p
    yield nn.HingeEmbeddingLoss(margin=0.5), z, b.signs
    yield nn.MultiLabelMarginLoss(), z, b.lists
    yield nn.SoftMarginLoss(), z, b.signs
    yield nn.MultiLabelSoftMarginLoss(weight=WEIGHT), z, y
    yield nn.CosineEmbeddingLoss(margin=0.1), (z, p), b.signs[:, 0]
    yield nn.MarginRankingLoss(margin=0.1), (z, p), b.signs
    yield nn.MultiMarginLoss(p=2, weight=WEIGHT), z, b.inside
    yield nn.TripletMarginLoss(swap=True), (z, p, y), None


def torch_functions() -> Iterator[tuple[Any, Any, Any]]:
    """Yield the same for the functions: with other settings, or bare."""
    b = Batches()
    z, y, p = b.logits, b.yes, b.shares
    bind = functools.partial
    yield bind(functional.cross_entropy, weight=WEIGHT, label_smoothing=0.2), z, b.labels
    yield functional.nll_loss, z.log_softmax(1), b.labels
    yield functional.binary_cross_entropy, p, y
    yield bind(functional.binary_cross_entropy_with_logits, pos_weight=WEIGHT), z, y
    yield bind(functional.l1_loss, size_average=False), z, y
    yield functional.mse_loss, z, y
    yield bind(functional.smooth_l1_loss, beta=0.3), z, y
    yield bind(functional.huber_loss, delta=0.3, reduction="sum"), z, y
    yield bind(functional.poisson_nll_loss, log_input=False), p, y
    yield functional.gaussian_nll_loss, (z, p), y
    yield bind(functional.kl_div, reduction="sum"), z.log_softmax(1), p
    yield functional.hinge_embedding_loss, z, b.signs
    yield functional.multilabel_margin_loss, z, b.lists
    yield functional.soft_margin_loss, z, b.signs
    yield functional.multilabel_soft_margin_loss, z, y
    yield functional.cosine_embedding_loss, (z, p), b.signs[:, 0]
    yield bind(functional.margin_ranking_loss, margin=0.2), (z, p), b.signs
    yield bind(functional.multi_margin_loss, margin=0.5), z, b.inside
    yield bind(functional.triplet_margin_loss, margin=0.5, p=1), (z, p, y), None


def monai_losses() -> Iterator[tuple[Any, Any, Any]]:
    """Yield the same for MONAI."""
    import monai.losses as library

    b = Batches()
    image, plane, hot = b.image, b.plane, b.hot
    yield library.DiceLoss(softmax=True, weight=WEIGHT, batch=True), image, hot
    yield library.DiceLoss(sigmoid=True, squared_pred=True, include_background=False), image, hot
    yield library.MaskedDiceLoss(sigmoid=True), image, hot
    yield library.TverskyLoss(sigmoid=True, alpha=0.3), image, hot
    yield library.FocalLoss(weight=WEIGHT, alpha=0.3), image, hot
    yield library.FocalLoss(use_softmax=True, to_onehot_y=True, reduction="sum"), image, plane
    yield library.GeneralizedDiceLoss(softmax=True, w_type="simple"), image, hot
    yield library.DiceCELoss(softmax=True, to_onehot_y=True, weight=WEIGHT), image, plane
    settings: dict[str, Any] = {"include_background": False, "label_smoothing": 0.1}
    two = library.DiceCELoss(softmax=True, to_onehot_y=True, lambda_ce=0.3, **settings)
    yield two, image, plane
    yield library.DiceFocalLoss(sigmoid=True, gamma=1.5, weight=WEIGHT), image, hot
    yield library.GeneralizedDiceFocalLoss(sigmoid=True, lambda_gdl=0.3), image, hot


def smp_losses(library: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the same for segmentation_models_pytorch."""
    b = Batches()
    image, plane, hot = b.image, b.plane[:, 0], b.hot
    yield library.DiceLoss("multiclass", smooth=1.0), image, plane
    yield library.JaccardLoss("multilabel", log_loss=True), image, hot
    yield library.TverskyLoss("multiclass", alpha=0.3, beta=0.7, gamma=1.5), image, plane
    yield library.FocalLoss("multiclass", alpha=0.3, gamma=1.5, normalized=True), image, plane
    yield library.SoftCrossEntropyLoss(smooth_factor=0.1), image, plane
    soft = library.SoftBCEWithLogitsLoss(smooth_factor=0.1, pos_weight=WEIGHT[:, None, None])
    yield soft, image, hot
    yield library.MCCLoss(), torch.sigmoid(image[:, :1]), hot[:, :1]


def nnunet_losses() -> Iterator[tuple[Any, Any, Any]]:
    """Yield the same for nnU-Net."""
    from nnunetv2.training.loss import compound_losses, dice, robust_ce_loss
    from nnunetv2.utilities.helpers import softmax_helper_dim1 as softmax

    b = Batches()
    image, plane = b.image, b.plane
    yield dice.SoftDiceLoss(softmax, smooth=1e-5), image, plane
    once = {"batch_dice": True, "ddp": False, "do_bg": False}
    yield dice.MemoryEfficientSoftDiceLoss(softmax, **once), image, plane
    yield robust_ce_loss.TopKLoss(k=20), image, plane
    yield robust_ce_loss.RobustCrossEntropyLoss(weight=WEIGHT), image, plane
    both = compound_losses.DC_and_CE_loss(
        {**once, "smooth": 1e-5},
        {"weight": WEIGHT},
        weight_ce=0.5,
        ignore_label=0,
        dice_class=dice.MemoryEfficientSoftDiceLoss,
    )
    yield both, image, plane
    yield compound_losses.DC_and_topk_loss({"smooth": 1e-5}, {"k": 20}), image, plane
    yield compound_losses.DC_and_BCE_loss({}, {"smooth": 1e-5}), image, b.hot


def optax_losses() -> Iterator[tuple[Any, Any, Any]]:
    """Yield the same for optax, which reduces nothing (or little)."""
    import jax
    import optax

    b = Batches()
    z, y, p, k, s, hot = (
        jax.numpy.asarray(a.numpy())
        for a in (b.logits, b.yes, b.shares, b.inside, b.signs, b.hot.movedim(1, -1))
    )
    logs, rows = jax.nn.log_softmax(z), jax.nn.softmax(p)
    bind = functools.partial
    yield optax.softmax_cross_entropy_with_integer_labels, z, k
    yield optax.softmax_cross_entropy, z, rows
    yield optax.safe_softmax_cross_entropy, z, rows
    yield bind(optax.losses.poly_loss_cross_entropy, epsilon=1.0), z, rows
    yield optax.sigmoid_binary_cross_entropy, z, y
    yield bind(optax.sigmoid_focal_loss, alpha=0.3), z, y
    yield optax.squared_error, z, y
    yield optax.l2_loss, z, None
    yield bind(optax.huber_loss, delta=0.3), z, y
    yield optax.log_cosh, z, y
    yield optax.hinge_loss, z, s
    yield optax.losses.perceptron_loss, z, s
    yield optax.losses.sparsemax_loss, z, y
    yield optax.losses.multiclass_hinge_loss, z, k
    yield optax.losses.multiclass_perceptron_loss, z, k
    yield optax.losses.multiclass_sparsemax_loss, z, k
    yield optax.kl_divergence, logs, rows
    yield optax.losses.kl_divergence_with_log_targets, logs, jax.numpy.log(rows)
    yield optax.convex_kl_divergence, logs, rows
    yield optax.losses.generalized_kl_divergence, logs, rows
    yield bind(optax.cosine_distance, epsilon=1e-6), z, p
    yield optax.cosine_similarity, z, p
    yield optax.losses.ntxent, z, k
    yield optax.losses.triplet_margin_loss, (z, p, y), None
    yield bind(optax.losses.dice_loss, smooth=0.5), hot, hot
    yield optax.losses.binary_dice_loss, hot[..., 0], hot[..., 1]
    yield optax.losses.multiclass_generalized_dice_loss, hot, hot
