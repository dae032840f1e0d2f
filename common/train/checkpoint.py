"""Checkpoints that survive a kill at any moment and resume a run bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import mxnet as mx
from mxnet import gluon

from common.files.checksum import sha256
from common.files.disk import flush, plain, save_arrays, writing
from common.files.errors import UserError, reading
from common.train import workers

BEST = "best.json"
REMEDY = "the checkpoint before it is kept; free some space, then continue with --resume"
OTHER = "other code or flags wrote it; start another run with another --run-dir"
NUMBERS = ("m_schedule",)  # scalar state of an optimizer, besides arrays and counts: Nadam's momentum product


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a folder ``epoch-0003-batch-000120`` that holds every device's own copy of all parameters
    (batch-norm statistics differ between devices), the optimizer's states, the counters, the name of the best
    checkpoint so far, and ``manifest.json`` with the SHA-256 of each file. It is written under another name, flushed,
    then renamed: what is newest and what is best change together. The best and the newest two are kept. Every random
    number derives from the seed and the counters, so no generator's state is saved.

    Only the process that has the run folder's lock constructs one: it removes what a killed process left half-written.

    Parameters
    ----------
    folder : path
        Made where it is not there.
    blocks : mapping of str to gluon.Block
        Everything with parameters: networks, and losses that learn.
    trainers : mapping of str to gluon.Trainer
        Their optimizers' states and counts.
    keep_all : bool
        Prune nothing.

    Raises
    ------
    UserError
        The folder cannot be made.
    """

    def __init__(
        self,
        folder,
        blocks: Mapping[str, gluon.Block],
        trainers: Mapping[str, gluon.Trainer],
        keep_all: bool = False,
    ):
        self.folder = Path(folder)
        self.blocks, self.trainers, self.keep_all = blocks, trainers, keep_all
        self._best: str | None = None
        self._best_known = False  # before the first load or save it stands in the newest checkpoint alone
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".writing-*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)

    def names(self) -> list[str]:
        """The checkpoints, oldest first."""
        return sorted(path.name for path in self.folder.glob("epoch-*") if path.is_dir())

    def save(self, state: dict, best: bool = False) -> Path:
        """Write a checkpoint.

        Parameters
        ----------
        state : dict
            Counters and whatever else the loop needs, as JSON; has ``epoch`` and ``batch``.
        best : bool
            Mark this one as the best so far.

        Returns
        -------
        Path
            The checkpoint's folder.

        Raises
        ------
        UserError
            It cannot be written; the one before it is kept.
        """
        name = _name(state["epoch"], state["batch"])
        target, tmp = self.folder / name, self.folder / f".writing-{os.getpid()}"
        best_name = name if best else self.best()
        try:
            with writing(target, REMEDY):
                tmp.mkdir()
                self._write(tmp, state, best_name)
                if target.exists():
                    self._remove(name)
                os.replace(tmp, target)
                flush(self.folder)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
        self._best, self._best_known = best_name, True
        self._prune(name)
        return target

    def _write(self, folder: Path, state: dict, best: str | None) -> None:
        """All files; none has to be whole before the folder is renamed."""
        for block_name, block in self.blocks.items():
            for device, arrays in enumerate(_arrays(block)):
                save_arrays(folder / f"{block_name}-{device}.params", arrays)
        for trainer_name, trainer in self.trainers.items():
            arrays, layout = _trainer_state(trainer)
            if arrays:
                save_arrays(folder / f"{trainer_name}.states", arrays)
            _write_json(folder / f"{trainer_name}.json", layout)
        _write_json(folder / "state.json", state)
        _write_json(folder / BEST, {"name": best})
        sums = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        _write_json(folder / "manifest.json", sums)
        for path in (*folder.iterdir(), folder):
            flush(path)

    def newest(self, log=warnings.warn) -> str | None:
        """The name of the newest whole checkpoint, None if there is none; damaged ones are reported through `log`."""
        for name in reversed(self.names()):
            damage = verify(self.folder / name)
            if not damage:
                return name
            log(f"checkpoint {self.folder / name} is damaged ({damage}): using the one before it")
        return None

    def load(self, name: str | None = None, log=warnings.warn) -> dict | None:
        """Restore a checkpoint: parameters on every device, the optimizers' states and counts.

        Parameters
        ----------
        name : str, optional
            Default is the newest that is whole.
        log : callable (str)
            Is given a line for each damaged one that is passed over.

        Returns
        -------
        dict or None
            The state that `save` was given; None if there is no checkpoint.

        Raises
        ------
        UserError
            The one called `name` is damaged or not there, or holds what these blocks and trainers do not.
        """
        if name and (damage := verify(self.folder / name)):
            raise UserError(f"checkpoint {self.folder / name} cannot be used: {damage}")
        name = name or self.newest(log)
        if name is None:
            return None
        folder = self.folder / name
        self._load_blocks(folder)
        for trainer_name, trainer in self.trainers.items():
            states = folder / f"{trainer_name}.states"
            with reading(folder, OTHER):
                arrays = mx.nd.load(str(states)) if states.exists() else {}
                _restore_trainer(trainer, arrays, json.loads((folder / f"{trainer_name}.json").read_text()))
        mx.nd.waitall()
        self._best, self._best_known = self._named_best(folder), True
        return json.loads((folder / "state.json").read_text())

    def _load_blocks(self, folder: Path) -> None:
        """Copy all parameters, once every name, shape and number of devices was found to match."""
        found = []
        for block_name, block in self.blocks.items():
            devices = _arrays(block)
            written = len(list(folder.glob(f"{block_name}-*.params")))
            if written != len(devices):
                raise UserError(f"{folder} holds {block_name} of {written} devices, here are {len(devices)}: {OTHER}")
            for device, arrays in enumerate(devices):
                saved = mx.nd.load(str(folder / f"{block_name}-{device}.params"))
                for key in [*arrays, *saved]:
                    there, here = (side[key].shape if key in side else "absent" for side in (saved, arrays))
                    if there != here:
                        raise UserError(f"{folder} has {block_name}.{key} {there}, and here it is {here}: {OTHER}")
                found.append((saved, arrays))
        for saved, arrays in found:
            for key, array in arrays.items():
                saved[key].copyto(array)

    def best(self) -> str | None:
        """The name of the best checkpoint, if one was marked and is still there."""
        if not self._best_known:
            newest = next((name for name in reversed(self.names()) if not verify(self.folder / name)), None)
            self._best, self._best_known = self._named_best(self.folder / newest) if newest else None, True
        return self._best if self._best and (self.folder / self._best).is_dir() else None

    def _named_best(self, folder: Path) -> str | None:
        """Which checkpoint was the best when the one in `folder` was written; old runs have one file for all."""
        for path in (folder / BEST, self.folder / BEST):
            try:
                return str(json.loads(path.read_text(encoding="utf-8"))["name"] or "") or None
            except (OSError, ValueError, TypeError, KeyError):
                continue
        return None

    def _prune(self, newest: str) -> None:
        """Remove what is not to be kept. Names after `newest` date from before a resume and will be written again."""
        if self.keep_all:
            return
        names = self.names()
        kept = {*[name for name in names if name <= newest][-2:], self.best()}
        for name in names:
            if name not in kept:
                self._remove(name)

    def _remove(self, name: str) -> None:
        """Rename, then delete: a kill leaves no half of a checkpoint under its name."""
        aside = self.folder / f".writing-{os.getpid()}-removed"
        with writing(self.folder / name, REMEDY):
            os.replace(self.folder / name, aside)
            shutil.rmtree(aside)


