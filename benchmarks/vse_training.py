#!/usr/bin/env python3
"""The 2014 method by the suite and by PyTorch, on the same arrays: how well it ranks, or sentences a second.

``--peer PYTHON`` runs the PyTorch version too, under a Python that has it (benchmarks/requirements.txt). Without
``--data`` the arrays are drawn: for speed alone, of the lengths of Flickr8k's captions and as many words.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns


def parse_args(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", help="folder that vse_standin.py or vse_arrays.py wrote; without, drawn arrays")
    p.add_argument("--peer", metavar="PYTHON", help="a Python with PyTorch: run its version and print the ratio")
    p.add_argument("--only-peer", action="store_true", help="this process is the peer")
    p.add_argument("--encoder", choices=["lstm", "gru"], default="lstm")
    p.add_argument("--loss", choices=["sum", "max"], default="sum")
    p.add_argument("--warmup", type=int, default=1)
    p.add_argument("--epochs", type=int, default=1)
    p.add_argument("--updates", type=int, default=0, help="stop after so many and print the speed only")
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--dim", type=int, default=1024)
    p.add_argument("--dim-word", type=int, default=300)
    p.add_argument("--lrate", type=float, default=1e-3)
    p.add_argument("--seed", type=int, default=0)
    turns.add_arguments(p, rounds=1)
    args = p.parse_args(argv)
    if not (args.data or args.updates):
        p.error("drawn arrays are for speed alone: give --data, or --updates N")
    return args


def load(folder, part):
    """A part, from Kiros's layout or from the arrays of vse_arrays.py."""
    from examples.vse import data, layouts

    if folder is None:
        return drawn()
    folder = pathlib.Path(folder)
    if (folder / f"f8k_{part}_ims.npy").is_file():
        return layouts.kiros(folder, "f8k_", part)
    with np.load(folder / f"{part}.npz", allow_pickle=False) as kept:
        return data.Split(kept["features"], kept["image_labels"], kept["texts"].tolist(), kept["sentence_labels"])


def drawn(pictures: int = 2000):
    """Random features, and sentences of 5 to 30 words, 11.8 in the mean, of a vocabulary of some 8,000."""
    from examples.vse import data

    rng, labels = np.random.default_rng(0), np.arange(pictures)
    lengths = np.clip(rng.normal(11.8, 3.9, 4 * pictures).round(), 5, 30).astype(int)
    words = np.minimum(rng.zipf(1.2, lengths.sum()), 8000).astype(str)
    texts = [" ".join(part) for part in np.split(words, lengths.cumsum()[:-1])]
    return data.Split(rng.standard_normal((pictures, 4096), np.float32), labels, texts, np.repeat(labels, 4))


class Clock:
    """Times a training by windows of five updates: what else the machine does spoils some of them, not the median."""

    WINDOW = 5

    def __init__(self):
        self.began = self.last = time.perf_counter()
        self.updates, self.words, self.rates = 0, 0, []

    def count(self, words: int, wait=lambda: None) -> int:
        """After each update: `words` in its batch, and how to wait until it is computed. Returns the updates so far."""
        self.updates, self.words = self.updates + 1, self.words + words
        if self.updates % self.WINDOW == 0:
            wait()
            now = time.perf_counter()
            if self.updates > self.WINDOW:  # the first ones allocate
                self.rates.append(self.words / (now - self.last))
            self.last, self.words = now, 0
        return self.updates

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.began


class Peer:
    """The 2014 method as vsepp writes it: packed batches of shuffled captions, Adam, norm clipped to 2."""

    def __init__(self, args, words, dim_image):
        import torch
        from torch import nn

        torch.manual_seed(args.seed)
        torch.set_num_threads(turns.THREADS)
        self.torch, self.args = torch, args
        self.words = nn.Embedding(words, args.dim_word)
        nn.init.uniform_(self.words.weight, -0.1, 0.1)
        self.rnn = getattr(nn, args.encoder.upper())(args.dim_word, args.dim, batch_first=True)
        self.linear = nn.Linear(dim_image, args.dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.parameters = [p for m in (self.words, self.rnn, self.linear) for p in m.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=args.lrate)

    def images(self, features):
        return self.torch.nn.functional.normalize(self.linear(features))

    def sentences(self, sentences):
        torch = self.torch
        lengths = torch.tensor([len(s) for s in sentences])
        padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(s).long() for s in sentences], batch_first=True)
        packed = torch.nn.utils.rnn.pack_padded_sequence(self.words(padded), lengths, True, enforce_sorted=False)
        state = self.rnn(packed)[1]
        return torch.nn.functional.normalize((state[0] if isinstance(state, tuple) else state)[-1])

    def step(self, features, sentences, hardest):
        torch = self.torch
        scores = self.images(torch.from_numpy(features)) @ self.sentences(sentences).T
        pairs, off = scores.diag(), 1 - torch.eye(len(scores))
        rows = (0.2 + scores - pairs[:, None]).clamp(min=0) * off
        columns = (0.2 + scores - pairs[None]).clamp(min=0) * off
        loss = rows.max(1)[0].sum() + columns.max(0)[0].sum() if hardest else rows.sum() + columns.sum()
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 2.0)
        self.adam.step()

    def encode(self, features, sentences):
        with self.torch.no_grad():
            images = self.images(self.torch.from_numpy(features)).numpy()
            parts = [self.sentences(sentences[i : i + 256]).numpy() for i in range(0, len(sentences), 256)]
        return images, np.concatenate(parts)


