"""The networks that come from PyTorch alone, ConvNeXt and the vision transformers, filled by the names of parameters.

Each layout (timm's, the authors', Hugging Face's) is first brought to timm's names, by a few replacements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from common.backbones.convert.values import ANOTHER, fill, of_classifier
from common.files.errors import UserError

CONVNEXT = (
    (r"^visual\.trunk\.|^convnext\.", ""), (r"^visual\.head\.proj\.", "head.fc."),  # open_clip, Hugging Face
    (r"^embeddings\.patch_embeddings\.", "stem.0."), (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.stages\.(\d+)\.downsampling_layer\.", r"stages.\1.downsample."),
    (r"^encoder\.stages\.(\d+)\.layers\.", r"stages.\1.blocks."), (r"(blocks\.\d+\.)layernorm\.", r"\1norm."),
    (r"layer_scale_parameter$", "gamma"), (r"^(layer)?norm\.", "head.norm."), (r"^classifier\.", "head.fc."),
    (r"^downsample_layers\.0\.", "stem."), (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),  # the authors'
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."), (r"^head\.(weight|bias)$", r"head.fc.\1"),
    (r"\.dwconv\.", ".conv_dw."), (r"\.pwconv(\d)\.", r".mlp.fc\1."),
)  # fmt: skip
VIT = (
    (r"^visual\.trunk\.|^visual\.|^dinov2(_with_registers)?\.|^vision_model\.|^base_model\.", ""),
    (r"^embeddings\.", ""), (r"^patch_embeddings\.projection\.", "patch_embed.proj."),  # Hugging Face's DINOv2
    (r"^position_embeddings$", "pos_embed"), (r"^encoder\.layers?\.", "blocks."),
    (r"\.attention\.attention\.(q|k|v)\w+\.", r".attn.\1."), (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"), (r"^layernorm\.", "norm."),
    (r"^class_embedding$", "cls_token"), (r"^position_embedding\.weight$", "pos_embed"),  # Hugging Face's CLIP
    (r"^patch_embedding\.", "patch_embed.proj."), (r"^pre_layrnorm\.", "norm_pre."), (r"^post_layernorm\.", "norm."),
    (r"\.(self_attn|attention)\.(q|k|v)_proj\.", r".attn.\2."),
    (r"\.(self_attn\.out|attention\.o)_proj\.", ".attn.proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."), (r"^visual_projection\.|^head\.proj\.|^classifier\.", "head."),
    (r"^positional_embedding$", "pos_embed"), (r"^conv1\.", "patch_embed.proj."), (r"^ln_pre\.", "norm_pre."),  # CLIP's
    (r"^ln_post\.", "norm."), (r"^transformer\.resblocks\.", "blocks."), (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."), (r"\.attn\.out_proj\.", ".attn.proj."), (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."), (r"^register_tokens$", "reg_token"),  # the last one DINOv2's
)  # fmt: skip
UNUSED = re.compile(r"mask_token$|position_ids$|^(text_model|text_projection|logit_scale)\b")  # in DINOv2 and CLIP


def fill_convnext(net, arrays: dict[str, np.ndarray], classifier: bool = True) -> None:
    """Fill a ConvNeXt from timm's, Hugging Face's or the authors' parameters.

    Parameters
    ----------
    net : common.backbones.architectures.convnext.ConvNeXt
    arrays : dict of str to array
        What `common.backbones.convert.torch.read_torch` gave.
    classifier : bool
        False: they may have another classifier or none, and the network's stays empty.

    Raises
    ------
    UserError
        They belong to another network.
    """
    arrays, called = _renamed(arrays, CONVNEXT)

    def place(name):
        name = re.sub(r"^stem\.", "features.0.", name)
        name = re.sub(r"^stages\.(\d+)\.downsample\.", lambda m: f"features.{int(m[1]) + 1}.", name)
        after = r"^stages\.(\d+)\.blocks\.(\d+)\."  # the second stage and those after it begin with two other layers
        name = re.sub(after, lambda m: f"features.{int(m[1]) + 1}.{int(m[2]) + 2 * (m[1] != '0')}.", name)
        return name.replace("head.norm.", f"features.{len(net.features) - 1}.").replace("head.fc.", "output.")

    _fill(net, {place(name): a for name, a in arrays.items()}, {place(n): f for n, f in called.items()}, classifier)


def fill_vit(net, arrays: dict[str, np.ndarray], classifier: bool = True) -> None:
    """Fill a vision transformer from timm's, Hugging Face's, DINOv2's, OpenAI's or open_clip's parameters.

    Parameters
    ----------
    net : common.backbones.architectures.vit.VisionTransformer
    arrays : dict of str to array
        What `common.backbones.convert.torch.read_torch` gave.
    classifier : bool
        False: they may have another classifier or none, and the network's stays empty.

    Raises
    ------
    UserError
        They belong to another network.
    """
    if any(name.startswith("visual.") for name in arrays):  # of CLIP the image tower
        arrays = {name: array for name, array in arrays.items() if name.startswith("visual.")}
    arrays, called = _renamed(arrays, VIT)
    arrays = _one_qkv(arrays, called)
    if "proj" in arrays:  # OpenAI's, turned round
        arrays["head.weight"], called["head.weight"] = arrays.pop("proj").T, "proj"
    if "head.weight" in arrays and "head.bias" not in arrays:
        arrays["head.bias"] = np.zeros(len(arrays["head.weight"]), np.float32)
    if "cls_token" in arrays and "pos_embed" in arrays:
        arrays.update(_tokens(arrays, called))

    def place(name):
        name = re.sub(r"^patch_embed\.", "features.0.", name).replace("norm_pre.", "features.0.norm.")
        name = re.sub(r"^blocks\.(?:\d+\.)?(\d+)\.", lambda m: f"features.{int(m[1]) + 1}.", name)
        name = re.sub(r"^norm\.", f"features.{len(net.features) - 2}.", name)
        return re.sub(r"^head\.", "output.", re.sub(r"\.(ls\d)\.gamma$", r".\1", name))

    arrays, called = {place(name): a for name, a in arrays.items()}, {place(n): f for n, f in called.items()}
    _fill(net, net.fitted(arrays), called, classifier)


def _renamed(arrays, rules: Iterable[tuple[str, str]]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by timm's names, and what the file calls each."""
    found, called = {}, {}
    for theirs, array in arrays.items():
        if UNUSED.search(theirs):
            continue
        name = theirs
        for pattern, put in rules:
            name = re.sub(pattern, put, name)
        found[name], called[name] = array, theirs
    return found, called


