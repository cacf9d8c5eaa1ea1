"""moment exchange: data augmentation in feature space for recognition networks"""

from offprint.moex._compose import PRESETS, MixedBatch, Mixing, compose, mix_batch, one_of
from offprint.moex._cutmix import box_mask, cutmix, cutmix_box, cutmix_plan, paste_box
from offprint.moex._cutout import cutout
from offprint.moex._exchange import moment_exchange
from offprint.moex._mixup import ManifoldMixup, mix_features, mixup
from offprint.moex._module import MoEx, apply_plan, wrap
from offprint.moex._moments import inject, moments, normalize
from offprint.moex._norms import NormSpec, parse_norm
from offprint.moex._plan import Box, CutMixPlan, MixPlan, identity_plan, sample_plan, scheduled_probability
from offprint.moex._schedules import cifar300, cosine90, step90
from offprint.moex._targets import dominant_labels, mix_targets, soft_cross_entropy, soft_targets

__all__ = [
    "PRESETS",
    "Box",
    "CutMixPlan",
    "ManifoldMixup",
    "MixPlan",
    "MixedBatch",
    "Mixing",
    "MoEx",
    "NormSpec",
    "apply_plan",
    "box_mask",
    "cifar300",
    "compose",
    "cosine90",
    "cutmix",
    "cutmix_box",
    "cutmix_plan",
    "cutout",
    "dominant_labels",
    "identity_plan",
    "inject",
    "mix_batch",
    "mix_features",
    "mix_targets",
    "mixup",
    "moment_exchange",
    "moments",
    "normalize",
    "one_of",
    "parse_norm",
    "paste_box",
    "sample_plan",
    "scheduled_probability",
    "soft_cross_entropy",
    "soft_targets",
    "step90",
    "wrap",
]
