"""What the agent has been through, for drawing from: a ring of transitions.

A transition is a window (its index), the flags under which it was met, and the action. Rewards are not stored but looked up
when it is drawn: of both actions, by what is known then. A label that is bought later counts for what was met earlier.
"""

from __future__ import annotations

import numpy as np


class Replay:
    """Args:
    capacity: transitions; the oldest give way.
    window: W, length of a flag column.
    """

    def __init__(self, capacity: int, window: int) -> None:
        self._index = np.zeros(capacity, dtype=np.int64)
        self._flags = np.zeros((capacity, window), dtype=bool)
        self._action = np.zeros(capacity, dtype=np.int8)
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, index: np.ndarray, flags: np.ndarray, actions: np.ndarray) -> None:
        """[b] windows, [b, W] flags, [b] actions."""
        capacity = len(self._index)
        keep = slice(-capacity, None)
        places = (self._next + np.arange(len(index))[keep]) % capacity
        self._index[places], self._flags[places], self._action[places] = index[keep], flags[keep], actions[keep]
        self._next = (self._next + len(index)) % capacity
        self._size = min(self._size + len(index), capacity)

    def draw(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[count] windows, [count, W] flags, [count] actions, with repetition."""
        chosen = random.integers(0, self._size, count)
        return self._index[chosen], self._flags[chosen], self._action[chosen]
