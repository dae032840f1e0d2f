#!/usr/bin/env python3
"""Record features of timm's and Hugging Face's networks, for tests/common/backbones/test_timm_features.py.

Runs in the environment of benchmarks/requirements.txt; transformers is needed only for the networks of its own. Weights
come from a formula by name and shape, so that the test can make them again; beside the features, the file holds each
state dict's names and shapes.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
import zlib

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

EVERY = 8  # which of the features are kept
NETWORKS = {  # the suite's name: timm's, and the side of the pictures that are shown
    "mobilenetv2_1.0": ("mobilenetv2_100", 64),
    "resnet50_v1d": ("resnet50d", 64),
    "seresnet50": ("seresnet50", 64),
    "efficientnet_lite0": ("tf_efficientnet_lite0", 75),
    "timm-efficientnet_lite0": ("efficientnet_lite0", 64),
    "convnext_tiny": ("convnext_tiny", 64),
    "convnext_small": ("convnext_small", 64),
    "convnext_base": ("convnext_base", 64),
    "vit_small_patch14_dinov2": ("vit_small_patch14_dinov2", 70),  # of 518: positions of 37 x 37 become 5 x 5
    "vit_base_patch14_dinov2": ("vit_base_patch14_dinov2", 56),
    "vit_small_patch14_reg4_dinov2": ("vit_small_patch14_reg4_dinov2", 56),
    "vit_base_patch14_reg4_dinov2": ("vit_base_patch14_reg4_dinov2", 56),
    "vit_base_patch32_clip_quickgelu_224": ("vit_base_patch32_clip_quickgelu_224", 224),
    "vit_base_patch16_clip_quickgelu_224": ("vit_base_patch16_clip_quickgelu_224", 64),
    "vit_base_patch32_clip_224": ("vit_base_patch32_clip_224", 320),  # 7 x 7 become 10 x 10
    "vit_base_patch16_clip_224": ("vit_base_patch16_clip_224", 64),
}


def weights(name: str, shape) -> np.ndarray:
    """Values for the parameter that a state dict calls `name`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    u = np.asarray(rng.random(shape, np.float32))
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return u + 0.5
    if len(shape) in (2, 4):
        gain = 1 if ".se." in name else 2  # steep sigmoids would magnify what is rounded
        return (u - 0.5) * gain * math.sqrt(6 / max(1, math.prod(shape[1:])))
    return np.asarray((u - 0.5) / 2)  # biases, tokens, positions, LayerScale


def state(shapes: dict) -> dict[str, np.ndarray]:
    """A state dict of these names and shapes."""
    return {name: weights(name, tuple(shape)) for name, shape in shapes.items()}


def two_pictures(side: int) -> np.ndarray:
    """Normalised pictures that features are recorded of: (2, 3, side, side) float32."""
    return np.random.default_rng(side).normal(size=(2, 3, side, side)).astype(np.float32)


def _fill(net) -> dict:
    import torch

    kept = {k: list(v.shape) for k, v in net.state_dict().items() if v.is_floating_point()}
    net.load_state_dict({k: torch.from_numpy(v) for k, v in state(kept).items()}, strict=False)
    return kept


def of_timm(theirs: str, side: int):
    """The names and shapes of a network's state dict, and its features."""
    import timm
    import torch

    shapes = _fill(timm.create_model(theirs).eval())
    sized = {"img_size": side} if theirs.startswith("vit") else {}
    net = timm.create_model(theirs, **sized).eval()
    found = {k: torch.from_numpy(v) for k, v in state(shapes).items()}
    if sized:
        from timm.models.vision_transformer import checkpoint_filter_fn

        found = checkpoint_filter_fn(found, net)
    net.load_state_dict(found, strict=False)
    with torch.no_grad():
        x = torch.from_numpy(two_pictures(side))
        return shapes, net.forward_head(net.forward_features(x), pre_logits=True).numpy()


def of_hugging_face(wanted):
    """Names, shapes and features of transformers' networks that are `wanted`, by the suite's name and the side."""
    sides = {"convnext_tiny": 64, "vit_small_patch14_dinov2": 56, "vit_small_patch14_reg4_dinov2": 56}
    sides["vit_base_patch32_clip_quickgelu_224"] = 224
    if not any(map(wanted, sides)):
        return
    import torch
    import transformers as hf

    dinov2 = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 56, "patch_size": 14}
    clip = hf.CLIPConfig(projection_dim=512)
    made = {
        "convnext_tiny": hf.ConvNextForImageClassification(hf.ConvNextConfig(depths=[3, 3, 9, 3])),
        "vit_small_patch14_dinov2": hf.Dinov2Model(hf.Dinov2Config(**dinov2)),
        "vit_small_patch14_reg4_dinov2": hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**dinov2)),
        "vit_base_patch32_clip_quickgelu_224": hf.CLIPModel(clip),
    }
    for name, net in made.items():
        if not wanted(name):
            continue
        net, x = net.eval(), torch.from_numpy(two_pictures(sides[name]))
        shapes = _fill(net)
        with torch.no_grad():
            tower = getattr(net, "convnext", getattr(net, "vision_model", net))
            yield f"{name}/{sides[name]}", shapes, tower(x).pooler_output.numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help=".npz file to write; what is in it already is kept")
    parser.add_argument("--only", default="", help="of the networks with this in their names")
    args = parser.parse_args()
    from benchmarks.torchvision_parity import torchvision_models

    torchvision_models()
    result = dict(np.load(args.output)) if args.output.exists() else {}

    def wanted(key):
        return args.only in key

    chosen = {f"{ours}/{side}": (theirs, side) for ours, (theirs, side) in NETWORKS.items() if wanted(ours)}
    recorded = ((key, *of_timm(*what)) for key, what in chosen.items())
    for source, found in (("timm", recorded), ("transformers", of_hugging_face(wanted))):
        for key, shapes, features in found:
            key = f"{source}/{key}"
            result[key], result[f"{key}/shapes"] = features[:, ::EVERY], np.array(json.dumps(shapes))
            print(key, features.shape, f"largest {np.abs(features).max():.4g}", flush=True)
            np.savez_compressed(args.output, **result)


if __name__ == "__main__":
    main()
