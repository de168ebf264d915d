"""CPU seconds of each test, set-up and clean-up and ended child processes included, as the property `cpu_s` of JUnit's file.

Other work on the machine slows a test down by its wall time, and by its CPU time as well, though less. Each process therefore
times a fixed piece of work now and then: `yardstick_s`, by which `tests.budget` divides.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Generator

import numpy as np
import pytest

# A yardstick each so many CPU seconds: below a hundredth of the time goes into it.
EVERY_S = 2.0


class Spent:
    """A plugin of each test process."""

    def __init__(self) -> None:
        self._started = 0.0
        self._measured = -EVERY_S

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if time.process_time() - self._measured >= EVERY_S:
            item.user_properties.append(("yardstick_s", f"{yardstick():.5f}"))
            self._measured = time.process_time()
        self._started = _cpu_seconds()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        if call.when == "teardown":
            item.user_properties.append(("cpu_s", f"{_cpu_seconds() - self._started:.3f}"))
        return (yield)


def yardstick() -> float:
    """CPU seconds of a fixed piece of work, Python and numpy by halves."""
    started = time.thread_time()
    names = {f"channel-{index}": index for index in range(8_000)}
    total = sum(value for name, value in names.items() if not name.endswith("7"))
    rows = np.arange(60_000, dtype=np.float64).reshape(-1, 60)
    for _ in range(8):
        rows = np.sort(np.sqrt(rows + total), axis=0)
    return time.thread_time() - started


def _cpu_seconds() -> float:
    """Of this process, and of those of its children that ended and were waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
