"""Each test starts with the same random numbers, alone or behind others that have drawn some.

Torch begins every process with other numbers. A test that draws from them without a seed of its own would pass nearly always.
"""

from __future__ import annotations

import random
import sys

import numpy as np

SEED = 20_231_114


def seed_everything() -> None:
    """The generators that code without one of its own draws from; torch's where it has been imported."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(SEED)
