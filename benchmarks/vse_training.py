#!/usr/bin/env python3
"""PyTorch's version of the 2014 method on the arrays that vse/train.py reads; or sentences a second of both.

``--peer`` runs under a Python with PyTorch (benchmarks/requirements.txt); without it the suite is timed.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", required=True, help="folder of f8k_PART_ims.npy and f8k_PART_caps.txt")
    p.add_argument("--peer", action="store_true", help="PyTorch instead of the suite")
    p.add_argument("--encoder", choices=["lstm", "gru"], default="lstm")
    p.add_argument("--loss", choices=["sum", "max"], default="sum")
    p.add_argument("--warmup", type=int, default=1)
    p.add_argument("--epochs", type=int, default=1)
    p.add_argument("--updates", type=int, default=0, help="stop after so many and print sentences a second only")
    p.add_argument("--dim", type=int, default=1024)
    p.add_argument("--dim-word", type=int, default=300)
    p.add_argument("--lrate", type=float, default=1e-3)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


class Peer:
    """The 2014 method as vsepp writes it: padded and packed batches of shuffled captions, Adam, norm clipped to 2."""

    def __init__(self, args, words, dim_image):
        import torch
        from torch import nn

        torch.manual_seed(args.seed)
        torch.set_num_threads(2)
        self.torch, self.args = torch, args
        self.words = nn.Embedding(words, args.dim_word, padding_idx=None)
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
    """Train the peer; returns seconds, sentences seen, and the embeddings of test."""
    words = [vocabulary.encode(tokens) for tokens in train.tokens]
    model, seen, began = Peer(args, len(vocabulary), train.features.shape[1]), 0, time.time()
    rng, updates = np.random.default_rng(args.seed), 0
    for epoch in range(args.epochs):
        order = rng.permutation(len(words))
        for start in range(0, len(order), 128):
            chosen = order[start : start + 128]
            features = train.features[train.sentence_labels[chosen]]
            model.step(features, [words[i] for i in chosen], args.loss == "max" and epoch >= args.warmup)
            seen, updates = seen + len(chosen), updates + 1
            if updates == 5 and args.updates:  # the first steps allocate
                seen, began = 0, time.time()
            if args.updates and updates >= args.updates:
                return time.time() - began, seen, None
    seconds = time.time() - began
    return seconds, seen, model.encode(test.features, [vocabulary.encode(t) for t in test.tokens])


def suite(args, train, test, vocabulary):
    """The same of the suite."""
    import mxnet as mx
    from mxnet import autograd

    from common import optimizer
    from examples.vse import data, model

    batches = data.Batches(train, vocabulary, 128, args.epochs, args.seed)
    about = {"dim": args.dim, "dim_word": args.dim_word, "encoder": args.encoder, "bidirectional": False}
    net = model.VSE({**about, "measure": "cosine", "dim_image": train.features.shape[1]}, vocabulary)
    mx.random.seed(args.seed)
    net.initialize()
    net.hybridize(static_alloc=True)
    losses = [model.RankingLoss(0.2), model.RankingLoss(0.2, hardest=True)]
    for loss in losses:
        loss.hybridize(static_alloc=True)
    parameters = net.collect_params()
    updater = optimizer.trainer([(parameters, "adam", {"learning_rate": args.lrate})])
    gradients = [p.grad() for p in parameters.values()]
    seen, began = 0, time.time()
    for number, batch in enumerate(batches.read(0, args.updates or len(batches)), 1):
        with autograd.record():
            hardest = args.loss == "max" and batch.epoch >= args.warmup
            loss = losses[hardest](*net(mx.nd.array(batch.features), mx.nd.array(batch.words)))
        loss.backward()
        model.clip_global_norm(gradients, 2.0)
        updater.step(1)
        seen += batch.words.shape[1]
        if number % 10 == 0 or number == 5:
            loss.wait_to_read()
        if number == 5 and args.updates:
            mx.nd.waitall()
            seen, began = 0, time.time()
    mx.nd.waitall()
    seconds = time.time() - began
    if args.updates:
        return seconds, seen, None
    return seconds, seen, (net.encode_images(test.features), net.encode_sentences(test.tokens))


def main(args):
    from common.text import Vocabulary
    from examples.vse import data

    folder = pathlib.Path(args.data)
    train, test = (data.kiros(folder, "f8k_", part) for part in ("train", "test"))
    vocabulary = Vocabulary.build(train.tokens)
    seconds, seen, embeddings = (peer if args.peer else suite)(args, train, test, vocabulary)
    row = {**vars(args), "sentences_per_second": round(seen / seconds, 1), "seconds": round(seconds, 1), "seen": seen}
    if embeddings:
        np.savez(folder / "last.npz", *embeddings)
        from common.metrics import ranking

        found = ranking.image_sentence(*embeddings, test.image_labels, test.sentence_labels)
        row.update({name: round(value, 4) for name, value in found.items()})
    print(json.dumps(row))


if __name__ == "__main__":
    main(parse_args())
