# SPDX-License-Identifier: Apache-2.0
"""The losses of `torch.nn` 2.13 as presets, and torchvision's focal loss.

Not among them: CTCLoss, AdaptiveLogSoftmaxWithLoss, LinearCrossEntropyLoss and
TripletMarginWithDistanceLoss. The deprecated options `size_average` and `reduce` are no
options here.
"""

from lossledger.presets._torch_binary import (
    BCELoss,
    BCEWithLogitsLoss,
    MultiLabelSoftMarginLoss,
    SoftMarginLoss,
    sigmoid_focal_loss,
)
from lossledger.presets._torch_pairs import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    MarginRankingLoss,
    TripletMarginLoss,
)
from lossledger.presets._torch_residuals import (
    GaussianNLLLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    PoissonNLLLoss,
    SmoothL1Loss,
)
from lossledger.presets._torch_rows import (
    CrossEntropyLoss,
    MultiLabelMarginLoss,
    MultiMarginLoss,
    NLLLoss,
)

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "sigmoid_focal_loss",
]
