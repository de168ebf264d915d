"""Bundles made by an attacker, or broken: each is refused with one line, in bounded time and memory, and shows nothing of the machine."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.stream.bundles import Recipe, files_of, graph_of, manifest_of
from wheeltapper.schemas.bundle import files as files_module
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.bundle.normal_blocks import check_tables
from wheeltapper.schemas.bundle.onnx_file import read_onnx
from wheeltapper.schemas.bundle.probe import BundleProbe
from wheeltapper.schemas.bundle.store import sha256_of
from wheeltapper.schemas.errors import InputError

Files = dict[str, bytes]


def place(folder: Path, changes: Files | None = None, manifest: dict[str, Any] | None = None) -> Path:
    """A bundle whose manifest names the right hashes of whatever files it has."""
    files = files_of(Recipe()) | (changes or {})
    fields = json.loads(manifest_of(Recipe(), files).model_dump_json())
    for name, value in (manifest or {}).items():
        fields[name] = {**fields[name], **value} if isinstance(value, dict) else value
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({**fields, "files": sha256_of(files)}))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def load(location: Path, timeout_s: float = 60.0) -> None:
    """As a worker does."""
    bundle = open_bundle(location)
    bundle.open_graph(device="cpu", timeout_s=timeout_s, warm_up=True)
    check_tables(bundle)


def refusal(location: Path, timeout_s: float = 60.0) -> str:
    with pytest.raises(InputError) as error:
        load(location, timeout_s)
    assert "\n" not in str(error.value)
    return str(error.value)


# -- graphs ----------------------------------------------------------------------------------------------------------------


def outside(tensor: TensorProto, where: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", where


def with_initializer_outside(model: onnx.ModelProto, where: str) -> None:
    outside(next(tensor for tensor in model.graph.initializer if tensor.name == "usual"), where)


def with_constant_outside(model: onnx.ModelProto, where: str) -> None:
    """In a node of a graph within a graph."""
    tensor = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "secret")
    outside(tensor, where)
    constant = helper.make_node("Constant", [], ["value"], value=tensor)
    branch = helper.make_graph(
        [constant], "branch", [], [helper.make_tensor_value_info("value", TensorProto.FLOAT, [3])]
    )
    model.graph.node.append(helper.make_node("If", ["yes"], ["either"], then_branch=branch, else_branch=branch))


def with_function_outside(model: onnx.ModelProto, where: str) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "secret")
    outside(tensor, where)
    node = helper.make_node("Constant", [], ["value"], value=tensor)
    model.functions.append(helper.make_function("plant", "secret", [], ["value"], [node], []))


def with_sparse_outside(model: onnx.ModelProto, where: str) -> None:
    values = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "secret")
    outside(values, where)
    indices = numpy_helper.from_array(np.arange(3), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))


@pytest.mark.parametrize(
    "spoil", [with_initializer_outside, with_constant_outside, with_function_outside, with_sparse_outside]
)
@pytest.mark.parametrize("where", ["secret.bin", "../secret.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_a_graph_whose_values_lie_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[onnx.ModelProto, str], None], where: str
) -> None:
    # given a file in the working directory, and a graph with a tensor that is read from it
    (tmp_path / "secret.bin").write_bytes(np.full(3, 41, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    model = onnx.load_model_from_string(graph_of(Recipe()))
    spoil(model, where)
    # when it is opened: then it is refused before it is loaded
    said = refusal(place(tmp_path / "bundle", {"model.onnx": model.SerializeToString()}))
    assert "lie outside of the file; a bundle's graph must be one piece" in said


def test_what_a_graph_does_is_told_and_damage_is_noticed() -> None:
    # given a graph, and the same cut short and bent everywhere
    data = graph_of(Recipe())
    assert read_onnx(data, "x").operators["ReduceSum"] == 2
    said = set()
    for place_ in range(len(data)):
        for bent in (data[:place_], data[:place_] + b"\xff" + data[place_ + 1 :]):
            try:
                read_onnx(bent, "x")
            except InputError as error:
                said.add(str(error)[:25])
    # then nothing but an error of ours comes out
    assert said <= {
        "x: is not an ONNX file (c",
        "x: is not an ONNX file (f",
        "x: is not an ONNX file (i",
        "x: is not an ONNX file (a",
        "x: the values of tensor ''",
        "x: the values of tensor '",
    }
    # and graphs within graphs are followed so far, and no further
    read_onnx(nested(10), "x")
    with pytest.raises(InputError, match="nested more than 16 deep"):
        read_onnx(nested(2_000), "x")


def nested(depth: int) -> bytes:
    """A model whose node holds a graph, whose node holds a graph, ..; by hand, as the library refuses to write it."""
    graph = b""
    for _ in range(depth):
        for field in (6, 5, 1):  # the graph of an attribute of a node
            graph = bytes([field << 3 | 2]) + varint(len(graph)) + graph
    return b"\x3a" + varint(len(graph)) + graph


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def endless() -> bytes:
    """A graph whose score is the end of a loop that has none."""
    model = onnx.load_model_from_string(graph_of(Recipe()))
    values = {
        name: helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("turn", TensorProto.INT64, []),
            ("go", TensorProto.BOOL, []),
            ("on", TensorProto.BOOL, []),
            ("before", TensorProto.FLOAT, ["N"]),
            ("after", TensorProto.FLOAT, ["N"]),
        )
    }
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [values["turn"], values["go"], values["before"]],
        [values["on"], values["after"]],
    )
    for node in model.graph.node:
        if "score" in node.output:
            node.output[0] = "first"
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("Loop", ["", "yes", "first"], ["score"], body=body))
    return bytes(model.SerializeToString())


def greedy(side: int) -> bytes:
    """A graph that makes and multiplies square matrices before it answers: one operator that lasts."""
    model = onnx.load_model_from_string(graph_of(Recipe()))
    for node in model.graph.node:
        if "score" in node.output:
            node.output[0] = "first"
    model.graph.initializer.append(numpy_helper.from_array(np.array([side, side]), "shape"))
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            helper.make_node("MatMul", ["zeros", "zeros"], ["product"]),
            helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
            helper.make_node("Add", ["first", "sum"], ["score"]),
        ]
    )
    return bytes(model.SerializeToString())


def test_a_graph_that_does_not_end_is_refused_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    said = refusal(place(tmp_path / "bundle", {"model.onnx": endless()}), timeout_s=0.5)
    assert "did not load and give its outputs within 0.5 s (bundles.load_timeout_s)" in said
    assert time.monotonic() - started < 60


def test_an_operator_that_does_not_return_ends_the_process_with_a_line(tmp_path: Path) -> None:
    # given work that cannot be interrupted: a sleep in place of an operator
    script = (
        "import time\nfrom wheeltapper.schemas.bundle.deadline import LoadDeadline\n"
        "with LoadDeadline('bundles/evil', 0.2, grace_s=0.2):\n    time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    # then the process ends as for any bundle that is refused
    assert ended.returncode == 2
    assert ended.stderr.startswith("wheeltapper: bundles/evil: its graph did not load")


def test_a_bundle_is_tried_in_another_process_that_may_hang_crash_or_run_out_of_memory(tmp_path: Path) -> None:
    # given a good bundle, one whose graph does not end, one that needs gigabytes, and one that is broken
    good = place(tmp_path / "good")
    bad = {
        "endless": {"model.onnx": endless()},
        "greedy": {"model.onnx": greedy(60_000)},
        "broken": {"model.onnx": graph_of(Recipe(weighting="mean"))},
    }
    probe = BundleProbe()
    try:
        said = {}
        for name, files in bad.items():
            bundle = open_bundle(place(tmp_path / name, files))
            limit_s = 3 if name == "endless" else 60
            with pytest.raises(InputError) as error:
                probe.check(bundle.location, bundle.manifest_sha256, timeout_s=limit_s, memory_mb=1_024)
            said[name] = str(error.value)
        # when they are tried: then each is refused for its reason, and the good one passes afterwards
        assert "within 3 s" in said["endless"]
        assert said["greedy"].startswith(str(tmp_path / "greedy"))
        assert "differs from golden.npz" in said["broken"]
        probe.check(good, open_bundle(good).manifest_sha256, timeout_s=60)
        with pytest.raises(InputError, match="another bundle has come there"):
            probe.check(good, "0" * 64, timeout_s=60)
    finally:
        probe.close()


def graph_that_fails() -> bytes:
    """Of which onnxruntime finds out only while it runs that a row is asked for which there is not."""
    model = onnx.load_model_from_string(graph_of(Recipe()))
    (scored,) = (tensor for tensor in model.graph.initializer if tensor.name == "scored")
    for node in model.graph.node:
        node.input[:] = ["row number" if name == "scored" else name for name in node.input]
    far = helper.make_node("Mul", ["scored", "far"], ["row number"])
    model.graph.initializer.append(numpy_helper.from_array(np.array(1_000, dtype=np.int64), "far"))
    model.graph.node.insert(0, far)
    assert numpy_helper.to_array(scored) > 0
    return bytes(model.SerializeToString())


# -- files -----------------------------------------------------------------------------------------------------------------


def npz(**arrays: Any) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def golden_without(*names: str, **others: Any) -> bytes:
    with np.load(BytesIO(files_of(Recipe())["golden.npz"])) as known:
        return npz(**{name: known[name] for name in known.files if name not in names} | others)


def boasting_npz(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """An array whose header says more than there is."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("window.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return file.getvalue()


