"""Networks to use moment exchange with, as NNX modules with channels last.

Each is called as `network(x, plan=None)`; `network.stem(x)` are the features that moments are exchanged on and
`network.rest(h)` the logits from there. `train()` and `eval()` switch batch statistics, dropout and the exchange.
"""

from offprint.moex.models._blocks import BatchNorm
from offprint.moex.models._cifar_resnet import CifarResNet
from offprint.moex.models._densenet import DenseNet
from offprint.moex.models._pointnet import PointNet2, ball_query, farthest_point_sampling
from offprint.moex.models._pyramidnet import PyramidNet
from offprint.moex.models._resnet import ResNet, resnet18, resnet50
from offprint.moex.models._wide_resnet import WideResNet

__all__ = [
    "BatchNorm",
    "CifarResNet",
    "DenseNet",
    "PointNet2",
    "PyramidNet",
    "ResNet",
    "WideResNet",
    "ball_query",
    "farthest_point_sampling",
    "resnet18",
    "resnet50",
]
