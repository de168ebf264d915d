"""Windows whose labels can be bought, and the account of what was bought.

The budget is of the whole training, not of an episode, and the pool holds to it: who asks for more gets what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.rl_vae.windows import WindowBank
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL

UNKNOWN = -1

Oracle = Callable[[np.ndarray], np.ndarray]
"""[k] indices of windows to [k] labels, `NORMAL` or `ANOMALOUS`."""


@dataclass
class LabelPool:
    """
    Attributes:
        bank: the windows.
        oracle: sells labels.
        budget: labels that may be bought in all.
        known: [m] int8, `NORMAL`, `ANOMALOUS` or `UNKNOWN`; given at the start: labels that cost nothing.
        bought: indices in the order of buying.
        mostly_normal: False for a pool that holds as many anomalies as its maker liked.
        made_up: True where its anomalies are disturbances, no faults that happened.
        origin: where the labels come from, for the manifest.
        judged: windows at the beginning of the bank that are as they were measured, after the train part; None is all of
            them, or none where `made_up`.

    Raises:
        InputError: a budget below 0, or labels that are not as many as the windows.
    """

    bank: WindowBank
    oracle: Oracle
    budget: int
    origin: str
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))
    bought: list[int] = field(default_factory=list)
    mostly_normal: bool = True
    made_up: bool = False
    judged: int | None = None

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise InputError(f"label budget is {self.budget}, expected 0 or more")
        if self.judged is None:
            self.judged = 0 if self.made_up else len(self.bank)
        if not len(self.known):
            self.known = np.full(len(self.bank), UNKNOWN, dtype=np.int8)
        if len(self.known) != len(self.bank):
            raise InputError(f"{len(self.known)} labels of {len(self.bank)} windows, expected one each")

    def __len__(self) -> int:
        return len(self.bank)

    @property
    def spent(self) -> int:
        return len(self.bought)

    @property
    def left(self) -> int:
        return self.budget - self.spent

    def buy(self, wanted: np.ndarray) -> np.ndarray:
        """Buy labels in the order wanted, as far as the budget goes; what is known is not bought twice.

        Returns:
            [k] the windows that were bought.
        """
        _, first = np.unique(wanted, return_index=True)
        distinct = np.asarray(wanted, dtype=np.int64)[np.sort(first)]
        chosen = distinct[self.known[distinct] == UNKNOWN][: self.left]
        if len(chosen):
            labels = np.asarray(self.oracle(chosen))
            if not np.isin(labels, (NORMAL, ANOMALOUS)).all():
                raise InputError(f"labels are {sorted(set(labels.tolist()))}, expected {NORMAL} or {ANOMALOUS}")
            self.known[chosen] = labels
            self.bought += chosen.tolist()
        return chosen

    def fresh(self) -> LabelPool:
        """The same windows with nothing bought; shares no state with this one."""
        known = self.known.copy()
        known[np.array(self.bought, dtype=np.int64)] = UNKNOWN
        return LabelPool(
            self.bank,
            self.oracle,
            self.budget,
            self.origin,
            known,
            mostly_normal=self.mostly_normal,
            made_up=self.made_up,
            judged=self.judged,
        )


def pool_of_labels(
    bank: WindowBank, labels: np.ndarray, budget: int, origin: str, *, made_up: bool = False
) -> LabelPool:
    """A pool over windows whose labels lie ready, e.g. of a labelled series; they are seen only when bought."""
    hidden = np.asarray(labels).astype(np.int8)
    if len(hidden) != len(bank):
        raise InputError(f"{len(hidden)} labels of {len(bank)} windows, expected one each")
    return LabelPool(bank, lambda index: hidden[index], budget, origin, mostly_normal=not made_up, made_up=made_up)


def pool_of_known(bank: WindowBank, labels: np.ndarray, origin: str) -> LabelPool:
    """A pool whose labels are all known and were paid for before: an operator's."""

    def sold_out(index: np.ndarray) -> np.ndarray:
        raise InputError(f"{len(index)} labels wanted of a pool that has none to sell")

    return LabelPool(bank, sold_out, 0, origin, np.asarray(labels).astype(np.int8), mostly_normal=False)
