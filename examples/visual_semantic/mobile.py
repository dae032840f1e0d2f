"""The model as a telephone takes it: ONNX in float32 and in INT8, with the words of the classes beside it."""

from __future__ import annotations

from pathlib import Path

from common.export import onnx
from common.files.disk import write_array, write_json


def write(net, folder, name: str) -> Path:
    """Write ``NAME.onnx`` (pictures -> unit vectors), ``NAME-words.npy`` and ``NAME.json`` into `folder`.

    The class of a picture is the row of the word matrix (classes, dim) with the largest product with its vector, so a
    telephone learns a class by one more row. ``NAME.json`` says what each row is and what a picture goes through.

    Parameters
    ----------
    net : examples.visual_semantic.model.VisualSemanticNet
    """
    folder, side, metadata = Path(folder), net.metadata["crop"], net.metadata
    path = onnx.write(net.encoder, folder / f"{name}.onnx", (1, side, side, 3))
    write_array(folder / f"{name}-words.npy", net.words)
    write_json(
        folder / f"{name}.json",
        {
            "input": {"name": "data", "shape": ["any", side, side, 3], "values": "uint8 RGB, 0 to 255"},
            "resize": metadata["resize"],
            "crop": side,
            "keep_aspect": metadata["keep_aspect"],
            "interpolation": "averaged over areas where a side shrinks, else bilinear (OpenCV)",
            "output": {"shape": ["any", net.dim], "values": "unit vectors"},
            "words": f"{name}-words.npy",
            "classes": net.class_names,
            "seen": len(net.seen),
            "model": metadata["model"],
            "word_vectors": Path(str(metadata["word_vectors"])).name,
            "word_space": metadata.get("word_space", "raw"),
        },
    )
    return path
