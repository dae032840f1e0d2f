"""The model as a telephone takes it: ONNX in float32 and in INT8, with the words of the classes beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.export import onnx
from common.files.disk import write_array, write_json

TIMED = 50  # pictures, one by one, of which the median time is given


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
            "output": {"shape": ["any", net.dim], "values": "unit vectors"},
            "words": f"{name}-words.npy",
            "classes": net.class_names,
            "seen": len(net.seen),
            "model": metadata["model"],
            "word_vectors": Path(str(metadata["word_vectors"])).name,
        },
    )
    return path


class Session:
    """An ONNX file in onnxruntime, on one thread."""

    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures (n, S, S, 3) uint8 -> vectors (n, dim)."""
        return self.session.run(None, {"data": pictures})[0]

    def embed(self, batches: Iterable) -> np.ndarray:
        """The vectors of all pictures in the batches of a `common.data.loader.Loader`."""
        return np.concatenate([self(batch.images) for batch in batches])

    def milliseconds(self, picture: np.ndarray) -> float:
        """Median time of a single picture (S, S, 3)."""
        times = []
        for _ in range(TIMED):
            began = time.perf_counter()
            self(picture[None])
            times.append(time.perf_counter() - began)
        return 1000 * float(np.median(times))
