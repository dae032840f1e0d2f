"""A small sentence encoder with random values, in the files of a pretrained one."""

import json
from pathlib import Path

import numpy as np

TEXTS = ["a red ball", "a photo of a dog", "blue sky, green sea", "ball", "a dog", "the red dog sees a ball"]


def write_encoder(folder: Path, dim: int = 8, hidden: int = 12, layers: int = 2, heads: int = 2) -> Path:
    """Write ``config.json``, ``tokenizer.json`` and ``model.safetensors``, with the words of `TEXTS`, into `folder`."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    words = sorted({word.strip(",") for text in TEXTS for word in text.split()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ",", "picture", "deep", "orange", "yellow", *words]

    def array(*shape):
        return rng.normal(0, 0.5, shape).astype(np.float32)

    arrays = {
        "embeddings.word_embeddings.weight": array(len(pieces), dim),
        "embeddings.position_embeddings.weight": array(16, dim),
        "embeddings.token_type_embeddings.weight": array(2, dim),
        "pooler.dense.weight": array(dim, dim),
    }
    shapes = {"embeddings.LayerNorm": (dim,)}
    for number in range(layers):
        at = f"encoder.layer.{number}"
        shapes.update({f"{at}.attention.self.{part}": (dim, dim) for part in ("query", "key", "value")})
        shapes.update({f"{at}.attention.output.dense": (dim, dim), f"{at}.attention.output.LayerNorm": (dim,)})
        shapes.update({f"{at}.intermediate.dense": (hidden, dim), f"{at}.output.dense": (dim, hidden)})
        shapes[f"{at}.output.LayerNorm"] = (dim,)
    for name, shape in shapes.items():
        arrays.update({f"{name}.weight": array(*shape), f"{name}.bias": array(shape[0])})
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays, folder / "model.safetensors")
    config = {
        "vocab_size": len(pieces), "hidden_size": dim, "intermediate_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "max_position_embeddings": 16, "hidden_act": "gelu",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    cleaner = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    model = {"type": "WordPiece", "vocab": {piece: number for number, piece in enumerate(pieces)}}
    content = {"normalizer": cleaner, "model": model, "added_tokens": [{"content": "[CLS]"}, {"content": "[SEP]"}]}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder
