"""What is known of a data set before its files are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DatasetInfo:
    """One data set.

    Attributes:
        name: as the command line has it; `title`: as people call it.
        publisher, page: who offers it, and the public page where.
        licence: one line about its terms; it is a note, not advice.
        kind: of data: 'servers', 'cloud services', 'spacecraft telemetry', 'water plant', 'control system', 'process plant',
            'machine', 'machine sound', 'machine vibration', 'any'.
        loader: module, or module:object, that has `entities` and `load`.
        entity: what an entity is, for help texts and errors.
        folders: names looked for, in this order, below a folder of data sets; empty where it needs none.
        train: where the train part comes from, in a few words.
        scaled_over_test: published values were scaled over train and test together, so they tell of the test part.
        holds: 'rows' (a `SensorSeries`) or 'sound' (a `SoundSeries`).
        variant_of: another data set of which this is a part or a view, '' for none. Who runs over everything may leave
            these out, so as not to count the same data twice.
    """

    name: str
    title: str
    publisher: str
    page: str
    licence: str
    kind: str
    loader: str
    entity: str
    folders: tuple[str, ...]
    train: str
    scaled_over_test: bool = False
    variant_of: str = ""
    holds: Literal["rows", "sound"] = "rows"