def packed_zeros(name: str, mebibytes: int) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
        for _ in range(mebibytes):
            member.write(bytes(2**20))
    return file.getvalue()


def parquet(**columns: Any) -> bytes:
    file = BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"golden.npz": golden_without("score")}, "golden.npz has no 'score', which model.onnx gives"),
        ({"golden.npz": golden_without("expected")}, "golden.npz has no 'expected', which model.onnx gives"),
        ({"golden.npz": golden_without("window")}, "golden.npz has no 'window', which model.onnx takes"),
        ({"golden.npz": golden_without(window=np.zeros((0, 5, 3), np.float32))}, "expected float32 of one window or more"),
        ({"golden.npz": golden_without(window=np.zeros((3, 5, 3)))}, "is float64 (3, 5, 3), expected float32"),
        ({"golden.npz": golden_without(score=np.zeros(2, np.float32))}, "differs from golden.npz by inf"),
        ({"golden.npz": golden_without(score=np.full(3, np.nan, np.float32))}, "differs from golden.npz by nan"),
        ({"golden.npz": golden_without(score=np.array(["a"] * 3))}, "differs from golden.npz by inf"),
        ({"golden.npz": boasting_npz((2**44,))}, "cannot be read (window.npy says (17592186044416,) of float32 and has 0 bytes)"),
        ({"golden.npz": boasting_npz((-1,))}, "cannot be read ("),
        ({"golden.npz": boasting_npz((1,), "|O")}, "is of object, expected numbers"),
        ({"golden.npz": packed_zeros("window.npy", 64)}, "1 arrays of 64 MiB from 0.1 MiB"),
        ({"golden.npz": b"PK\x03\x04"}, "golden.npz: cannot be read ("),
        ({"calibration.parquet": b"PAR1"}, "calibration.parquet: cannot be read ("),
        ({"calibration.parquet": parquet(level=[1.0])}, "has no column 'score'"),
        ({"calibration.parquet": parquet(score=["a"])}, "column 'score' holds no numbers"),
        ({"calibration.parquet": parquet(score=[1.0, float("inf")])}, "has scores that are no finite numbers"),
        ({"reference.parquet": parquet(window=[[1.0, 2.0]])}, "column 'window' holds no lists of 3 numbers"),
        ({"reference.parquet": parquet(window=[1.0])}, "column 'window' holds no lists of 3 numbers"),
        ({"drift.parquet": parquet(score=[1.0], block_us=[-5])}, "block_us is -5"),
        ({"reference.parquet": parquet(window=[[0.5] * 12, [0.5] * 3], time=[0, 1])}, "column 'time' stands for 10 rows, column 'window' holds 5"),
        ({"calibration.parquet": parquet(score=[0.1] * 4, embedding=[[1.0], [1.0], [1.0], []])}, "holds 3 numbers for 4 scores"),
        ({"model.onnx": graph_that_fails()}, "model.onnx cannot be run on golden.npz ("),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_files_that_are_not_what_they_must_be_are_refused(tmp_path: Path, files: Files, said: str) -> None:
    assert said in refusal(place(tmp_path / "bundle", files))


