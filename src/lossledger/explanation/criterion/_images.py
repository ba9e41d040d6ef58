# SPDX-License-Identifier: Apache-2.0
"""The losses of MONAI, segmentation_models_pytorch and nnU-Net, recognized by their types."""

import sys
from dataclasses import fields
from typing import Any

from lossledger._typing import Array, Mapping
from lossledger.explanation.criterion._known import Found, Known, Unknown, build, spelling
from lossledger.explanation.criterion._torch import held
from lossledger.presets import monai, nnunet, smp

MONAI_UNKNOWN: dict[str, str] = {
    "AUCMLoss": "it has variables of its own that are trained",
    "AsymmetricUnifiedFocalLoss": "it has no preset yet",
    "BarlowTwinsLoss": "it compares two batches of embeddings",
    "BendingEnergyLoss": "it is a penalty on a displacement field",
    "BoundaryLoss": "it makes distance maps of the targets",
    "BoxGIoULoss": "it compares boxes",
    "ContrastiveLoss": "it compares two batches of embeddings",
    "DeepSupervisionLoss": "it wraps another loss and reads a list of outputs",
    "DiffusionLoss": "it is a penalty on a displacement field",
    "GeneralizedWassersteinDiceLoss": "it has no preset yet",
    "GlobalMutualInformationLoss": "it is made of a histogram of both images",
    "HausdorffDTLoss": "it makes distance maps of outputs and targets",
    "JukeboxLoss": "it compares spectra",
    "LocalNormalizedCrossCorrelationLoss": "it correlates windows of two images",
    "LogHausdorffDTLoss": "it makes distance maps of outputs and targets",
    "MCCLoss": "it has no preset yet",
    "MaskedLoss": "it wraps another loss",
    "MultiScaleLoss": "it wraps another loss",
    "NACLLoss": "it smooths labels by their neighborhood",
    "PatchAdversarialLoss": "it scores a discriminator",
    "PerceptualLoss": "it runs a network of its own",
    "SSIMLoss": "it compares windows of two images",
    "SURELoss": "it calls the network itself",
    "SoftDiceclDiceLoss": "it makes skeletons of outputs and targets",
    "SoftclDiceLoss": "it makes skeletons of outputs and targets",
}
"""Losses of monai.losses without a preset, and why."""

SMP_UNKNOWN: dict[str, str] = {"LovaszLoss": "it sorts the errors of every class"}
NNUNET_UNKNOWN: dict[str, str] = {
    "DeepSupervisionWrapper": "it wraps another loss and reads lists of outputs and targets"
}
_MASKED = ("MaskedDiceLoss", "SoftDiceLoss", "MemoryEfficientSoftDiceLoss")
"""Losses that take a mask when they are called."""

NNUNET: dict[str, str] = {
    "SoftDiceLoss": "dice", "MemoryEfficientSoftDiceLoss": "dice",
    "RobustCrossEntropyLoss": "robust_ce_loss", "TopKLoss": "robust_ce_loss",
    "DC_and_CE_loss": "compound_losses", "DC_and_BCE_loss": "compound_losses",
    "DC_and_topk_loss": "compound_losses", "DeepSupervisionWrapper": "deep_supervision",
}  # fmt: skip
"""Classes of nnU-Net, and their modules in nnunetv2.training.loss."""


def recognize(thing: Any) -> Found | None:
    """Return what a loss of one of the three libraries is; None if it is none of theirs."""
    root = type(thing).__module__.partition(".")[0]
    reader = {"monai": _monai, "segmentation_models_pytorch": _smp, "nnunetv2": _nnunet}.get(root)
    return None if reader is None else reader(thing, type(thing).__name__)


def _monai(thing: Any, name: str) -> Found | None:
    library = sys.modules["monai"]
    if getattr(library.losses, name, None) is not type(thing):
        return None
    if name in MONAI_UNKNOWN:
        return Unknown(f"monai.losses.{name} has no preset: {MONAI_UNKNOWN[name]}")
    kind = getattr(monai, name)
    options = _monai_sum(thing, kind) if hasattr(thing, "lambda_dice") else {}
    if hasattr(thing, "lambda_gdl"):
        options = _monai_sum(thing, kind)
    options = options or _monai_options(thing, kind)
    return _found(thing, kind, options, f"MONAI {library.__version__}")


