"""Bundles with something spoilt in them, and a process that opens one after the other as a worker does.

A graph may crash or hold up the process that runs it: so this one is watched by the test, which starts it again behind such a bundle.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto

from tests.helpers.memory import forget_peak, peak, resident
from tests.scale.mutations import bent, odd_json, odd_value, shown
from tests.unit.stream.bundles import Recipe, files_of, manifest_of
from tests.unit.stream.feeds import block_of, feed, row_by_row
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.bundle.store import sha256_of
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

Files = dict[str, bytes]

LIMIT_S = 20.0
"""That a graph may take to open."""
MEMORY_MB = 2_048
"""That the process may take beside its libraries; what asks for more than there is gets an error, as everywhere."""
RECIPES = (Recipe(), Recipe(longest_run=8), Recipe(window=3, warm_up=2))


def good_files(recipe: Recipe) -> Files:
    """Of a bundle with every table that a bundle may have."""
    files = files_of(recipe)
    width = len(recipe.channels)
    score = pq.read_table(io.BytesIO(files["calibration.parquet"]))["score"]
    times = np.arange(len(score), dtype=np.int64) * 60_000_000
    files["calibration.parquet"] = _parquet(
        pa.table({"score": score, "time": times, "embedding": [[0.5, 1.0]] * len(score)})
    )
    windows = pq.read_table(io.BytesIO(files["reference.parquet"]))["window"]
    files["reference.parquet"] = _parquet(
        pa.table({"window": windows, "time": np.arange(len(windows), dtype=np.int64)})
    )
    rng, count = np.random.default_rng(5), 60
    blocks: dict[str, Any] = {name: rng.random((count, width)).tolist() for name in ("mean", "spread", "q10", "q90")}
    blocks |= {"time": range(count), "block_us": [7_200_000_000] * count, "score": rng.random(count)}
    files["drift.parquet"] = _parquet(pa.table(blocks))
    return files


def spoilt(recipe: Recipe, rng: np.random.Generator) -> tuple[str, dict[str, bytes] | bytes]:
    """What was done, and the bundle: its files, or the bytes of a .zip."""
    files = good_files(recipe)
    manifest = json.loads(manifest_of(recipe, files).model_dump_json())
    what = str(rng.choice(["manifest", "manifest", "bytes", "graph", "npz", "parquet", "damage", "zip", "swap"]))
    name = str(rng.choice(sorted(files)))
    others = tuple(files.values())
    if what == "bytes":
        files[name] = bent(files[name], rng, others)
    elif what == "graph":
        name, files["model.onnx"] = "model.onnx", _odd_graph(files["model.onnx"], rng)
    elif what == "npz":
        name, files["golden.npz"] = "golden.npz", _odd_npz(files["golden.npz"], rng)
    elif what == "parquet":
        name = str(rng.choice([name for name in sorted(files) if name.endswith(".parquet")]))
        files[name] = _odd_parquet(files[name], rng)
    elif what == "swap":
        files[name] = others[int(rng.integers(len(others)))]
    manifest["files"] = sha256_of(files)
    whole = {"manifest.json": shown(odd_json(manifest, rng) if what == "manifest" else manifest), **files}
    if what == "damage":
        name = str(rng.choice(sorted(whole)))
        whole[name] = bent(whole[name], rng, others)
        if rng.random() < 0.1:
            del whole[name]
    if what == "zip" or rng.random() < 0.2:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, data in whole.items():
                archive.writestr(each, data)
        data = packed.getvalue()
        return f"{what} {name} zipped", bent(data, rng, others) if what == "zip" else data
    return f"{what} {name}", whole


def _odd_graph(data: bytes, rng: np.random.Generator) -> bytes:
    """A valid message of ONNX with one part of its graph changed."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    node = graph.node[int(rng.integers(len(graph.node)))]
    tensor = graph.initializer[int(rng.integers(len(graph.initializer)))]
    names = [name for each in graph.node for name in (*each.input, *each.output)]
    operators = ("Add", "Div", "Log", "Loop", "If", "Tile", "Expand", "Range", "Resize", "Reshape", "Gather", "Concat", "NonZero", "TopK", "Nope")  # fmt: skip
    match int(rng.integers(11)):
        case 0:
            node.op_type = str(rng.choice(operators))
        case 1 if node.input:
            node.input[int(rng.integers(len(node.input)))] = str(rng.choice([*names, "", "nobody"]))
        case 2:
            node.output[0] = str(rng.choice([*names, ""]))
        case 3:
            tensor.dims[:] = [int(rng.choice([0, -1, 1, 3, 2**31, 2**40, 2**62])) for _ in range(int(rng.integers(4)))]
        case 4:
            tensor.data_type = int(rng.integers(0, 25))
        case 5:
            values = np.frombuffer(tensor.raw_data, dtype=np.float32).copy()
            if len(values):
                values[int(rng.integers(len(values)))] = float(rng.choice([np.nan, np.inf, -1, 0, 1e38, 2**31]))
            tensor.raw_data = values.tobytes()
        case 6:
            model.opset_import[0].version = int(rng.choice([0, -1, 1, 7, 13, 21, 99, 2**62]))
        case 7:
            value = graph.output[int(rng.integers(len(graph.output)))]
            value.name = str(rng.choice([*names, "embedding", "score"]))
        case 8:
            shape = (graph.input[0], *graph.output)[int(rng.integers(1 + len(graph.output)))].type.tensor_type.shape
            place = shape.dim[int(rng.integers(len(shape.dim)))]
            place.dim_value = int(rng.choice([0, -1, 1, 2, 2**31, 2**62]))
        case 9:
            kind = str(rng.choice(["ConstantOfShape", "Loop", "Expand"]))
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(np.array([int(rng.choice([2, 2**20, 2**33, 2**40]))]), "size")
            )
            node.op_type, node.input[:] = kind, [*list(node.input)[:1], "size"][-2 if kind == "Expand" else -1 :]
        case _:
            model.ir_version = int(rng.choice([0, 1, 99, 2**62]))
            graph.input[0].type.tensor_type.elem_type = int(rng.choice([TensorProto.DOUBLE, TensorProto.STRING, 0, 99]))
    return bytes(model.SerializeToString())


