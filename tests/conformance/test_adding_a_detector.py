"""docs/adding_a_detector.md, followed to the letter: two folders, and the detector is there."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import wheeltapper.models
import wheeltapper.training.detectors
from tests.conformance import test_detectors, test_detectors_on_machines
from wheeltapper.cli import main
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.training.detectors import pages
from wheeltapper.training.detectors.registry import DETECTORS, find_detectors

PAGE = Path(__file__).parents[2] / "docs" / "adding_a_detector.md"
NAME = "mean-square"


@pytest.fixture
def mean_square(tmp_path: Path) -> Iterator[str]:
    """The page's files, in a place where the packages are looked for."""
    files = dict(re.findall(r"^`([\w/]+\.py)`\n\n```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S))
    assert len(files) == 9
    for name, code in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        for package, folder in (
            (wheeltapper.models, "models"),
            (wheeltapper.training.detectors, "training/detectors"),
        ):
            patched.setattr(package, "__path__", [*package.__path__, str(tmp_path / folder)])
        patched.setattr(sys, "dont_write_bytecode", True)
        importlib.invalidate_caches()
        patched.setitem(DETECTORS, NAME, find_detectors()[NAME])
        yield NAME
    for module in [name for name in sys.modules if ".mean_square" in name]:
        del sys.modules[module]
    for package in (wheeltapper.models, wheeltapper.training.detectors):
        vars(package).pop("mean_square", None)


def battery(module: ModuleType) -> Iterator[tuple[str, dict[str, object]]]:
    """The tests of a module that a detector that is fitted in one pass takes part in, and what they are called with."""
    sizes: dict[str, list[object]] = {"size": [1, 2, 3, 512], "channels": [2, 5, 6]}
    for name, function in inspect.getmembers(module, inspect.isfunction):
        wanted = inspect.signature(function).parameters
        if not name.startswith("test_") or not {"name", "one_pass"} & set(wanted):
            continue
        chosen: dict[str, object] = {key: NAME for key in ("name", "one_pass") if key in wanted}
        (extra,) = [key for key in wanted if key in sizes] or [""]
        yield from ((name, {**chosen, extra: value} if extra else chosen) for value in sizes.get(extra, [None]))


def test_registry_lists_and_documents_know_it(mean_square: str) -> None:
    # when detectors are looked for: then it is found, in its place
    assert list(find_detectors())[:5] == ["range-bands", "log-mean", "pca", "l2-norm", mean_square]
    # and the documents get its rows
    for name in pages.DOCUMENTS:
        text = pages.current((pages.CHECKOUT / name).read_text(encoding="utf-8"), find_detectors())
        assert "`mean-square`" in text
    assert "| `window` | 8 | a whole number of 1 or more | rows whose squares are averaged |" in text


def test_the_command_line_knows_it(mean_square: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # when its help is asked for: then its settings are shown
    with pytest.raises(SystemExit):
        main(["train", mean_square, "--help"])
    assert "rows whose squares are averaged" in " ".join(capsys.readouterr().out.split())
    # when it is trained as the page says: then a bundle is there
    words = ["train", mean_square, "--dataset", "simulated", "--entity", "pump-1", "--out", str(tmp_path / "bundle")]
    assert main([*words, "--set", "window=12", "--no-torchscript"]) == 0
    assert open_bundle(tmp_path / "bundle").manifest.window == 12
    # and what cannot be is refused in words
    assert main([*words, "--force", "--set", "windw=12"]) == 2
    assert "mean-square has no setting 'windw'; did you mean 'window'?" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("module", [test_detectors, test_detectors_on_machines], ids=["usual", "other machines"])
def test_it_passes_the_battery(mean_square: str, module: ModuleType, tmp_path: Path) -> None:
    taken = list(battery(module))
    assert len(taken) > 6
    for number, (name, arguments) in enumerate(taken):
        function = getattr(module, name)
        if "tmp_path" in inspect.signature(function).parameters:
            folder = tmp_path / f"{number}-{name}"
            folder.mkdir()
            arguments["tmp_path"] = folder
        function(**arguments)
