"""Hugging Face architectures on images."""

from __future__ import annotations

import random
from typing import Any

from compiler.workloads.draw import multiple
from compiler.workloads.hf_text import Arch, Drawn, Fields, sizes, transformer


def _patches(stem: str, model: str = "", extra_tokens: int = 1, **more: Any) -> Arch:
    """A transformer over patches."""

    def draw(rng: random.Random) -> Drawn:
        patch = rng.choice([8, 14, 16, 16, 32])
        side = patch * rng.randint(max(3, 64 // patch), max(4, 224 // patch))
        s = sizes(rng, length=(side // patch) ** 2 + extra_tokens)
        fields = transformer(s) | {"image_size": side, "patch_size": patch, "mlp_ratio": rng.choice([2, 3, 4])}
        return fields | {"num_channels": 3} | more, (s.batch, 3, side, side)

    return Arch(f"{stem}Config", model or f"{stem}Model", draw)


def _stages(stem: str, low: int, high: int, step: int = 8, count: int = 4, **more: Any) -> Arch:
    """Stages that halve the image and widen by a drawn factor, from `low` to `high` channels; one block each."""

    def draw(rng: random.Random) -> Drawn:
        batch, side = rng.choice([(1, 224), (1, 192), (1, 160), (1, 128), (2, 128), (1, 96), (4, 96), (2, 64), (8, 64)])
        widths = [multiple(rng, step, low, high)]
        while len(widths) < count:
            widths.append(multiple(rng, step, int(1.5 * widths[-1]), 2 * widths[-1]))
        fields: Fields = {
            "hidden_sizes": widths,
            "embedding_size": widths[0],
            "depths": [2] + [1] * (count - 1),
            "image_size": side,
            "num_channels": 3,
            "drop_path_rate": 0.0,
        }
        return fields | {k: v(widths) if callable(v) else v for k, v in more.items()}, (batch, 3, side, side)

    return Arch(f"{stem}Config", f"{stem}Model", draw)


def _swin(stem: str) -> Arch:
    def draw(rng: random.Random) -> Drawn:
        window, width = rng.choice([4, 7, 8]), multiple(rng, 16, 32, 96)
        side = 4 * window * rng.choice([4, 8] if window < 7 else [4])
        fields: Fields = {
            "image_size": side,
            "patch_size": 4,
            "embed_dim": width,
            "depths": [2, 2, 1],
            "num_heads": [width // 16, width // 8, width // 4],
            "window_size": window,
            "mlp_ratio": rng.choice([2.0, 4.0]),
        }
        return fields, (rng.choice([1, 1, 2]), 3, side, side)

    return Arch(f"{stem}Config", f"{stem}Model", draw)


def _scaled(stem: str, field: str, scales: tuple[float, ...], **more: Any) -> Arch:
    """A fixed plan of layers whose widths are scaled by one number."""

    def draw(rng: random.Random) -> Drawn:
        batch, side = rng.choice([(1, 224), (1, 160), (1, 128), (2, 96), (4, 64)])
        return {field: rng.choice(scales), "image_size": side} | more, (batch, 3, side, side)

    return Arch(f"{stem}Config", f"{stem}Model", draw)


def _cvt(rng: random.Random) -> Drawn:
    width = multiple(rng, 16, 32, 64)
    side = rng.choice([64, 96, 128, 160])
    fields: Fields = {
        "embed_dim": [width, 2 * width, 4 * width],
        "num_heads": [width // 16, width // 8, width // 8],
        "depth": [1, 2, 3],
        "drop_path_rate": [0.0, 0.0, 0.0],
    }
    return fields, (rng.choice([1, 1, 2]), 3, side, side)


def _efficientnet(rng: random.Random) -> Drawn:
    width, side = rng.choice([0.4, 0.5, 0.75, 1.0]), rng.choice([64, 96, 128, 160, 224])
    fields: Fields = {
        "width_coefficient": width,
        "depth_coefficient": 0.4,
        "hidden_dim": int(1280 * width),
        "image_size": side,
    }
    return fields, (rng.choice([1, 1, 2]), 3, side, side)


def _hgnet(rng: random.Random) -> Drawn:
    width = multiple(rng, 8, 16, 48)
    widths = [width * 2**k for k in range(5)]
    side = rng.choice([64, 96, 128, 160, 224])
    fields: Fields = {
        "embedding_size": width,
        "hidden_sizes": widths[1:],
        "depths": [1, 1, 1, 1],
        "stem_channels": [3, 16, width],
        "stage_in_channels": widths[:4],
        "stage_mid_channels": [width] * 4,
        "stage_out_channels": widths[1:],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [2, 2, 3, 2],
    }
    return fields, (rng.choice([1, 1, 2]), 3, side, side)


_PVT: Fields = {
    "hidden_sizes": [32, 64, 160, 256],
    "num_attention_heads": [1, 2, 5, 8],
    "depths": [1, 1, 1, 1],
}
ARCHITECTURES: dict[str, Arch] = {
    "beit": _patches("Beit"),
    "bit": _stages("Bit", 32, 64, 32, embedding_size=32, num_groups=8),
    "clip-vision": _patches("CLIPVision", "CLIPVisionModel"),
    "convnext": _stages("ConvNext", 24, 96),
    "convnextv2": _stages("ConvNextV2", 24, 96),
    "cvt": Arch("CvtConfig", "CvtModel", _cvt),
    "deit": _patches("DeiT", extra_tokens=2),
    "dinov2": _patches("Dinov2"),
    "efficientnet": Arch("EfficientNetConfig", "EfficientNetModel", _efficientnet),
    "hgnet-v2": Arch("HGNetV2Config", "HGNetV2Backbone", _hgnet),
    "levit": _scaled("Levit", "patch_size", (16,), depths=[1, 1, 1]),
    "mobilenet-v1": _scaled("MobileNetV1", "depth_multiplier", (0.25, 0.5, 0.6, 0.75, 1.0)),
    "mobilenet-v2": _scaled("MobileNetV2", "depth_multiplier", (0.35, 0.5, 0.75, 1.0, 1.3)),
    "mobilevit": _scaled("MobileViT", "expand_ratio", (2.0, 3.0, 4.0)),
    "poolformer": _stages("PoolFormer", 24, 64, strides=[4, 2, 2, 2]),
    "pvt": _scaled("Pvt", "mlp_ratio", (2, 4), **_PVT),
    "pvt-v2": _scaled("PvtV2", "mlp_ratio", (2, 4), **_PVT),
    "regnet": _stages("RegNet", 32, 64, 16, groups_width=16),
    "resnet": _stages("ResNet", 16, 64, layer_type="basic"),
    "resnet-bottleneck": _stages("ResNet", 64, 160, 32, layer_type="bottleneck", embedding_size=32),
    "segformer": _stages("Segformer", 32, 32, 32, num_attention_heads=[1, 2, 4, 8]),
    "siglip-vision": _patches("SiglipVision", "SiglipVisionModel", extra_tokens=0),
    "swin": _swin("Swin"),
    "swinv2": _swin("Swinv2"),
    "vit": _patches("ViT"),
}