def _odd_npz(data: bytes, rng: np.random.Generator) -> bytes:
    """Members packed rightly, one of them changed within."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice(sorted(members)))
    array = np.load(io.BytesIO(members[name]))
    kinds = ("<f8", "<f2", ">f4", "<i4", "<c8", "<U4", "S4", "?", "<M8[us]")
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: bent(members[name], rng),
        lambda: _npy(array.astype(str(rng.choice(kinds)))),
        lambda: _npy(array.reshape(-1)),
        lambda: _npy(array[:0]),
        lambda: _npy(array[..., None]),
        lambda: _npy(np.where(rng.random(array.shape) < 0.2, np.float32(rng.choice([np.nan, np.inf, 1e30])), array)),
        lambda: _npy(np.repeat(array, 50, axis=0)),
        lambda: _npy(np.asfortranarray(array.T)),
        lambda: members[name].replace(
            b"(3,", str(rng.choice(["(-3,", "(3000000000,", "(3.0,", "('a',", "(3,(3,"])).encode()
        ),
        lambda: _npy(np.float32(1.0)),
    )
    with np.errstate(all="ignore"):
        members[name] = changes[int(rng.integers(len(changes)))]()
    if rng.random() < 0.2:
        members[str(rng.choice([name[:-4], "embedding.npy", "attributes.npy", "../" + name]))] = members.pop(name)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return packed.getvalue()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _odd_parquet(data: bytes, rng: np.random.Generator) -> bytes:
    """A table whose columns are of other types, lengths and names."""
    table = pq.read_table(io.BytesIO(data))
    columns = {name: table[name].to_pylist() for name in table.column_names}
    name = str(rng.choice(sorted(columns)))
    values, rows = columns[name], table.num_rows
    odd: tuple[Callable[[], Any], ...] = (
        lambda: [None] * rows,
        lambda: [float("nan")] * rows,
        lambda: [float("inf")] * rows,
        lambda: pa.array([str(value) for value in values]),
        lambda: pa.array([[value] for value in values]),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: [None if rng.random() < 0.3 else value for value in values],
        lambda: pa.array([2**63 - 1] * rows),
        lambda: pa.array([-(2**63)] * rows),
        lambda: pa.array([True] * rows),
        lambda: pa.array([b"\xff"] * rows),
        lambda: pa.array([0] * rows, pa.timestamp("us")),
        lambda: pa.array([0] * rows, pa.date32()),
        lambda: pa.array(["a"] * rows).dictionary_encode(),
        lambda: pa.array([[1.0] * int(rng.integers(0, 5)) for _ in range(rows)]),
        lambda: pa.array([[1.0, 2.0]] * rows, pa.list_(pa.float32(), 2)),
        lambda: pa.array([[None, 1.0, None]] * rows),
        lambda: pa.array([None if rng.random() < 0.3 else [1.0, 1.0, 1.0] for _ in range(rows)]),
        lambda: pa.array([1] * rows, pa.uint64()),
        lambda: pa.array([1] * rows, pa.decimal128(9, 2)),
        lambda: pa.array([1.0] * rows, pa.float16()),
        lambda: pa.nulls(rows),
        lambda: pa.array([-1e300] * rows),
        lambda: pa.array([0.0] * rows),
    )
    columns[name] = odd[int(rng.integers(len(odd)))]()
    match int(rng.integers(8)):
        case 0:
            columns.pop(name)
        case 1:
            columns[str(odd_value(rng))[:40].encode("utf-8", "replace").decode()] = columns.pop(name)
        case 2:
            return _parquet(pa.table(columns).slice(0, int(rng.integers(0, 2))))
        case 3:
            doubled = pa.table(columns)
            return _parquet(doubled.append_column(name, doubled.column(name)))
    return _parquet(pa.table(columns), row_group_size=int(rng.choice([1, 1000])))


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def placed(folder: Path, bundle: dict[str, bytes] | bytes) -> Path:
    """The bundle as a folder, or as a .zip."""
    if isinstance(bundle, bytes):
        target = folder.with_suffix(".zip")
        target.write_bytes(bundle)
        return target
    folder.mkdir()
    for name, data in bundle.items():
        (folder / name).write_bytes(data)
    return folder


def bundle_of(seed: int, number: int) -> tuple[str, Recipe, dict[str, bytes] | bytes]:
    """The bundle of that number: the same in every process."""
    rng = np.random.default_rng([seed, number])
    recipe = RECIPES[int(rng.integers(len(RECIPES)))]
    what, bundle = spoilt(recipe, rng)
    return what, recipe, bundle


def outcome(location: Path, recipe: Recipe) -> Iterator[str]:
    """'refused: why', 'right' or what is wrong."""
    settings = Settings.model_validate({"bundles": {"load_timeout_s": LIMIT_S}})
    windows = np.random.default_rng(3).random((4, recipe.window, len(recipe.channels))).astype(np.float32)
    wanted = recipe.contribution(windows).sum(axis=1)
    try:
        graph = open_bundle(location).open_graph(device="cpu", timeout_s=LIMIT_S)
        routes = load_routes([f"*={location}"], settings)
    except InputError as error:
        yield "refused: " + str(error) if "\n" not in str(error) else f"WRONG: two lines: {error!r}"
        return
    found = graph.run(windows).score
    if not np.allclose(found, wanted, rtol=3e-3, atol=3e-3):
        yield f"WRONG: scores {found.tolist()}, expected {wanted.tolist()}"
        return
    rows = np.full((40, 3), 0.5)
    rows[20:] += 4
    feed(Pipeline(routes, settings), row_by_row(block_of("press-1", rows)))
    yield "right"


def main(folder: Path, seed: int, first: int, stop: int) -> None:
    """Open bundles first..stop, a JSON line before and one behind each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for number in range(first, stop):
            what, recipe, bundle = bundle_of(seed, number)
            location = placed(folder / f"{number}", bundle)
            answers.write(orjson.dumps({"number": number, "what": what}).decode() + "\n")
            answers.flush()
            forget_peak()
            before = resident()
            try:
                (said,) = outcome(location, recipe)
            except Exception:
                said = "WRONG: " + traceback.format_exc()
            line = {"number": number, "what": what, "said": said, "megabytes": peak() - before}
            answers.write(orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")
            answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
