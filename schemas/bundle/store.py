"""A bundle on disk: a folder, or the same folder as a .zip. Written once, never changed, never unpickled."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from wheeltapper.schemas.bundle.deadline import LoadDeadline
from wheeltapper.schemas.bundle.files import (
    LARGEST_MANIFEST_BYTES,
    BundleFiles,
    check_name,
    column,
    lists,
    read_npz,
    read_parquet,
)
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.bundle.manifest import Manifest, read_manifest
from wheeltapper.schemas.bundle.remote import forget, is_uri, local_path
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.limits import LOAD_TIMEOUT_S

MANIFEST = "manifest.json"
MODEL = "model.onnx"
TORCHSCRIPT = "model.ts"
GOLDEN = "golden.npz"
CALIBRATION = "calibration.parquet"
REFERENCE = "reference.parquet"
WEIGHTS = "weights.npz"
SIGNATURES = "signatures.json"
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
        files: every other file's bytes, those that the manifest names.
        signatures: signatures.json, which the manifest cannot name; empty where nobody has signed it.
    """

    location: Path
    manifest: Manifest
    manifest_sha256: str
    files: dict[str, bytes]
    signatures: bytes = b""

    def golden(self) -> dict[str, np.ndarray]:
        """`window` [n, *sample_shape] float32, `attributes` [n, A] of a graph that takes them, and the outputs, by name.

        Raises:
            InputError: the file cannot be read; so do the others.
        """
        return read_npz(self.files[GOLDEN], self._where(GOLDEN))

    def calibration_scores(self) -> np.ndarray:
        """[n] float64: raw scores of held-out normal windows, in time order."""
        where = self._where(CALIBRATION)
        scores = column(read_parquet(self.files[CALIBRATION], where, ["score"]), "score", np.float64, where)
        if not np.isfinite(scores).all():
            raise InputError(f"{where}: has scores that are no finite numbers; write the bundle again")
        return scores

    def reference_rows(self) -> np.ndarray:
        """[n, C] float32, raw units: the rows of the reference windows, NaN where a sensor gave nothing."""
        where = self._where(REFERENCE)
        table = read_parquet(self.files[REFERENCE], where, ["window"])
        return lists(table, "window", self.manifest.sample_shape[-1], where).astype(np.float32, copy=False)

    def reference_times(self) -> np.ndarray:
        """[k] int64: event time (us) of the last row of each reference window."""
        where = self._where(REFERENCE)
        return column(read_parquet(self.files[REFERENCE], where, ["time"]), "time", np.int64, where)

    def weights(self) -> dict[str, np.ndarray] | None:
        """What a network's training ended with, by `<part>/<name>`; None where the bundle keeps none."""
        return read_npz(self.files[WEIGHTS], self._where(WEIGHTS)) if WEIGHTS in self.files else None

    def _where(self, name: str) -> str:
        """What errors call a file."""
        return str(self.location / name)

    def open_graph(
        self, *, device: str = "auto", threads: int = 1, timeout_s: float = LOAD_TIMEOUT_S, warm_up: bool = False
    ) -> Graph:
        """The graph, checked against the manifest and the golden windows.

        Args:
            timeout_s: that all of it may take, see `LoadDeadline`.
            warm_up: also run the batch sizes that count, see `Graph.warm_up`.

        Raises:
            InputError: the graph disagrees with either, does not end, or a table of the bundle cannot be read; it must not be used.
        """
        with LoadDeadline(str(self.location), timeout_s) as deadline:
            graph = deadline.graph = Graph(
                self.files[MODEL], name=str(self.location / MODEL), device=device, threads=threads
            )
            self._check_graph(graph)
            try:
                self._check_golden(graph)
                self._check_tables()
                if warm_up:
                    graph.warm_up()
            except InputError:
                raise
            except (
                Exception
            ) as error:  # onnxruntime raises a family of unrelated types, numpy what foreign shapes lead to
                first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
                raise InputError(
                    f"{self.location}: {MODEL} cannot be run on {GOLDEN} ({first}); export it again"
                ) from error
        return graph

    def _check_tables(self) -> None:
        """
        Raises:
            InputError: a table that thresholds or drift start from cannot be read.
        """
        self.calibration_scores()
        self.reference_rows()

    def _check_graph(self, graph: Graph) -> None:
        """
        Raises:
            InputError: it takes other inputs than the manifest says.
        """
        where, manifest = self.location, self.manifest
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

    def _check_golden(self, graph: Graph) -> None:
        """Every output of the graph must be what the bundle says of it, on windows of the bundle.

        Raises:
            InputError: an output differs, or nothing is said of one.
        """
        where, manifest, golden = self.location, self.manifest, self.golden()
        inputs = ("window", "attributes") if graph.attribute_width else ("window",)
        for name in (*inputs, *graph.output_names):
            if name not in golden:
                raise InputError(
                    f"{where}: {GOLDEN} has no '{name}', which {MODEL} {'takes' if name in inputs else 'gives'}: it cannot be checked; "
                    "write the bundle again"
                )
        count = len(golden["window"]) if golden["window"].ndim else 0
        wanted = {"window": (count, *manifest.sample_shape), "attributes": (count, manifest.attribute_width)}
        for name in inputs:
            if not count or golden[name].shape != wanted[name] or golden[name].dtype != np.float32:
                raise InputError(
                    f"{where}: '{name}' of {GOLDEN} is {golden[name].dtype} {golden[name].shape}, expected float32 of one window or "
                    f"more, each {manifest.sample_shape if name == 'window' else wanted[name][1:]}; write the bundle again"
                )
        output = graph.run(golden["window"], golden.get("attributes"))
        shape = manifest.contribution_shape
        if shape is not None and output.contribution.shape[1:] != shape:
            found, said = (" x ".join(map(str, each)) for each in (output.contribution.shape[1:], shape))
            raise InputError(
                f"{where}: contributions of {MODEL} are {found}, the manifest says {said} (bands x time columns); write the "
                "bundle again"
            )
        for name in graph.output_names:
            difference = _difference(getattr(output, name), golden[name])
            if not difference <= GOLDEN_RELATIVE_TOLERANCE:
                raise InputError(
                    f"{where}: output '{name}' of {MODEL} differs from {GOLDEN} by {difference:.2g} of its range, "
                    f"at most {GOLDEN_RELATIVE_TOLERANCE:g} is allowed; the bundle or this onnxruntime is broken"
                )


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, as a share of the wanted values' range; infinite where shapes differ, NaN where values are."""
    if found.shape != wanted.shape or wanted.dtype.kind not in "fiu":
        return math.inf
    if not wanted.size:
        return 0.0
    wanted = wanted.astype(np.float64)
    return float(np.max(np.abs(found - wanted))) / max(1e-12, float(np.max(np.abs(wanted))))


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
        with BundleFiles(path) as files:
            size = files.size(MANIFEST)
            if size is None:
                raise InputError(f"{path}: has no {MANIFEST}, so it is not a bundle; 'wheeltapper train' writes one")
            if size > LARGEST_MANIFEST_BYTES:
                raise InputError(
                    f"{path}/{MANIFEST}: has {size} bytes, at most {LARGEST_MANIFEST_BYTES} are read; is it a bundle's?"
                )
            text = files.read(MANIFEST, size)
            manifest = _manifest(path, text)
            for name in {*manifest.files, *REQUIRED}:
                check_name(name, path)
                if name not in manifest.files:
                    raise InputError(f"{path}: {MANIFEST} gives no sha256 for {name}; write the bundle again")
            contents = files.read_all((*manifest.files, SIGNATURES))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a bundle ({error}); expected a folder or a .zip") from error
    signatures = contents.pop(SIGNATURES, b"") if SIGNATURES not in manifest.files else b""
    for name, wanted in manifest.files.items():
        if name not in contents:
            raise InputError(f"{path}: {name} is missing; copy the bundle again, whole")
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != wanted:
            raise InputError(
                f"{path}: {name} has sha256 {found[:12]}.., the manifest says {wanted[:12]}..; "
                "it was changed or cut short: copy the bundle again"
            )
    return Bundle(path, manifest, hashlib.sha256(text).hexdigest(), contents, signatures)


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        return read_manifest(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or MANIFEST
        raise InputError(
            f"{path}/{MANIFEST}: {field}: {first['msg']}; write the bundle again with this version of wheeltapper"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}/{MANIFEST}: {error}; write the bundle again with this version of wheeltapper"
        ) from error


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