def _monai_options(thing: Any, kind: type[Any]) -> dict[str, Any]:
    """Read a loss's attributes; those that it keeps under another name too."""
    names = {"weight": "class_weight"}
    before = type(thing).__name__ == "MaskedDiceLoss"
    found = {}
    for name in (f.name for f in fields(kind)):
        own = names.get(name, name)
        own = f"pre_{own}" if before and own in ("sigmoid", "softmax", "other_act") else own
        if hasattr(thing, own):
            found[name] = getattr(thing, own)
    if hasattr(found.get("w_type"), "value"):
        found["w_type"] = found["w_type"].value
    return found


def _monai_sum(thing: Any, kind: type[Any]) -> dict[str, Any]:
    """Read a sum's options from its parts."""
    parts = {
        "dice": monai.DiceLoss,
        "focal": monai.FocalLoss,
        "generalized_dice": monai.GeneralizedDiceLoss,
    }
    own = {f.name for f in fields(kind)}
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if hasattr(thing, name):
            options = _monai_options(getattr(thing, name), part)
            found = options | found
    found["reduction"] = thing.reduction
    found["weight"] = None
    if hasattr(thing, "cross_entropy"):
        found["weight"] = thing.cross_entropy.weight
        found["label_smoothing"] = thing.cross_entropy.label_smoothing
    if hasattr(thing, "focal"):
        found["weight"] = thing.focal.class_weight
    for name in ("lambda_dice", "lambda_ce", "lambda_focal", "lambda_gdl", "to_onehot_y"):
        if hasattr(thing, name):
            found[name] = getattr(thing, name)
    return {n: v for n, v in found.items() if n in own}


def _smp(thing: Any, name: str) -> Found | None:
    library = sys.modules["segmentation_models_pytorch"]
    if getattr(library.losses, name, None) is not type(thing):
        return None
    if name in SMP_UNKNOWN:
        reason = SMP_UNKNOWN[name]
        return Unknown(f"segmentation_models_pytorch.losses.{name} has no preset: {reason}")
    kind = getattr(smp, name)
    inner = getattr(thing, "focal_loss_fn", None)
    options = {} if inner is None else dict(inner.keywords)
    options |= {f.name: getattr(thing, f.name) for f in fields(kind) if hasattr(thing, f.name)}
    version = getattr(library, "__version__", "")
    return _found(thing, kind, options, f"segmentation_models_pytorch {version}".rstrip())


def _nnunet(thing: Any, name: str) -> Found | None:
    module = sys.modules.get(f"nnunetv2.training.loss.{NNUNET.get(name, '')}")
    if module is None or getattr(module, name, None) is not type(thing):
        return None
    if name in NNUNET_UNKNOWN:
        return Unknown(f"{name} of nnU-Net has no preset: {NNUNET_UNKNOWN[name]}")
    kind = getattr(nnunet, name)
    options = _attributes(thing, kind)
    if hasattr(thing, "dc"):
        dice = getattr(nnunet, type(thing.dc).__name__)
        options["soft_dice_kwargs"] = _attributes(thing.dc, dice, but=("apply_nonlin",))
        own = "bce_kwargs" if hasattr(thing, "use_ignore_label") else "ce_kwargs"
        options[own] = _entropy(thing.ce)
        if any(f.name == "dice_class" for f in fields(kind)):
            options["dice_class"] = dice
    return _found(thing, kind, options, "nnU-Net")


def _attributes(thing: Any, kind: type[Any], but: tuple[str, ...] = ()) -> dict[str, Any]:
    names = [f.name for f in fields(kind) if f.name not in but]
    return {n: getattr(thing, n) for n in names if hasattr(thing, n)}


def _entropy(thing: Any) -> dict[str, Any]:
    """Return what a cross entropy inside a sum was built with, where it is not the default."""
    defaults = {
        "weight": None, "pos_weight": None, "ignore_index": -100, "label_smoothing": 0.0,
        "k": None, "reduction": "none" if hasattr(thing, "k") else "mean",
    }  # fmt: skip
    found = {n: getattr(thing, n) for n in defaults if hasattr(thing, n)}
    return {n: v for n, v in found.items() if v is not defaults[n] and v != defaults[n]}


def _found(thing: Any, kind: type[Any], options: Mapping[str, Any], framework: str) -> Found:
    preset = build(kind, options)
    if isinstance(preset, str):
        return Unknown(preset)

    def call(outputs: tuple[Array, ...], targets: Array, _: Array, mask: Array) -> Array:
        return thing(*outputs, targets) if mask is None else thing(*outputs, targets, mask)

    masked = type(thing).__name__ in _MASKED
    takes = ("mask",) if masked else ()
    return Known(preset, spelling(preset), framework, "torch", call, held(thing), takes)
