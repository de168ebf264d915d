"""What a result depends on, as hashes: a result is used again only while none of it has changed.

Of code, what counts is what a detector runs: the modules that its training module imports, directly or through others,
without comments, docstrings and layout. A change to one detector leaves the results of all others valid.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.training.datasets.series import SensorSeries

_PACKAGE = Path(__file__).parents[3]
_ROOMS = ("training", "models", "schemas", "stream")
# Lists of what else there is, loaders (what they read is hashed itself) and displays: they change no result.
_WITHOUT_EFFECT = (
    "wheeltapper.training.detectors.registry",
    "wheeltapper.training.datasets",
    "wheeltapper.training.fitting.progress",
    "wheeltapper.training.lab.compare",
    "wheeltapper.training.judging.plots",
    "wheeltapper.training.judging.sound_plots",
)
_ABOUT_OTHER_DATA = (
    "wheeltapper.training.datasets.catalogue",
    "wheeltapper.training.datasets.registry",
    "wheeltapper.training.datasets.found",
)
# Every result is made by these.
_JUDGE = ("wheeltapper.training.judging.evaluation", "wheeltapper.training.fitting.bundle_writer")


def digest(content: Any) -> str:
    """32 hex digits of anything that JSON can say; dictionaries in any order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def series_sha256(series: SensorSeries) -> str:
    """Of everything in a series that training or judging reads."""
    found = hashlib.sha256(json.dumps([series.channels, series.sampling_interval_s]).encode())
    for array in (series.train, series.train_ts, series.test, series.test_ts, series.test_labels):
        if array is None:
            found.update(b"none")
        else:
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
    found.update(json.dumps([[s.start, s.stop, list(s.channels)] for s in series.segments]).encode())
    return found.hexdigest()[:32]


def files_signature(place: Path) -> str:
    """Of names, sizes and times of a folder's files (or of one file): changes when a data set is copied anew."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return digest([[str(path.relative_to(place)), *_size_and_time(path)] for path in files])


def _size_and_time(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


@cache
def code_fingerprint(module: str) -> str:
    """Of a training module, all that it imports of this project, and what judges every result."""
    return digest({name: _meaning(name) for name in sorted(_reached((module, *_JUDGE)))})


@cache
def loader_fingerprint(module: str) -> str:
    """Of the module that reads a data set, and what it reads with: another reading of the same files is other data."""
    return digest({name: _meaning(name) for name in sorted(_reached((module,), without=_ABOUT_OTHER_DATA))})


def _reached(modules: Iterable[str], without: Sequence[str] = _WITHOUT_EFFECT) -> set[str]:
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or _left_out(name, without) or _file(name) is None:
            continue
        seen.add(name)
        waiting += _imports(name)
    return seen


def _left_out(name: str, without: Sequence[str]) -> bool:
    return any(name == other or name.startswith(other + ".") for other in without)


@cache
def _file(name: str) -> Path | None:
    package, *parts = name.split(".")
    if package != "wheeltapper" or not parts or parts[0] not in _ROOMS:
        return None
    base = _PACKAGE.joinpath(*parts)
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _tree(name: str) -> ast.Module:
    path = _file(name)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def _imports(name: str) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from wheeltapper.models.pca import fit_pca` runs the package, `from wheeltapper.models.pca import fit` one of its modules too.
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


@cache
def _meaning(name: str) -> str:
    """The module's syntax tree without docstrings."""
    tree = _tree(name)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _is_text(item)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