def peer(args, train, test, vocabulary):
    """Train the peer; returns its clock and, but for a test of speed, the embeddings of test."""
    from common.text.vocabulary import tokenise

    words = [vocabulary.encode(tokenise(text)) for text in train.texts]
    by_label = [np.flatnonzero(train.image_labels == label) for label in range(train.image_labels.max() + 1)]
    model, clock, rng = Peer(args, len(vocabulary), train.features.shape[1]), Clock(), np.random.default_rng(args.seed)
    for epoch in range(args.epochs):
        order = rng.permutation(len(words))
        for start in range(0, len(order), args.batch_size):
            chosen = order[start : start + args.batch_size]
            pictures = [rng.choice(by_label[label]) for label in train.sentence_labels[chosen]]
            hardest = args.loss == "max" and epoch >= args.warmup
            model.step(train.features[pictures], [words[i] for i in chosen], hardest)
            if clock.count(sum(len(words[i]) for i in chosen)) == args.updates:
                return clock, clock.seconds, None
    seconds = clock.seconds
    return clock, seconds, model.encode(test.features, [vocabulary.encode(tokenise(text)) for text in test.texts])


def suite(args, train, test, vocabulary):
    """The same of the suite: the step of examples/vse/train.py."""
    import mxnet as mx
    from mxnet import autograd

    from common import devices
    from common.train import optimizer
    from examples.vse import data, model
    from examples.vse.losses import RankingLoss

    about = {"dim": args.dim, "dim_word": args.dim_word, "encoder": args.encoder, "bidirectional": False}
    net = model.VSE({**about, "measure": "cosine", "dim_image": train.features.shape[1]}, vocabulary)
    mx.random.seed(args.seed)
    net.initialize()
    net.hybridize(static_alloc=True)
    losses = [RankingLoss(), RankingLoss(hardest=True)]
    for loss in losses:
        loss.hybridize(static_alloc=True)
    parameters = net.collect_params()
    updater = optimizer.trainer([(parameters, "adam", {"learning_rate": args.lrate})])
    gradients = [p.grad() for p in parameters.values()]
    sentences = data.Sentences(train.texts, vocabulary)
    sampler = data.PairSampler(
        train, sentences.lengths, args.batch_size, args.epochs, args.seed, round_batches=10**9
    )
    clock = Clock()
    for batch in data.PairLoader(train, sentences, sampler).epoch(0):
        with autograd.record():
            hardest = args.loss == "max" and batch.epoch >= args.warmup
            loss = losses[hardest](*net(devices.put(batch.images), batch.words))
        net.backward([loss], updater)
        model.clip_global_norm(gradients, 2.0)
        updater.step(1)
        if clock.count(int((batch.words >= 0).sum()), mx.nd.waitall) == args.updates:
            return clock, clock.seconds, None
    mx.nd.waitall()
    return clock, clock.seconds, (net.encode_images(test.features), net.encode_sentences(test.texts))


def once(args):
    """Train and judge; prints a line of JSON and returns it."""
    from common.metrics import ranking
    from common.text.vocabulary import Vocabulary, tokenise

    train, test = load(args.data, "train"), load(args.data, "test")
    vocabulary = Vocabulary.build(map(tokenise, train.texts))
    clock, seconds, embeddings = (peer if args.only_peer else suite)(args, train, test, vocabulary)
    row = {"who": "PyTorch" if args.only_peer else "suite", "encoder": args.encoder, "loss": args.loss}
    row.update(seed=args.seed, seconds=round(seconds, 1))
    if embeddings:
        found = ranking.image_sentence(*embeddings, test.image_labels, test.sentence_labels)
        row.update({name: round(value, 4) for name, value in found.items()})
    else:
        length = np.mean([len(vocabulary.encode(tokenise(text))) for text in train.texts])
        row["sentences_per_second"] = [round(rate / length) for rate in clock.rates]  # of the mean length of all
    print(json.dumps(row), flush=True)
    return row


def main(args):
    rows = []
    for _ in range(args.rounds):
        rows.append(once(args))
        if args.peer:
            own = [arg for arg in sys.argv[1:] if arg != "--only-peer"]
            rows.append(turns.run([args.peer, __file__, "--only-peer", *own]))
            print(json.dumps(rows[-1]), flush=True)
    if args.updates:  # each window of updates counts as a round
        rates = {row["who"]: [] for row in rows}
        for row in rows:
            rates[row["who"]] += row["sentences_per_second"]
        work = f"training step, vse {args.encoder.upper()}, batch {args.batch_size}"
        turns.report([turns.Row(work, "sentences a second", "suite", rates, times=1.3)], args.json)


if __name__ == "__main__":
    arguments = parse_args()
    once(arguments) if arguments.only_peer else main(arguments)
