"""Models of the code of VSE++ (PyTorch): ``model_best.pth.tar`` and ``NAME_vocab.pkl``, read without running any of it.

Both are pickles, and a pickle is a program. Here they may build tensors, dictionaries, plain values and the options'
namespace; anything else that they ask for is refused.
"""

from __future__ import annotations

from pathlib import Path

import mxnet as mx
import numpy as np

from common.backbones.convert import torch
from common.backbones.convert.pickles import RefusingUnpickler
from common.files import outside
from common.files.errors import UserError, reading
from common.text.vocabulary import Vocabulary
from examples.vse import model

REMEDY = "a model_best.pth.tar that the code of VSE++ saved is wanted"
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
RECURRENT = {
    "weight_ih_l0": "i2h_weight", "weight_hh_l0": "h2h_weight", "bias_ih_l0": "i2h_bias", "bias_hh_l0": "h2h_bias",
}  # fmt: skip
PLACES = ("", "vocab", "../vocab", "../../vocab")  # of the vocabulary, as the authors' archives lie


class _Words:
    """Stands for the vocabulary's class: holds what the pickle sets, and has no code."""


class _Vocabulary(RefusingUnpickler):
    allowed = {
        **{(module, "Vocabulary"): _Words for module in ("vocab", "__main__")},
        **{(module, "_reconstructor"): lambda kind, *_: kind() for module in ("copyreg", "copy_reg")},
        **{(module, "object"): object for module in ("builtins", "__builtin__")},
    }


def read_vocabulary(path) -> list[str]:
    """The words of a ``NAME_vocab.pkl`` in the order of their numbers.

    Raises
    ------
    UserError
        It is not there, damaged, or asks for anything but words and numbers.
    """
    with reading(path, "the vocabulary that the code of VSE++ pickled"), open(path, "rb") as file:
        outside.check_pickle(file)
        numbers = getattr(_Vocabulary(file, encoding="utf-8", errors="replace").load(), "word2idx", None)
        if not isinstance(numbers, dict) or not all(isinstance(word, str) for word in numbers):
            raise ValueError("it has no word2idx of words and numbers")
        words = sorted(numbers, key=numbers.get)
        if [numbers[word] for word in words] != list(range(len(words))) or not set(SPECIAL) <= set(words):
            raise ValueError(f"its words are not numbered from 0, with {', '.join(SPECIAL)} among them")
        return words


def load(path, ctx=None) -> model.VSE:
    """The model in ``NAME.pth.tar``, ready to encode.

    Its network of pictures is left out: it takes features, as those that come with the code.

    Raises
    ------
    UserError
        A file is missing or damaged, or the model is none that this example has.
    """
    path = Path(path)
    found = torch.read_checkpoint(path)
    with reading(path, REMEDY):
        if not isinstance(found, dict) or not isinstance(found.get("model"), list) or len(found["model"]) != 2:
            raise ValueError("it has no model of two parts, pictures and sentences")
        images, sentences = ({name.removeprefix("module."): v for name, v in part.items()} for part in found["model"])
        options = dict(vars(found["opt"]))
        wanted = {"fc.weight": images, "fc.bias": images, "embed.weight": sentences}
        wanted.update({f"rnn.{name}": sentences for name in RECURRENT})
        missing = [name for name, part in wanted.items() if not isinstance(part.get(name), np.ndarray)]
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        _check(options, sentences)
        words = read_vocabulary(_beside(path, str(options["data_name"])))
        (dim, dim_image), (count, dim_word) = images["fc.weight"].shape, sentences["embed.weight"].shape
        if len(words) != count:
            raise ValueError(f"it has vectors of {count} words, its vocabulary {len(words)}")
        plain = [word for word in words if word not in ("<pad>", "<end>", "<unk>")]
        rows = [words.index(word) for word in ("<end>", "<unk>")] + [words.index(word) for word in plain]
        values = {
            "images.linear.weight": images["fc.weight"],
            "images.linear.bias": images["fc.bias"],
            "sentences.words.weight": sentences["embed.weight"][rows],
        }
        for theirs, ours in RECURRENT.items():
            values[f"sentences.rnn._unfused.0.{ours}"] = sentences[f"rnn.{theirs}"]
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        metadata = {
            "dim_image": dim_image, "dim": dim, "dim_word": dim_word, "encoder": "gru", "bidirectional": False,
            "measure": options["measure"], "use_abs": bool(options.get("use_abs")),
            "no_imgnorm": bool(options.get("no_imgnorm")), "tokens": "vsepp", "model": None, "origin": "VSE++",
            "dataset": str(options["data_name"]).removesuffix("_precomp"),
        }  # fmt: skip
        vocabulary = Vocabulary(plain, [0] * len(plain))
        return model.build(metadata, vocabulary, {name: mx.nd.array(v) for name, v in values.items()}, ctx)


def _check(options: dict, sentences: dict) -> None:
    """Refuse what this example does not have."""
    if options.get("measure") not in ("cosine", "order"):
        raise UserError(f"it was trained with measure {options.get('measure')}: here are cosine and order")
    if options.get("finetune"):
        raise UserError("its network of pictures was trained too, and is not read: take a model of features")
    if "rnn.weight_ih_l1" in sentences:
        raise UserError("its recurrent network has several layers: here there is one")


def _beside(path: Path, name: str) -> Path:
    """The vocabulary that belongs to a model."""
    if Path(name).name != name:
        raise ValueError(f"its data set is called {name!r}, which is no name")
    places = [path.parent / place / f"{name}_vocab.pkl" for place in PLACES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"{places[0]} is not there: the vocabulary belongs beside the model, or in vocab/")
    return found
