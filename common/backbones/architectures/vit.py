"""Vision transformers (Dosovitskiy et al. 2021) as DINOv2 (Oquab et al. 2023) and CLIP (Radford et al. 2021) have them.

What comes before the patches, the class token and registers (Darcet et al. 2024), is one parameter here, to which the
position of the class token is added already: `common.backbones.convert.named` adds it.
"""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, nn

from common.backbones.architectures.convnext import Mlp
from common.files.errors import UserError

SMALL = mx.init.Normal(0.02)  # of the tokens and positions that random weights begin with


class Embed(HybridBlock):
    """Pictures -> tokens: a dense layer on each patch, its position added, the class token and registers before them.

    Parameters
    ----------
    side, patch : int
        In pixels.
    dim : int
        Numbers in a token.
    registers : int
    epsilon : float
        Of the norm.
    norm_first : bool
        As CLIP has it: a norm of the tokens, and a dense layer without bias.
    """

    def __init__(self, side: int, patch: int, dim: int, registers: int, epsilon: float, norm_first: bool):
        super().__init__()
        self.grid = side // patch
        with self.name_scope():
            self.proj = nn.Conv2D(dim, patch, patch, use_bias=not norm_first, in_channels=3)
            self.prefix_tokens = self.params.get("prefix_tokens", shape=(1, 1 + registers, dim), init=SMALL)
            self.positions = self.params.get("positions", shape=(1, self.grid**2, dim), init=SMALL)
            self.norm = nn.LayerNorm(epsilon=epsilon, in_channels=dim) if norm_first else None

    def hybrid_forward(self, F, x, prefix_tokens, positions):
        """(n, 3, side, side) -> (n, 1 + registers + patches, dim)."""
        patches = F.transpose(F.reshape(self.proj(x), (0, 0, -1)), (0, 2, 1))
        patches = F.broadcast_add(patches, positions)
        one = F.zeros_like(F.slice_axis(patches, axis=1, begin=0, end=1))
        tokens = F.concat(F.broadcast_add(one, prefix_tokens), patches, dim=1)
        return self.norm(tokens) if self.norm else tokens


class Attention(HybridBlock):
    """Self-attention of several heads.

    Parameters
    ----------
    dim, heads : int
    tokens : int
        How many there are.
    """

    def __init__(self, dim: int, heads: int, tokens: int):
        super().__init__()
        self.heads, self.tokens, self.width = heads, tokens, dim // heads
        with self.name_scope():
            self.qkv = nn.Dense(3 * dim, flatten=False, in_units=dim)
            self.proj = nn.Dense(dim, flatten=False, in_units=dim)

    def hybrid_forward(self, F, x):
        """(n, tokens, dim) -> the same shape."""
        parts = F.split(self.qkv(x), num_outputs=3, axis=2)
        q, k, v = (F.reshape(self._by_head(F, part), (-1, self.tokens, self.width)) for part in parts)
        weights = F.softmax(F.batch_dot(q, k, transpose_b=True) * self.width**-0.5)
        heads = F.reshape(F.batch_dot(weights, v), (-1, self.heads, self.tokens, self.width))
        return self.proj(F.reshape(F.transpose(heads, (0, 2, 1, 3)), (0, 0, -1)))

    def _by_head(self, F, x):
        return F.transpose(F.reshape(x, (0, 0, self.heads, self.width)), (0, 2, 1, 3))


class Block(HybridBlock):
    """Attention and an MLP of four times the width, each after a norm and added to what came in.

    Parameters
    ----------
    dim, heads, tokens : int
    epsilon : float
    layer_scale : bool
        Each channel of what is added has a factor (Touvron et al. 2021).
    quick : bool
        See `common.backbones.architectures.convnext.Mlp`.
    """

    def __init__(self, dim: int, heads: int, tokens: int, epsilon: float, layer_scale: bool, quick: bool):
        super().__init__()
        with self.name_scope():
            self.norm1 = nn.LayerNorm(epsilon=epsilon, in_channels=dim)
            self.attn = Attention(dim, heads, tokens)
            self.norm2 = nn.LayerNorm(epsilon=epsilon, in_channels=dim)
            self.mlp = Mlp(dim, 4 * dim, quick)
            if layer_scale:
                self.ls1 = self.params.get("ls1", shape=(dim,), init=mx.init.Constant(1e-5))
                self.ls2 = self.params.get("ls2", shape=(dim,), init=mx.init.Constant(1e-5))

    def hybrid_forward(self, F, x, ls1=None, ls2=None):
        """(n, tokens, dim) -> the same shape."""
        attended = self.attn(self.norm1(x))
        x = x + (attended if ls1 is None else F.broadcast_mul(attended, ls1))
        changed = self.mlp(self.norm2(x))
        return x + (changed if ls2 is None else F.broadcast_mul(changed, ls2))


