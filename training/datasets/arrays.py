"""Reads numpy files from other sources: no pickles; every shape and value is checked.

Files are opened here: numpy leaves one open that is no archive.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError

# What numpy raises for files that are cut, not numpy's, or hold pickled objects.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)


def load_npz(path: Path, names: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Some arrays of a .npz file.

    Raises:
        InputError: unreadable, an array is missing, or it holds pickled objects.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays.files]
            if missing:
                raise InputError(f"{path}: arrays are {sorted(arrays.files)}, {missing} missing; copy the file again")
            return tuple(arrays[name] for name in names)
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as .npz ({error}); copy the file again") from error


def npz_names(path: Path) -> tuple[str, ...]:
    """Names of a .npz file's arrays, without reading them."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return tuple(arrays.files)
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as .npz ({error}); copy the file again") from error


def load_npy(path: Path) -> np.ndarray:
    """One .npy array; refuses pickled objects."""
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as .npy ({error}); copy the file again") from error


def as_matrix(values: np.ndarray, path: Path, name: str, columns: int) -> np.ndarray:
    """[T, columns] float32, contiguous.

    Raises:
        InputError: another shape, no rows, texts, or an infinite value.
    """
    if values.ndim != 2 or values.shape[1] != columns or not len(values):
        raise InputError(f"{path}: '{name}' has shape {values.shape}, expected (rows, {columns})")
    if values.dtype.kind not in "fiub":
        raise InputError(f"{path}: '{name}' is of type {values.dtype}, expected numbers; copy the file again")
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(values, dtype=np.float32)
    bad = np.argwhere(np.isinf(matrix))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"{path}: '{name}' is infinite in row {row}, column {column + 1}; expected a finite number")
    return matrix


def as_labels(values: np.ndarray, path: Path) -> np.ndarray:
    """[T] uint8 labels of 0 and 1."""
    values = np.asarray(values)
    if values.ndim != 1:
        raise InputError(f"{path}: labels have shape {values.shape}, expected one value a row")
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise InputError(f"{path}: label of row {wrong[0]} (from 0) is {values[wrong[0]]:g}, expected 0 or 1")
    return values.astype(np.uint8)


def same_length(place: Path | str, labels: np.ndarray, rows: int) -> None:
    """Raises InputError: not one label a row."""
    if len(labels) != rows:
        raise InputError(f"{place} has {len(labels)} labels for {rows} test rows; copy both files again")