def agreed(name: str | None, trainers: Mapping[str, gluon.Trainer]) -> str | None:
    """The latest checkpoint that all workers of a synchronous training have: the minimum of their newest.

    Workers killed together may have stopped on either side of a checkpoint; resumed from different ones they would
    wait for each other's gradients for ever. Each keeps its newest two, so all have that minimum.

    Parameters
    ----------
    name : str or None
        This worker's newest.
    trainers : mapping of str to gluon.Trainer
        The names are exchanged through their kvstore; without one between machines the answer is `name`.

    Returns
    -------
    str or None
        None where a worker has no checkpoint.
    """
    mine = tuple(int(part) for part in name.split("-")[1::2]) if name else (0, 0)
    epoch, batch = workers.smallest(workers.between_machines(trainers.values()), mine)
    return _name(epoch, batch) if (epoch, batch) != (0, 0) else None


def _name(epoch: int, batch: int) -> str:
    return f"epoch-{epoch:04d}-batch-{batch:06d}"


def fill(block: gluon.Block, path) -> None:
    """Copy the values in a ``.params`` file to all devices of an initialised block.

    Gluon's `load_parameters` refuses where a server owns the parameters (``dist_async``).

    Parameters
    ----------
    block : gluon.Block
    path : path

    Raises
    ------
    UserError
        The file cannot be read, or lacks a parameter of the block.
    """
    with reading(path, OTHER):
        saved = mx.nd.load(str(path))
        for arrays in _arrays(block):
            for name, array in arrays.items():
                saved[name].copyto(array)


