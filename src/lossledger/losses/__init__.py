# SPDX-License-Identifier: Apache-2.0
"""The catalogue: outputs and targets to one value per element, or to sums over axes."""

from lossledger.losses._adapters import Elementwise
from lossledger.losses._base import (
    AbstractLoss,
    AbstractOverlapLoss,
    AbstractShards,
    Facts,
    Inputs,
    Loss,
    Met,
)
from lossledger.losses.boundary import Boundary
from lossledger.losses.circle import Circle
from lossledger.losses.clamped import ClampedBinaryCrossEntropy
from lossledger.losses.classification import BinaryCrossEntropy, CrossEntropy
from lossledger.losses.contrast import NTXent, SmoothTriplet
from lossledger.losses.cosine import CosineSimilarity
from lossledger.losses.differences import InnerProduct, PairwiseSquaredError, Values
from lossledger.losses.distribution import (
    Brier,
    Entropy,
    GeneralizedCrossEntropy,
    JensenShannon,
    KLDivergence,
    ReverseKL,
)
from lossledger.losses.experts import LoadBalance
from lossledger.losses.fenchel import FenchelYoung
from lossledger.losses.focal import Asymmetric, Focal, Poly1, QualityFocal
from lossledger.losses.focal_product import ProductFocal
from lossledger.losses.focal_soft import ClassFocal, ScaledCrossEntropy
from lossledger.losses.focal_sums import NormalizedFocal
from lossledger.losses.hinges import (
    HingeEmbedding,
    MarginRanking,
    MultilabelMargin,
    MultiMargin,
)
from lossledger.losses.label_entropy import LabelCrossEntropy
from lossledger.losses.labels import Foreground, OneHot, OneHotSums
from lossledger.losses.likelihood import NegativeLogLikelihood, PointwiseKL
from lossledger.losses.log_divergence import GeneralizedKL
from lossledger.losses.logit_steps import Log, Logit
from lossledger.losses.margin import LDAM, Hinge, LogitAdjusted, MulticlassHinge, SquaredHinge
from lossledger.losses.overlap import Dice, Jaccard
from lossledger.losses.overlap_balanced import BalancedDice
from lossledger.losses.overlap_clipped import ClippedTversky, MeanTverskyPower
from lossledger.losses.overlap_matthews import Matthews
from lossledger.losses.overlap_pooled import GeneralizedDice
from lossledger.losses.overlap_ratios import FocalTversky, LogDice, Tversky
from lossledger.losses.pairwise import CosineEmbedding, InfoNCE, PairwiseLogistic, TripletMargin
from lossledger.losses.perceptron import MulticlassPerceptron, Perceptron
from lossledger.losses.probabilistic import GaussianKL, GaussianNLL, LaplaceNLL, PoissonNLL
from lossledger.losses.probabilities import (
    FocalLogLoss,
    FocalProbabilities,
    LogLoss,
    RelativeEntropy,
)
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
from lossledger.losses.signed import CategoricalHinge, SignedHinge, Signs
from lossledger.losses.sparse import BinarySparsemax, Sparsemax
from lossledger.losses.steps import (
    Affine,
    Clip,
    Mapped,
    Normalize,
    Sigmoid,
    Smooth,
    Softmax,
)
from lossledger.losses.subset import Fill, SubsetCrossEntropy
from lossledger.losses.sums import FromSums

__all__ = [
    "LDAM",
    "AbsoluteError",
    "AbsolutePercentageError",
    "AbstractLoss",
    "AbstractOverlapLoss",
    "AbstractShards",
    "Affine",
    "Asymmetric",
    "BalancedDice",
    "BinaryCrossEntropy",
    "BinarySparsemax",
    "Boundary",
    "Brier",
    "CategoricalHinge",
    "Charbonnier",
    "Circle",
    "ClampedBinaryCrossEntropy",
    "ClassFocal",
    "Clip",
    "ClippedTversky",
    "CosineEmbedding",
    "CosineSimilarity",
    "CrossEntropy",
    "Dice",
    "Elementwise",
    "Entropy",
    "Facts",
    "FenchelYoung",
    "Fill",
    "Focal",
    "FocalLogLoss",
    "FocalProbabilities",
    "FocalTversky",
    "Foreground",
    "FromSums",
    "GaussianKL",
    "GaussianNLL",
    "GeneralizedCrossEntropy",
    "GeneralizedDice",
    "GeneralizedKL",
    "Hinge",
    "HingeEmbedding",
    "Huber",
    "InfoNCE",
    "InnerProduct",
    "Inputs",
    "Jaccard",
    "JensenShannon",
    "KLDivergence",
    "LabelCrossEntropy",
    "LaplaceNLL",
    "LoadBalance",
    "Log",
    "LogCosh",
    "LogDice",
    "LogLoss",
    "Logit",
    "LogitAdjusted",
    "Loss",
    "Mapped",
    "MarginRanking",
    "Matthews",
    "MeanTverskyPower",
    "Met",
    "MultiMargin",
    "MulticlassHinge",
    "MulticlassPerceptron",
    "MultilabelMargin",
    "NTXent",
    "NegativeLogLikelihood",
    "Normalize",
    "NormalizedFocal",
    "OneHot",
    "OneHotSums",
    "PairwiseLogistic",
    "PairwiseSquaredError",
    "Perceptron",
    "PointwiseKL",
    "PoissonNLL",
    "Poly1",
    "ProductFocal",
    "QualityFocal",
    "Quantile",
    "RelativeEntropy",
    "ReverseKL",
    "ScaledCrossEntropy",
    "Sigmoid",
    "SignedHinge",
    "Signs",
    "Smooth",
    "SmoothL1",
    "SmoothTriplet",
    "Softmax",
    "Sparsemax",
    "SquaredError",
    "SquaredHinge",
    "SquaredLogError",
    "SubsetCrossEntropy",
    "TripletMargin",
    "Tversky",
    "Values",
]