def test_a_table_that_unfolds_to_gigabytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a table with more values than a bundle's have, a lower limit standing for it, in few bytes
    monkeypatch.setattr(files_module, "MOST_VALUES", 10_000)
    zeros = parquet(score=np.zeros(100_000))
    assert len(zeros) < 20_000
    location = place(tmp_path / "bundle", {"calibration.parquet": zeros})
    # when it is opened: then it is refused by what it says of itself
    assert "100000 values in 100000 rows, at most 10000 are allowed" in refusal(location)


@pytest.mark.parametrize("level", [float("nan"), float("inf"), 1e300, 0.0, -1.0])
def test_an_alarm_level_that_no_score_reaches_is_refused(tmp_path: Path, level: float) -> None:
    assert "calibration" in refusal(place(tmp_path / "bundle", manifest={"calibration": {"alarm_level": level}}))


def zipped(folder: Path, more: Callable[[zipfile.ZipFile], None] = lambda archive: None) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
        more(archive)
    return target


def test_a_zip_that_unfolds_to_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    # given 48 MiB of zeros as a file that the manifest does not name, and as one that it does
    def bomb(archive: zipfile.ZipFile) -> None:
        with archive.open("bomb.bin", "w") as member:
            for _ in range(48):
                member.write(bytes(2**20))

    innocent = zipped(place(tmp_path / "innocent"), bomb)
    named = place(tmp_path / "named")
    fields = json.loads((named / "manifest.json").read_text())
    fields["files"]["bomb.bin"] = "0" * 64
    (named / "manifest.json").write_text(json.dumps(fields))
    # when they are opened: then the first is not even read, and the second refused by what it says of itself
    assert open_bundle(innocent).manifest.bundle_id == Recipe().bundle_id
    assert "at most 200 times as much is allowed" in refusal(zipped(named, bomb))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_names_that_lead_out_of_a_bundle_are_refused(tmp_path: Path, name: str) -> None:
    folder = place(tmp_path / "bundle")
    fields = json.loads((folder / "manifest.json").read_text())
    fields["files"][name] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(fields))
    assert "which is no path within the bundle" in refusal(folder)
    assert "which is no path within the bundle" in refusal(zipped(folder))


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    # given a pipe that nobody writes to in place of the graph, and one in place of the bundle
    folder = place(tmp_path / "bundle")
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    os.mkfifo(tmp_path / "pipe.zip")
    assert "model.onnx is no plain file" in refusal(folder)
    assert "pipe.zip is no plain file" in refusal(tmp_path / "pipe.zip")
    # and a manifest that never ends
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to("/dev/zero")
    assert "manifest.json is no plain file" in refusal(folder)


