"""The rows of ``metrics.jsonl`` as TensorBoard reads them: an events file, a record for each row."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common.files.errors import UserError

HEADER = 2  # records before the first row


class Events:
    """The events file of a run, beside its ``metrics.jsonl``.

    What stands in a row of an epoch is drawn over epochs as ``epoch/NAME``, and what stands in a row within one, as
    ``batch/NAME``, over the batches of all epochs.

    Parameters
    ----------
    folder : path
        ``tensorboard --logdir`` takes it, or a folder of such folders.

    Raises
    ------
    UserError
        The package tensorboard is not there.
    """

    def __init__(self, folder):
        try:
            from tensorboard.compat.proto import event_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise UserError(
                f"--tensorboard needs the package tensorboard (pip install tensorboard), or leave it out: {error}"
            ) from None
        self._event, self._writer = event_pb2.Event, RecordWriter
        self._folder, self._file = Path(folder), None
        self._before, self._batch = 0, 0  # batches of the epochs that are done, and the last row's number of its epoch

    def begin(self, rows: Sequence[Mapping] = ()) -> None:
        """Start a file that holds `rows`, with the times at which an earlier file has them, and put it in its place.

        A new file, not the earlier one cut short: a TensorBoard that is open has read on in that. The mark of a new
        start makes it forget what it has read.

        Parameters
        ----------
        rows : sequence of mappings
            The first of those that the earlier file holds, or more.
        """
        earlier = sorted(self._folder.glob("events.out.tfevents.*"))
        records = max((list(_records(path)) for path in earlier), key=len, default=[])  # one may have been begun only
        times = [self._event.FromString(record).wall_time for record in records[HEADER:]]
        number = 1 + max((int(path.suffix[1:]) for path in earlier if path.suffix[1:].isdigit()), default=0)
        self._file = self._writer(open(self._folder / f"events.out.tfevents.{number:010}", "wb"))  # noqa: SIM115
        self._before = self._batch = 0
        self._write(self._event(file_version="brain.Event:2"))
        start = self._event(step=0)
        start.session_log.status = start.session_log.START
        self._write(start)
        for number, row in enumerate(rows):
            self.add(row, *times[number : number + 1])
        for path in earlier:
            if path.stat().st_size:
                os.truncate(path, 0)  # a TensorBoard that is open waits for ever for one that is gone
            else:
                path.unlink()

    def add(self, row: Mapping, at: float | None = None) -> None:
        """Append a row of ``metrics.jsonl``.

        Parameters
        ----------
        row : mapping
            With ``epoch``, ``batch``, and at an epoch's end ``batches``, how many it had: where an older run does not
            say that, its last row within the epoch does, up to the log interval.
        at : float, optional
            When it was written, in seconds since 1970; default is now.
        """
        if self._file is None:
            self.begin()
        epoch, batch = row.get("epoch", 0), row.get("batch", 0)
        if batch:
            kind, step, self._batch = "batch", self._before + batch, batch
        else:
            kind, step = "epoch", epoch
            self._before, self._batch = self._before + row.get("batches", self._batch), 0
        event = self._event(step=step)
        for name, value in row.items():
            if name not in ("epoch", "batch", "batches") and isinstance(value, (int, float)):
                event.summary.value.add(tag=f"{kind}/{name}", simple_value=value)
        self._write(event, at)

    def _write(self, event, at: float | None = None) -> None:
        event.wall_time = time.time() if at is None else at
        self._file.write(event.SerializeToString())
        self._file.flush()


def _records(path: Path) -> Iterator[bytes]:
    """The whole records of a file in TFRecord's format: length, its checksum, content, its checksum."""
    data, at = path.read_bytes(), 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):  # cut short when the process was killed
            return
        yield data[at + 12 : at + 12 + length]
        at += 16 + length
