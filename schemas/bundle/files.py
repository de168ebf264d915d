"""Reading a bundle's files within limits: folder, .zip, .npz and .parquet, whoever made them.

A few kilobytes can say that they unfold to terabytes. So sizes are looked at before anything is unfolded, and what is read is
bounded by what was said. Files that the manifest does not name are not read at all.
"""

from __future__ import annotations

import math
import stat
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.limits import MIB

# Bundles have a handful of files of at most some hundred MiB: what is larger is something else.
LARGEST_BUNDLE_BYTES = 2_048 * MIB
MOST_FILES = 1_000

LARGEST_MANIFEST_BYTES = 16 * MIB
"""8,192 channels with long names and units are 2 MiB."""

# Graphs, arrays and tables hardly compress; deflate packs zeros a thousand times.
LARGEST_RATIO = 200
SMALL_BYTES = 16 * MIB
"""Up to here any ratio is let through."""

MOST_ARRAYS = 100_000

MOST_VALUES = 2**26
"""Most values of a column of a table: 4 reference windows of the largest block that a message can carry are half of it."""


class BundleFiles:
    """A bundle's folder or .zip, open for reading."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            OSError: it cannot be read. zipfile.BadZipFile: it is no .zip.
            InputError: more files than a bundle has.
        """
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            return
        _regular_size(path, path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile):
            raise
        except Exception as error:  # of versions that are not known, and of whatever damage leads to
            raise zipfile.BadZipFile(str(error) or type(error).__name__) from error
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        if len(infos) > MOST_FILES:
            self._zip.close()
            raise InputError(
                f"{path}: holds {len(infos)} files, a bundle has at most {MOST_FILES}; name a bundle's .zip"
            )
        self._infos = {info.filename: info for info in infos}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.close()

    def size(self, name: str) -> int | None:
        """Bytes of a file once unfolded, as far as is said; None where it is not there.

        Raises:
            InputError: it is no plain file, is packed beyond reason, or its name leads out of the bundle.
            OSError: it cannot be looked at.
        """
        check_name(name, self.path)
        if self._zip is None:
            try:
                return _regular_size(self.path / name, self.path)
            except (FileNotFoundError, NotADirectoryError):
                return None
        info = self._infos.get(name)
        if info is None:
            return None
        where = f"{self.path}: {name[:200]}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"{where} is packed by method {info.compress_type}; pack the .zip with deflate, or not at all"
            )
        if info.flag_bits & 0x1:
            raise InputError(f"{where} is encrypted; pack the .zip without a password")
        if info.file_size > max(SMALL_BYTES, LARGEST_RATIO * info.compress_size):
            raise InputError(
                f"{where} says that {info.compress_size} bytes unfold to {info.file_size}, at most {LARGEST_RATIO} times as much "
                "is allowed; unpack it into a folder if it is what you want"
            )
        return info.file_size

    def read(self, name: str, size: int) -> bytes:
        """A file of which `size` said so many bytes.

        Raises:
            InputError: it is longer or shorter.
            OSError, zipfile.BadZipFile: it cannot be read.
        """
        if self._zip is None:
            with (self.path / name).open("rb") as file:
                data = file.read(size + 1)
        else:
            try:
                with self._zip.open(self._infos[name]) as member:
                    data = member.read(size + 1)
            except (EOFError, NotImplementedError, RuntimeError, ValueError) as error:
                raise zipfile.BadZipFile(f"{name}: {error}") from error
            except Exception as error:  # zlib.error, a type that has no common base with the others
                raise zipfile.BadZipFile(f"{name}: {type(error).__name__}: {error}") from error
        if len(data) != size:
            raise InputError(f"{self.path}: {name} is not of the {size} bytes that it says; copy the bundle again")
        return data

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """These files, those that are there, within the limits of a bundle together.

        Raises:
            InputError: they are too many or too large. OSError, zipfile.BadZipFile: one cannot be read.
        """
        sizes = {name: size for name in names if (size := self.size(name)) is not None}
        total = sum(sizes.values())
        if len(sizes) > MOST_FILES or total > LARGEST_BUNDLE_BYTES:
            raise InputError(
                f"{self.path}: {len(sizes)} files of {total / MIB:.0f} MiB together, a bundle has at most {MOST_FILES} of "
                f"{LARGEST_BUNDLE_BYTES / MIB:.0f} MiB; is it one?"
            )
        return {name: self.read(name, size) for name, size in sizes.items()}


def check_name(name: str, path: Path) -> None:
    """
    Raises:
        InputError: the name of a file leads out of the bundle at `path`.
    """
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts or "\\" in name or "\x00" in name:
        raise InputError(
            f"{path}: names a file '{name[:200]}', which is no path within the bundle; copy the bundle again"
        )