def test_a_zip_of_a_version_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    # given a .zip whose directory says that a member needs version 20.8 to be unpacked
    target = zipped(place(tmp_path / "bundle"))
    data = bytearray(target.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 208
    target.write_bytes(data)
    assert "cannot be read as a bundle (zip file version 20.8)" in refusal(target)


def test_a_refusal_is_one_line_whatever_it_quotes(tmp_path: Path) -> None:
    # given manifests with names that end lines or clear a terminal
    for number, name in enumerate(["a\nwheeltapper: all is well", "\x1b[2J"]):
        folder = place(tmp_path / str(number))
        fields = json.loads((folder / "manifest.json").read_text())
        fields[name] = 1
        (folder / "manifest.json").write_text(json.dumps(fields))
        # when they are opened: then the line shows what is there
        said = refusal(folder)
        assert said.isprintable()
        assert name.encode("unicode_escape").decode() in said


def test_names_that_no_message_can_carry_are_refused(tmp_path: Path) -> None:
    # given a unit of half a character: the first alert would quote it
    channels = [{"name": name, "unit": "\ud800"} for name in ("a", "b", "c")]
    said = refusal(place(tmp_path / "bundle", manifest={"channels": channels}))
    assert "manifest.json: holds \\ud800, half a character" in said


def test_members_that_are_encrypted_or_packed_otherwise_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path / "bundle")
    target = tmp_path / "odd.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_BZIP2) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    assert "is packed by method 12" in refusal(target)
