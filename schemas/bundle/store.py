"""A bundle on disk: a folder, or the same folder as a .zip. Written once, never changed, never unpickled."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.bundle.manifest import Manifest, read_manifest
from wheeltapper.schemas.bundle.remote import forget, is_uri, local_path
from wheeltapper.schemas.errors import InputError

MANIFEST = "manifest.json"
MODEL = "model.onnx"
TORCHSCRIPT = "model.ts"
GOLDEN = "golden.npz"
CALIBRATION = "calibration.parquet"
REFERENCE = "reference.parquet"
REQUIRED = (MODEL, GOLDEN, CALIBRATION, REFERENCE)

# Golden outputs were computed by the ONNX graph itself on another machine: other CPU kernels may differ that much.
GOLDEN_RELATIVE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Bundle:
    """A bundle whose hashes and manifest were checked.

    Attributes:
        location: folder or .zip it came from.
        manifest: its manifest.
        manifest_sha256: hex digest of manifest.json: the bundle's identity, as the manifest names every other hash.
        files: every other file's bytes.
    """

    location: Path
    manifest: Manifest
    manifest_sha256: str
    files: dict[str, bytes]

    def golden(self) -> dict[str, np.ndarray]:
        """`window` [n, *sample_shape] float32, `attributes` [n, A] of a graph that takes them, and the outputs, by name."""
        with np.load(BytesIO(self.files[GOLDEN]), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def calibration_scores(self) -> np.ndarray:
        """[n] float64: raw scores of held-out normal windows, in time order."""
        table = pq.read_table(pa.BufferReader(self.files[CALIBRATION]), columns=["score"])
        return np.asarray(table["score"].to_numpy(), dtype=np.float64)

    def reference_rows(self) -> np.ndarray:
        """[n, C] float32, raw units: the rows of the reference windows, NaN where a sensor gave nothing."""
        table = pq.read_table(pa.BufferReader(self.files[REFERENCE]), columns=["window"])
        values = table["window"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values, dtype=np.float32).reshape(-1, self.manifest.sample_shape[-1])

    def reference_times(self) -> np.ndarray:
        """[k] int64: event time (us) of the last row of each reference window."""
        table = pq.read_table(pa.BufferReader(self.files[REFERENCE]), columns=["time"])
        return np.asarray(table["time"].to_numpy(), dtype=np.int64)

    def open_graph(self, *, device: str = "auto", threads: int = 1) -> Graph:
        """The graph, checked against the manifest and the golden windows.

        Raises:
            InputError: the graph disagrees with either; the bundle must not be used.
        """
        where = self.location
        graph = Graph(self.files[MODEL], name=str(where / MODEL), device=device, threads=threads)
        manifest = self.manifest
        expected = manifest.sample_shape
        if graph.sample_shape != expected:
            found, said = (" x ".join(map(str, shape)) for shape in (graph.sample_shape, expected))
            raise InputError(
                f"{where}: {MODEL} takes windows of {found}, the manifest says {said} (rows x channels for sensors); "
                "write the bundle again"
            )
        if graph.attribute_width != manifest.attribute_width:
            raise InputError(
                f"{where}: {MODEL} takes {graph.attribute_width} columns of attributes, the manifest says "
                f"{manifest.attribute_width}; write the bundle again"
            )
        golden = self.golden()
        if graph.attribute_width and "attributes" not in golden:
            raise InputError(f"{where}: {GOLDEN} has no 'attributes', which {MODEL} takes; write the bundle again")
        output = graph.run(golden["window"], golden.get("attributes"))
        shape = manifest.contribution_shape
        if shape is not None and output.contribution.shape[1:] != shape:
            found, said = (" x ".join(map(str, each)) for each in (output.contribution.shape[1:], shape))
            raise InputError(
                f"{where}: contributions of {MODEL} are {found}, the manifest says {said} (bands x time columns); write the "
                "bundle again"
            )
        for name in graph.output_names:
            if name not in golden:
                continue
            found, wanted = getattr(output, name), golden[name]
            scale = max(1e-12, float(np.max(np.abs(wanted)))) if wanted.size else 1.0
            difference = float(np.max(np.abs(found - wanted))) / scale if wanted.size else 0.0
            if found.shape != wanted.shape or not difference <= GOLDEN_RELATIVE_TOLERANCE:
                raise InputError(
                    f"{where}: output '{name}' of {MODEL} differs from {GOLDEN} by {difference:.2g} of its range, "
                    f"at most {GOLDEN_RELATIVE_TOLERANCE:g} is allowed; the bundle or this onnxruntime is broken"
                )
        return graph


def open_bundle(location: str | Path, *, sha256: str = "", cache: Path | None = None) -> Bundle:
    """Read and check a bundle.

    Args:
        location: path, file:// or s3:// (then the bundle's own location is that of the copy in the cache).
        sha256: of its manifest.json, where it is known: a copy of s3:// that is in the cache is then taken without asking.
        cache: folder for bundles from s3://; None: `remote.cache_folder`.

    Raises:
        InputError: not a bundle, a manifest that fails its schema, a missing file or a wrong hash.
    """
    path = local_path(str(location), sha256=sha256, cache=cache)
    try:
        return _open(path)
    except InputError:
        # A copy that was damaged since.
        if not is_uri(str(location)) or not forget(path, cache=cache):
            raise
    path = local_path(str(location), sha256=sha256, cache=cache)
    try:
        return _open(path)
    except InputError as error:
        forget(path, cache=cache)
        raise InputError(f"{location}: {error}") from error


def _open(path: Path) -> Bundle:
    try:
        if not path.exists():
            raise InputError(f"{path}: no such bundle; expected a folder or .zip written by 'wheeltapper train'")
        contents = _read_zip(path) if path.is_file() else _read_folder(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a bundle ({error}); expected a folder or a .zip") from error
    if MANIFEST not in contents:
        raise InputError(f"{path}: has no {MANIFEST}, so it is not a bundle; 'wheeltapper train' writes one")
    text = contents.pop(MANIFEST)
    try:
        manifest = read_manifest(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or MANIFEST
        raise InputError(
            f"{path}/{MANIFEST}: {field}: {first['msg']}; write the bundle again with this version of wheeltapper"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}/{MANIFEST}: {error}; write the bundle again with this version of wheeltapper"
        ) from error
    for name in {*manifest.files, *REQUIRED}:
        if name not in contents:
            raise InputError(f"{path}: {name} is missing; copy the bundle again, whole")
        if name not in manifest.files:
            raise InputError(f"{path}: {MANIFEST} gives no sha256 for {name}; write the bundle again")
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != manifest.files[name]:
            raise InputError(
                f"{path}: {name} has sha256 {found[:12]}.., the manifest says {manifest.files[name][:12]}..; "
                "it was changed or cut short: copy the bundle again"
            )
    return Bundle(path, manifest, hashlib.sha256(text).hexdigest(), {n: contents[n] for n in manifest.files})


def write_bundle_folder(location: str | Path, manifest: Manifest, files: dict[str, bytes]) -> Bundle:
    """Write a bundle whole or not at all, and read it back.

    Args:
        location: a folder that does not exist or holds an earlier bundle (replaced), or a path ending in .zip.
        manifest: its `files` must hold the sha256 of every entry of `files`.

    Raises:
        InputError: the place exists and is not a bundle, or cannot be written.
    """
    path = Path(location)
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise InputError(f"{path}: exists and is not a bundle; choose another --out or empty it")
    # Left out where a detector has none: versions that do not know the field still read such a bundle.
    unused = {"warm_up"} if getattr(manifest, "warm_up", 1) is None else None
    text = manifest.model_dump_json(indent=2, exclude=unused).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zip":
            _write_zip(path, {MANIFEST: text, **files})
        else:
            _write_folder(path, {MANIFEST: text, **files})
    except OSError as error:
        raise InputError(f"{path}: cannot write the bundle ({error}); choose another --out") from error
    return open_bundle(path)


def sha256_of(files: dict[str, bytes]) -> dict[str, str]:
    """File name -> hex digest, as `Manifest.files` wants it."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _read_folder(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def _read_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def _write_folder(path: Path, contents: dict[str, bytes]) -> None:
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name, data in contents.items():
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        staging.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_zip(path: Path, contents: dict[str, bytes]) -> None:
    staging = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