def verify(folder: Path) -> str:
    """What is wrong with the checkpoint in the folder `folder`; an empty string if nothing."""
    try:
        sums = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "no readable manifest.json"
    if not isinstance(sums, dict) or "state.json" not in sums:
        return "manifest.json does not list its files"
    for file, expected in sums.items():
        if not (folder / file).is_file():
            return f"{file} is missing"
        if sha256(folder / file) != expected:
            return f"{file} does not match its SHA-256"
    return ""


def _write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=2, default=plain) + "\n", encoding="utf-8")


def _arrays(block: gluon.Block) -> list[dict]:
    """One dict of structural name -> array for each device the block is on."""
    parameters = block._collect_params_with_prefix()
    devices = max((len(p.list_data()) for p in parameters.values()), default=0)
    return [{name: p.list_data()[i] for name, p in parameters.items()} for i in range(devices)]


def _optimizers(trainer: gluon.Trainer) -> list:
    return getattr(trainer._optimizer, "optimizers", [trainer._optimizer])


def _trainer_state(trainer: gluon.Trainer) -> tuple[dict, dict]:
    """The optimizer's arrays by name, and what else is needed to restore them.

    MXNet's own `save_states` pickles; reading a pickle runs code, and loading replaces the optimizer.
    """
    arrays: dict = {}
    updaters = [] if trainer._update_on_kvstore else trainer._updaters
    shapes = [
        {str(index): _flatten(state, f"{device}/{index}", arrays) for index, state in updater.states.items()}
        for device, updater in enumerate(updaters)
    ]
    counts = [
        {
            "num_update": optimizer.num_update,
            "counts": {str(d): counts for d, counts in optimizer._all_index_update_counts.items()},
            "numbers": {name: getattr(optimizer, name) for name in NUMBERS if hasattr(optimizer, name)},
        }
        for optimizer in _optimizers(trainer)
    ]
    scale = getattr(trainer, "loss_scale", None)
    return arrays, {"states": shapes, "optimizers": counts, "loss_scale": vars(scale) if scale else None}


def _flatten(state, name: str, arrays: dict):
    """Put the arrays of a nested state into `arrays`; return its shape: null, a name, or a list of these."""
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        return [_flatten(part, f"{name}/{i}", arrays) for i, part in enumerate(state)]
    arrays[name] = state
    return name


def _restore_trainer(trainer: gluon.Trainer, arrays: dict, layout: dict) -> None:
    if layout.get("loss_scale"):
        vars(trainer.loss_scale).update(layout["loss_scale"])
    if layout["states"] and not trainer._kv_initialized:
        trainer._init_kvstore()
    for updater, ctx, shapes in zip(trainer._updaters or [], trainer._contexts, layout["states"]):
        for index, shape in shapes.items():
            updater.states[int(index)] = _unflatten(shape, arrays, ctx)
            updater.states_synced[int(index)] = True
    for optimizer, saved in zip(_optimizers(trainer), layout["optimizers"]):
        optimizer.num_update = saved["num_update"]
        vars(optimizer).update(saved.get("numbers", {}))
        counts = {int(d): {int(i): n for i, n in c.items()} for d, c in saved["counts"].items()}
        optimizer._all_index_update_counts = counts
        optimizer._index_update_count = counts.get(0, {})


def _unflatten(shape, arrays: dict, ctx):
    if shape is None:
        return None
    if isinstance(shape, list):
        return tuple(_unflatten(part, arrays, ctx) for part in shape)
    return arrays[shape].as_in_context(ctx)