def _regular_size(file: Path, path: Path) -> int:
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: {file.name} is no plain file; a bundle is a folder of files, or a .zip")
    return found.st_size


def read_npz(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz, by name; nothing is unpickled.

    Args:
        name: what errors call the file.

    Raises:
        InputError: it is no .npz, or an array is not as large as it says, or of objects.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            total = sum(info.file_size for info in infos)
            packed = sum(info.compress_size for info in infos)
            if len(infos) > MOST_ARRAYS or total > max(SMALL_BYTES, min(LARGEST_BUNDLE_BYTES, LARGEST_RATIO * packed)):
                raise ValueError(f"{len(infos)} arrays of {total / MIB:.0f} MiB from {packed / MIB:.1f} MiB")
            return {
                info.filename.removesuffix(".npy"): _read_array(archive, info)
                for info in infos
                if info.filename.endswith(".npy")
            }
    except Exception as error:  # zipfile, zlib and numpy raise a family of unrelated types
        raise InputError(f"{name}: cannot be read ({_first_line(error)}); write the bundle again") from error


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is packed by method {info.compress_type}")
    with archive.open(info) as member:
        raw = member.read(info.file_size + 1)
    file = BytesIO(raw)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read_header is None:
        raise ValueError(f"{info.filename} is of version {version} of numpy's format, expected 1.0 or 2.0")
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject or dtype.kind not in "biufcSU":
        raise ValueError(f"{info.filename} is of {dtype}, expected numbers")
    values = raw[file.tell() :]
    if len(shape) > 16 or any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{info.filename} says {shape} of {dtype} and has {len(values)} bytes")
    return np.frombuffer(values, dtype=dtype).reshape(shape, order="F" if is_fortran else "C").copy()


def read_parquet(data: bytes, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A small table.

    Args:
        name: what errors call the file.
        columns: those that are wanted; None: all.

    Raises:
        InputError: it is no Parquet file, lacks a column, or has more values than a bundle's tables have.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            about = file.metadata
            if about.num_columns > 64 or about.num_row_groups > 10_000:
                raise ValueError(f"{about.num_columns} columns in {about.num_row_groups} row groups")
            most = max(
                (
                    sum(about.row_group(group).column(column).num_values for group in range(about.num_row_groups))
                    for column in range(about.num_columns)
                ),
                default=0,
            )
            if max(most, about.num_rows) > MOST_VALUES:
                raise ValueError(f"{most} values in {about.num_rows} rows, at most {MOST_VALUES} are allowed")
            missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
            if missing:
                raise ValueError(f"has no column '{missing[0]}', columns are {file.schema_arrow.names}")
            # Threads would let go of `data`, an object of Python's, when they are done; where that is while Python ends, the process
            # aborts. For tables as small as these they are no faster either.
            return file.read(columns=None if columns is None else list(columns), use_threads=False)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError(f"{name}: cannot be read ({_first_line(error)}); write the bundle again") from error


def column(table: pa.Table, name: str, dtype: Any, where: str) -> np.ndarray:
    """A column of numbers, [n] of `dtype`.

    Raises:
        InputError: it holds something else.
    """
    try:
        return _numbers(table[name].combine_chunks()).astype(dtype)
    except (pa.ArrowException, BufferError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: column '{name}' holds no numbers; write the bundle again") from error


def lists(table: pa.Table, name: str, width: int, where: str) -> np.ndarray:
    """A column of lists of numbers, all lists of `width` together, [n, width].

    Raises:
        InputError: it holds something else.
    """
    try:
        return _numbers(_items(table[name].combine_chunks())).reshape(-1, width)
    except (pa.ArrowException, AttributeError, BufferError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: column '{name}' holds no lists of {width} numbers; write the bundle again"
        ) from error


def _items(values: pa.Array) -> pa.Array:
    """The items of all lists. Not by `flatten`, which loads pyarrow.compute: a tenth of a worker's start."""
    if (
        values.null_count
        or not len(values)
        or not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type))
    ):
        return values.flatten()
    first, end = values.offsets[0].as_py(), values.offsets[-1].as_py()
    return values.values.slice(first, end - first)


def _numbers(values: pa.Array) -> np.ndarray:
    """Not by `to_numpy`, which loads pandas where that is installed: half a second."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise TypeError(f"values are {values.type}")
    if values.null_count:
        values = values.fill_null(float("nan"))
    return np.from_dlpack(values) if len(values) else np.empty(0, dtype=values.type.to_pandas_dtype())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
