# SPDX-License-Identifier: Apache-2.0
"""The catalogue: outputs and targets to one value per element, or to sums over axes."""

from lossledger.losses._adapters import Elementwise
from lossledger.losses._base import AbstractLoss, AbstractOverlapLoss, Facts, Inputs, Loss
from lossledger.losses.boundary import Boundary
from lossledger.losses.classification import BinaryCrossEntropy, CrossEntropy
from lossledger.losses.cosine import CosineSimilarity
from lossledger.losses.distribution import (
    Brier,
    Entropy,
    GeneralizedCrossEntropy,
    JensenShannon,
    KLDivergence,
    ReverseKL,
)
from lossledger.losses.experts import LoadBalance
from lossledger.losses.focal import Asymmetric, Focal, Poly1, QualityFocal
from lossledger.losses.margin import LDAM, Hinge, LogitAdjusted, MulticlassHinge, SquaredHinge
from lossledger.losses.overlap import Dice, Jaccard
from lossledger.losses.overlap_pooled import GeneralizedDice
from lossledger.losses.overlap_ratios import FocalTversky, LogDice, Tversky
from lossledger.losses.pairwise import CosineEmbedding, InfoNCE, PairwiseLogistic, TripletMargin
from lossledger.losses.probabilistic import GaussianKL, GaussianNLL, LaplaceNLL, PoissonNLL
from lossledger.losses.regression import (
    AbsoluteError,
    Charbonnier,
    Huber,
    LogCosh,
    Quantile,
    SmoothL1,
    SquaredError,
)
from lossledger.losses.relative import AbsolutePercentageError, SquaredLogError
from lossledger.losses.steps import Affine, Clip, Mapped, Normalize, Sigmoid, Softmax
from lossledger.losses.sums import FromSums

__all__ = [
    "LDAM",
    "AbsoluteError",
    "AbsolutePercentageError",
    "AbstractLoss",
    "AbstractOverlapLoss",
    "Affine",
    "Asymmetric",
    "BinaryCrossEntropy",
    "Boundary",
    "Brier",
    "Charbonnier",
    "Clip",
    "CosineEmbedding",
    "CosineSimilarity",
    "CrossEntropy",
    "Dice",
    "Elementwise",
    "Entropy",
    "Facts",
    "Focal",
    "FocalTversky",
    "FromSums",
    "GaussianKL",
    "GaussianNLL",
    "GeneralizedCrossEntropy",
    "GeneralizedDice",
    "Hinge",
    "Huber",
    "InfoNCE",
    "Inputs",
    "Jaccard",
    "JensenShannon",
    "KLDivergence",
    "LaplaceNLL",
    "LoadBalance",
    "LogCosh",
    "LogDice",
    "LogitAdjusted",
    "Loss",
    "Mapped",
    "MulticlassHinge",
    "Normalize",
    "PairwiseLogistic",
    "PoissonNLL",
    "Poly1",
    "QualityFocal",
    "Quantile",
    "ReverseKL",
    "Sigmoid",
    "SmoothL1",
    "Softmax",
    "SquaredError",
    "SquaredHinge",
    "SquaredLogError",
    "TripletMargin",
    "Tversky",
]
