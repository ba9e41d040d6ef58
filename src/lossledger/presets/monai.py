# SPDX-License-Identifier: Apache-2.0
"""The losses of MONAI 1.6 as presets: class axis second."""

from lossledger.presets._monai_losses import (
    DiceLoss,
    FocalLoss,
    GeneralizedDiceLoss,
    MaskedDiceLoss,
    TverskyLoss,
)
from lossledger.presets._monai_sums import DiceCELoss, DiceFocalLoss, GeneralizedDiceFocalLoss

__all__ = [
    "DiceCELoss",
    "DiceFocalLoss",
    "DiceLoss",
    "FocalLoss",
    "GeneralizedDiceFocalLoss",
    "GeneralizedDiceLoss",
    "MaskedDiceLoss",
    "TverskyLoss",
]