class ClassToken(HybridBlock):
    """(n, tokens, dim) -> (n, dim): the first token."""

    pools = True  # the network is cut here

    def hybrid_forward(self, F, x):
        """(n, tokens, dim) -> (n, dim)."""
        return F.reshape(F.slice_axis(x, axis=1, begin=0, end=1), (0, -1))


class PatchMaps(HybridBlock):
    """(n, prefix + grid * grid, dim) -> (n, dim, grid, grid): the patches' tokens where they lie in the picture.

    Parameters
    ----------
    prefix, grid : int
    """

    def __init__(self, prefix: int, grid: int):
        super().__init__()
        self.prefix_, self.grid = prefix, grid

    def hybrid_forward(self, F, x):
        """(n, prefix + grid * grid, dim) -> (n, dim, grid, grid)."""
        patches = F.transpose(F.slice_axis(x, axis=1, begin=self.prefix_, end=None), (0, 2, 1))
        return F.reshape(patches, (0, 0, self.grid, self.grid))


class VisionTransformer(HybridBlock):
    """A vision transformer, as `features` (tokens, twelve blocks, a norm, the class token) and, of CLIP, `output`.

    Parameters
    ----------
    patch : int
        Side of a patch in pixels.
    dim, heads : int
    side : int
        Of the pictures it was trained on, in pixels.
    registers : int
    clip : str
        ``""``: as DINOv2 has it, with LayerScale. ``"gelu"``, ``"quick"``: as CLIP has it, a norm before the blocks,
        and which of the two activations.
    size : int, optional
        Side of the pictures it will see, of which a rest less than a patch is not seen; None: `side`.

    Raises
    ------
    UserError
        The pictures are smaller than a patch.
    """

    def __init__(
        self, patch: int, dim: int, heads: int, side: int, registers: int = 0, clip: str = "", size: int | None = None
    ):  # fmt: skip
        super().__init__()
        side = size or side
        if side < patch:
            raise UserError(f"--image-size {side} is too small: the network sees pictures in patches of {patch}")
        epsilon, grid = 1e-5 if clip else 1e-6, side // patch
        tokens = 1 + registers + grid**2
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            self.features.add(Embed(side, patch, dim, registers, epsilon, bool(clip)))
            for _ in range(12):
                self.features.add(Block(dim, heads, tokens, epsilon, not clip, clip == "quick"))
            self.features.add(nn.LayerNorm(epsilon=epsilon, in_channels=dim), ClassToken())
            self.output = nn.Dense(512, in_units=dim) if clip else None  # to what is compared with a sentence's
        object.__setattr__(self, "as_maps", PatchMaps(1 + registers, grid))

    def hybrid_forward(self, F, x):
        """(n, 3, size, size) -> (n, 512) of CLIP, (n, dim) of others."""
        return self.output(self.features(x)) if self.output else self.features(x)

    def fitted(self, arrays: dict) -> dict:
        """`arrays`, with the positions of another grid of patches interpolated to this network's.

        Parameters
        ----------
        arrays : dict of str to array
            By structural name.
        """
        name, grid = "features.0.positions", self.features[0].grid
        positions = arrays.get(name)
        if positions is None or positions.ndim != 3 or positions.shape[1] == grid**2:
            return arrays
        return {**arrays, name: resampled(np.asarray(positions), grid)}


def resampled(positions: np.ndarray, grid: int) -> np.ndarray:
    """Positions (1, n * n, dim) -> (1, grid * grid, dim), by the bicubic filter that PyTorch and Pillow antialias with.

    Parameters
    ----------
    positions : (1, n * n, dim) array
    grid : int
    """
    count = round(positions.shape[1] ** 0.5)
    if count**2 != positions.shape[1]:
        raise UserError(f"the file's positions are {positions.shape}, of no square of patches")
    matrix = _bicubic(count, grid)
    maps = positions.reshape(count, count, -1).astype(np.float64)
    maps = np.einsum("ia,jb,abd->ijd", matrix, matrix, maps, optimize=True)
    return maps.reshape(1, grid * grid, -1).astype(np.float32)


def _bicubic(old: int, new: int) -> np.ndarray:
    """(new, old): the weights of the old pixels in each new one (Keys 1981, a = -0.5), wider where pixels get fewer."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    x = np.abs(np.arange(old) + 0.5 - centres[:, None]) / max(scale, 1)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)
