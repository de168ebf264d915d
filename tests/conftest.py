"""What every test may ask for, and what is done around every test."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.distribution import Scheduling, deal, leaves_out
from tests.helpers.interrupts import Interrupts
from tests.helpers.profiles import apply_profile, register_profiles
from tests.helpers.seeds import seed_everything
from tests.helpers.spent import Spent

register_profiles()

# Several test processes share the processor: threads of each would only wait for each other, and burn its time by that.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

CHECKOUT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        # In the process that starts the others: when a test process comes here, numpy has started its threads.
        for variable in ONE_THREAD:
            os.environ.setdefault(variable, "1")
    config.pluginmanager.register(Interrupts())
    config.pluginmanager.register(Spent())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Our groups instead of xdist's."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of several processes not all collect all tests."""
    return True if leaves_out(collection_path, config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Property tests get the chosen profile; several processes get the tests in another order than one."""
    apply_profile(items)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = deal(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is loaded here stays: looking for garbage in it again and again takes a seventh of the time, and later a twentieth."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    seed_everything()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of data set folders (smd/, hai/, ..): $WHEELTAPPER_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("WHEELTAPPER_DATA")
    root = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip("needs real data: set WHEELTAPPER_DATA to the folder of data set folders")
    return root


@pytest.fixture(scope="session")
def smd_folder(data_root: Path) -> Path:
    """SMD's own folder."""
    folder = data_root / "smd"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, the Server Machine Dataset")
    return folder
