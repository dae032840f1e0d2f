"""Which embeddings of a batch are a pair: masks over embeddings (rows) and what they are compared with (columns)."""

from __future__ import annotations

import warnings

# Some losses and miners need no labels, or no references.
warnings.filterwarnings("ignore", message="The .*-th input to HybridBlock is not used")


def cosines(F, embeddings, references):
    """The cosine of every embedding with every reference.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    embeddings : (n, d) unit vectors
    references : (m, d) unit vectors

    Returns
    -------
    (n, m)
    """
    return F.dot(embeddings, references, transpose_b=True)


def squared_distances(F, embeddings, references):
    """The squared Euclidean distance of every embedding to every reference.

    The squares are part of the graph, so that the gradient of two equal rows is exactly zero.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    embeddings : (n, d)
    references : (m, d)

    Returns
    -------
    (n, m)
        Never negative.
    """
    own = F.sum(F.square(embeddings), axis=1).expand_dims(1)
    theirs = F.sum(F.square(references), axis=1).expand_dims(0)
    return F.relu(F.broadcast_add(own, theirs) - 2 * cosines(F, embeddings, references))


def distances(F, embeddings, references):
    """The Euclidean distance of every embedding to every reference. Its gradient is finite where they coincide.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    embeddings : (n, d)
    references : (m, d)

    Returns
    -------
    (n, m)
    """
    return F.sqrt(squared_distances(F, embeddings, references) + 1e-8)


def itself(F, labels, reference_labels):
    """Where an embedding meets itself: the references begin with the embeddings.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    labels : (n,)
    reference_labels : (m,)

    Returns
    -------
    (n, m) of 0 and 1
    """
    rows, columns = (F.contrib.arange_like(x.astype("float32"), axis=0) for x in (labels, reference_labels))
    return F.broadcast_equal(rows.expand_dims(1), columns.expand_dims(0))


def relations(F, labels, reference_labels):
    """All positive and all negative pairs.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    labels : (n,)
    reference_labels : (m,)
        The first n are `labels`. What is below 0 is an empty place of a memory, a pair with nobody.

    Returns
    -------
    positive, negative : (n, m) of 0 and 1
        Of the same class and not the embedding itself; of another class.
    """
    own, theirs = labels.astype("float32").expand_dims(1), reference_labels.astype("float32").expand_dims(0)
    same = F.broadcast_equal(own, theirs)
    return same * (1 - itself(F, labels, reference_labels)), F.broadcast_mul(1 - same, theirs >= 0)


def masks(F, pairs, labels, reference_labels):
    """What a miner chose, as masks.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    pairs : tuple of arrays
        Masks (positive, negative) as they are, or triplets: the pairs (anchor, positive) and (anchor, negative), each
        once however often it was drawn.
    labels : (n,)
    reference_labels : (m,)

    Returns
    -------
    positive, negative : (n, m) of 0 and 1
    """
    if len(pairs) == 2:
        return pairs
    rows, columns = (F.contrib.arange_like(x.astype("float32"), axis=0) for x in (labels, reference_labels))
    anchors, positives, negatives = (x.astype("float32").expand_dims(0) for x in pairs)
    of_anchor = F.broadcast_equal(rows.expand_dims(1), anchors)
    found = []
    for allowed, other in zip(relations(F, labels, reference_labels), (positives, negatives)):
        chosen = F.dot(of_anchor, F.broadcast_equal(columns.expand_dims(1), other), transpose_b=True)
        found.append(allowed * (chosen > 0))
    return tuple(found)
