"""Server metrics in one folder per part, or one .npz per server: the layout of SMD and ASD.

    train/NAME.txt   test/NAME.txt   test_label/NAME.txt   interpretation_label/NAME.txt

(values: comma-separated numbers, one row a line; labels: one 0 or 1 a line), or compact

    NAME.npz {train [T, C], test [T, C], test_label [T]}   NAME.interpretation.txt

A line `15849-16368:1,9,10` of an interpretation file names the channels, counted from 1, of anomalous rows. Whether
row 16368 belongs to them differs by data set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.arrays import as_labels, as_matrix, load_npz, same_length
from wheeltapper.training.datasets.clock import made_up_times
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import natural_order
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.datasets.tables import read_matrix

_LINE = re.compile(r"^(\d+)-(\d+):(\d+(?:,\d+)*)$")


@dataclass(frozen=True)
class MachineFolders:
    """A data set in this layout: a loader with `entities` and `load`.

    Attributes:
        dataset, title: e.g. 'smd', 'SMD'.
        prefix: how a machine's name begins, e.g. 'machine-'; `example` is a whole one.
        channels: names in column order.
        interval_s: seconds between rows.
        end_is_inside: whether the last row of an interpretation line belongs to the anomaly.
        nested: folders below the given one where the parts may also lie; `hinted`: folders to point at in an error.
    """

    dataset: str
    title: str
    prefix: str
    example: str
    channels: tuple[str, ...]
    interval_s: float
    end_is_inside: bool
    nested: tuple[str, ...]
    hinted: tuple[str, ...]

    def entities(self, data: Path) -> tuple[str, ...]:
        """Machines in either layout, in natural order."""
        folder = self._root(data)
        names = {path.stem for path in folder.glob(f"{self.prefix}*.npz")}
        names |= {path.stem for path in (folder / "train").glob(f"{self.prefix}*.txt")}
        return tuple(sorted(names, key=natural_order))

    def load(self, data: Path, entity: str) -> SensorSeries:
        """One machine: values [T, C] float32, labels, and the channels of every labelled segment."""
        folder = self._root(data)
        width = len(self.channels)
        compact = folder / f"{entity}.npz"
        if compact.is_file():
            train, test, flags = load_npz(compact, ("train", "test", "test_label"))
            train, test = as_matrix(train, compact, "train", width), as_matrix(test, compact, "test", width)
            labels = as_labels(flags, compact)
            interpretation = folder / f"{entity}.interpretation.txt"
        else:
            train = read_matrix(_part(folder, "train", entity), columns=width)
            test = read_matrix(_part(folder, "test", entity), columns=width)
            label_file = _part(folder, "test_label", entity)
            labels = as_labels(read_matrix(label_file, columns=1)[:, 0], label_file)
            interpretation = folder / "interpretation_label" / f"{entity}.txt"
        same_length(f"{folder}: {entity}", labels, len(test))
        described = self.read_interpretation(interpretation) if interpretation.is_file() else []
        train_ts, test_ts = made_up_times(len(train), len(test), self.interval_s)
        return SensorSeries(
            dataset=self.dataset,
            entity=entity,
            channels=self.channels,
            units=("",) * width,
            sampling_interval_s=self.interval_s,
            train=train,
            train_ts=train_ts,
            test=test,
            test_ts=test_ts,
            test_labels=labels,
            segments=segments_of(labels, described),
            made_up_clock=True,
        )

    def read_interpretation(self, path: Path) -> list[LabelledSegment]:
        """Lines `start-end:channel,channel,..` of an interpretation file."""
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            text = line.replace(" ", "").strip()
            if not text:
                continue
            match = _LINE.match(text)
            channels = tuple(int(part) - 1 for part in match[3].split(",")) if match else ()
            if match is None or not all(0 <= channel < len(self.channels) for channel in channels):
                raise InputError(
                    f"{path}, line {number}: found '{line.strip()[:60]}', expected start-end:channel,channel,.. with "
                    f"channels 1 to {len(self.channels)}, e.g. 15849-16368:1,9,10"
                )
            stop = int(match[2]) + (1 if self.end_is_inside else 0)
            found.append(LabelledSegment(int(match[1]), stop, tuple(sorted(set(channels)))))
        return found

    def _root(self, data: Path) -> Path:
        for folder in (data, *(data / name for name in self.nested)):
            if any(folder.glob(f"{self.prefix}*.npz")) or any((folder / "train").glob(f"{self.prefix}*.txt")):
                return folder
        pickled = next((path for path in data.glob(f"**/{self.prefix}*.pkl")), None)
        if pickled is not None:
            raise InputError(
                f"{pickled} is a pickle, which can run any code when it is opened, so it is never opened here; convert "
                "it once with its publisher's own code, where you trust it: save the arrays train, test and test_label as "
                f"{self.example}.npz (numpy.savez_compressed), or as text files train/{self.example}.txt, "
                f"test/{self.example}.txt and test_label/{self.example}.txt (numpy.savetxt, delimiter ',')"
            )
        nested = next((data / name for name in self.hinted if (data / name).is_dir()), None)
        hint = f"did you mean --data {nested}?" if nested else "correct --data"
        also = f" (also inside {self.nested[0]}/)" if self.nested else ""
        raise InputError(
            f"{data} holds no {self.title} machine; expected train/{self.example}.txt beside test/ and test_label/"
            f"{also}, or {self.example}.npz: {hint}"
        )


def _part(folder: Path, part: str, entity: str) -> Path:
    path = folder / part / f"{entity}.txt"
    if not path.is_file():
        raise InputError(
            f"{path} is missing; expected train/, test/ and test_label/ to hold {entity}.txt: copy it there"
        )
    return path
