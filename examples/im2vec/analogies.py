"""Analogies between class vectors: a is to b as c is to which class? Asked of every two pairs of a relation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files.errors import UserError, near, reading
from examples.im2vec import evaluation

EPSILON = 1e-3  # of 3CosMul, as Levy and Goldberg have it
METHODS = ("3CosAdd", "3CosMul", "nearest to c")  # the last does not look at a and b: what the others have to beat
SHIPPED = Path(__file__).parent / "pairs"  # of data sets whose names tell of relations
LETTERS = ("lower to upper case", str.upper)


@dataclasses.dataclass
class Questions:
    """Questions a : b = c : d, by index of the class.

    Attributes
    ----------
    terms : (m, 4) int
        a, b, c, d.
    relation : (m,) int
        Index in `relations`.
    relations : list of str
    """

    terms: np.ndarray
    relation: np.ndarray
    relations: list[str]

    def __len__(self):
        return len(self.terms)

    @property
    def asked(self) -> np.ndarray:
        """Which pair c : d each question asks for: (m,) int. Questions for one pair are not independent."""
        return np.unique(np.column_stack([self.relation, self.terms[:, 2:]]), axis=0, return_inverse=True)[1].ravel()


def questions(pairs: dict[str, list[tuple[int, int]]]) -> Questions:
    """Every two pairs of a relation, in both orders; two that share a class are not asked for.

    Parameters
    ----------
    pairs : mapping of relation to list of (class, class)
    """
    terms, relation = [], []
    for number, listed in enumerate(pairs.values()):
        found = [(*one, *other) for one in listed for other in listed if not {*one} & {*other}]
        terms += found
        relation += [number] * len(found)
    return Questions(np.array(terms, int).reshape(-1, 4), np.array(relation, int), list(pairs))


def read(path, names: Sequence[str], whole: bool = True) -> dict[str, list[tuple[int, int]]]:
    """The pairs in a file, ``: relation`` before those that belong together, ``class<TAB>class`` on a line.

    Lines that begin with ``#`` are comments.

    Parameters
    ----------
    path : path
    names : sequence of str
        The classes.
    whole : bool
        All classes of the file have to be there; else pairs that are not are left out.

    Returns
    -------
    dict of relation to list of (class, class)

    Raises
    ------
    UserError
        Not such a file, or a class that is not there, with its line.
    """
    number, found = {name: i for i, name in enumerate(names)}, {}
    with reading(path, "a line `: relation`, then a line `class<TAB>class` for each of its pairs"):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(":"):
            listed = found.setdefault(line[1:].strip(), [])
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 2 or parts[0] == parts[1]:
            raise UserError(f"{path}, line {at}: two different classes with a tab between are wanted, not {line!r}")
        if not found:
            raise UserError(f"{path}, line {at}: a line `: relation` has to come before the first pair")
        absent = [name for name in parts if name not in number]
        if absent and whole:
            raise UserError(f"{path}, line {at}: no class is called {absent[0]!r}{near(absent[0], names)}")
        if not absent:
            listed.append((number[parts[0]], number[parts[1]]))
    if whole and not len(questions(found)):
        raise UserError(f"{path} asks nothing: a relation needs two pairs without a class in common")
    return found


def of_letters(names: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    """Small letters and their capitals, where both are classes and are not drawn alike by definition."""
    number = {name: i for i, name in enumerate(names)}
    relation, to = LETTERS
    pairs = [(i, number[to(name)]) for name, i in number.items() if to(name) != name and to(name) in number]
    return {relation: pairs} if len(pairs) > 1 else {}


def known(metadata: dict) -> dict[str, list[tuple[int, int]]]:
    """The pairs that the names of a data set's classes give: letters of ``glyphs``, and those of the files shipped.

    Parameters
    ----------
    metadata : dict
        Of a model, see `examples.im2vec.modelfile.Model`.
    """
    path = SHIPPED / f"{metadata['dataset']}.txt"
    if metadata["dataset"] == "glyphs":
        return of_letters(metadata["classes"])
    return read(path, metadata["classes"], whole=False) if path.is_file() else {}


def answers(vectors: np.ndarray, asked: Questions, method: str) -> np.ndarray:
    r"""The class that each question is answered by; a, b and c themselves are left out.

    With cosines of vectors less the mean of all, at length one,

    .. math:: \text{3CosAdd:} \; \arg\max_d \cos(d, b) - \cos(d, a) + \cos(d, c), \qquad
              \text{3CosMul:} \; \arg\max_d \frac{\cos(d, b) \cos(d, c)}{\cos(d, a) + \varepsilon}

    the latter with cosines moved to 0..1 by (x + 1) / 2.

    Parameters
    ----------
    vectors : (n, d) array
    asked : Questions
    method : str
        One of `METHODS`.

    Returns
    -------
    (m,) int

    References
    ----------
    O. Levy, Y. Goldberg: Linguistic Regularities in Sparse and Explicit Word Representations. CoNLL 2014, equations
    2 and 4. T. Linzen: Issues in evaluating semantic spaces using word analogies. RepEval 2016 (nearest to c alone).
    """
    cosine = evaluation.similarity(vectors).astype(np.float64)
    a, b, c = (cosine[asked.terms[:, column]] for column in range(3))
    if method == "3CosAdd":
        found = b - a + c
    elif method == "3CosMul":
        found = (b + 1) / 2 * (c + 1) / 2 / ((a + 1) / 2 + EPSILON)
    else:
        found = c
    np.put_along_axis(found, asked.terms[:, :3], -np.inf, axis=1)
    return found.argmax(axis=1)


def right(vectors: np.ndarray, asked: Questions) -> dict[str, np.ndarray]:
    """By method, which questions are answered with d: (m,) bool each."""
    return {method: answers(vectors, asked, method) == asked.terms[:, 3] for method in METHODS}