def _one_qkv(arrays: dict[str, np.ndarray], called: dict[str, str]) -> dict[str, np.ndarray]:
    """Queries, keys and values in one layer, where the file has one for each."""
    found = {}
    for name, array in arrays.items():
        part = re.fullmatch(r"(.*\.attn\.)([qkv])(\.\w+)", name)
        if not part:
            found[name] = array
        elif part[2] == "q":
            whole, three = part[1] + "qkv" + part[3], [part[1] + letter + part[3] for letter in "qkv"]
            missing = next((one for one in three if one not in arrays), None)
            if missing:
                raise UserError(f"the file has no {missing}, which goes with {called[name]}: it was cut")
            found[whole], called[whole] = np.concatenate([arrays[one] for one in three]), called[name]
    return found


def _tokens(arrays: dict[str, np.ndarray], called: dict[str, str]) -> dict[str, np.ndarray]:
    """What stands before the patches, with its position, and the patches' positions."""
    tokens = arrays.pop("cls_token").reshape(1, 1, -1).astype(np.float32)
    positions = arrays.pop("pos_embed").astype(np.float32)
    positions = positions.reshape(1, *positions.shape[-2:])
    if round((positions.shape[1] - 1) ** 0.5) ** 2 == positions.shape[1] - 1:  # the first is the class token's
        tokens, positions = tokens + positions[:, :1], positions[:, 1:]
    if "reg_token" in arrays:
        tokens = np.concatenate([tokens, arrays.pop("reg_token").reshape(1, -1, tokens.shape[2])], axis=1)
    prefix = "patch_embed."
    called.update({f"{prefix}prefix_tokens": called["cls_token"], f"{prefix}positions": called["pos_embed"]})
    return {f"{prefix}prefix_tokens": tokens, f"{prefix}positions": positions}


def _fill(net, arrays: dict[str, np.ndarray], called: dict[str, str], classifier: bool) -> None:
    """Fill `net` from arrays by its own names, but for those of norms, which Gluon calls gamma and beta."""
    parameters, head = net._collect_params_with_prefix(), of_classifier(net)
    norms = {name: re.sub("weight$", "gamma", re.sub("bias$", "beta", name)) for name in arrays}
    own = {name: name if name in parameters else norms[name] for name in arrays}
    arrays, called = {own[n]: a for n, a in arrays.items()}, {own[n]: called.get(n, n) for n in arrays}
    more = next((name for name in arrays if name not in parameters and not name.startswith("output.")), None)
    if more:
        raise UserError(f"the file has {called[more]}, {arrays[more].shape}, which the network has not; {ANOTHER}")
    if classifier and head and head[0] not in arrays:
        raise UserError("the file has no classifier, only the layers before it")
    fill(net, arrays, () if classifier else head, called)
