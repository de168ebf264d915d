"""What a written bundle holds, that it is the same for the same input, and that nothing broken is ever bundled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.machines import make_series, normal_rows, rows_of
from wheeltapper.models.pca.fit import fit_pca
from wheeltapper.models.range_bands.fit import fit_range_bands
from wheeltapper.models.range_bands.settings import RangeBandSettings
from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.schemas.bundle.store import CALIBRATION, MODEL, REFERENCE, TORCHSCRIPT
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.brought_graph import BroughtGraph, pack_graph, read_model
from wheeltapper.training.fitting.bundle_parts import MAX_CALIBRATION_ROWS
from wheeltapper.training.fitting.bundle_writer import BundleNotes, write_bundle
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions

SETTINGS = {"window": "24", "scored_rows": "8"}


@pytest.fixture(scope="module")
def series() -> SensorSeries:
    return make_series(normal_rows(2500, 7, seed=1), entity="pump 7/a")


@pytest.fixture(scope="module")
def trained(series: SensorSeries) -> tuple[object, CalibrationScores]:
    return train_detector("range-bands", series, TrainOptions(stride=2, settings=SETTINGS))


@pytest.fixture(scope="module")
def bundle(series: SensorSeries, trained: tuple, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    fitted, scores = trained
    return write_bundle(fitted, series, tmp_path_factory.mktemp("bundle") / "b", scores=scores)


def test_manifest_says_what_the_stream_needs(bundle: Bundle, series: SensorSeries) -> None:
    manifest = bundle.manifest
    assert manifest.channel_names == series.channels
    assert (manifest.window, manifest.stride, manifest.lag, manifest.sampling_interval_s) == (24, 2, 0, 60.0)
    assert manifest.inputs[0].shape == ("N", "T", 7)
    assert [(spec.name, spec.shape) for spec in manifest.outputs] == [
        ("score", ("N", "n")),
        ("contribution", ("N", "n", 7)),
        ("expected", ("N", "n", 7)),
        ("embedding", ("N", "n", 21)),
    ]
    assert manifest.calibration.alarm_level > manifest.calibration.center
    assert manifest.training_data.rows == 2500
    assert {"numpy", "onnx", "onnxruntime", "wheeltapper", "python"} <= set(manifest.versions)
    assert manifest.bundle_id.startswith("range-bands-pump-7-a-")
    assert len(manifest.bundle_id.rpartition("-")[2]) == 12


def test_reopened_bundle_proves_its_golden_windows(bundle: Bundle) -> None:
    again = open_bundle(bundle.location)
    graph = again.open_graph(device="cpu")
    golden = again.golden()
    # Golden windows hold normal and grossly disturbed ones: both must score as they did.
    score = graph.run(golden["window"]).score
    np.testing.assert_allclose(score, golden["score"], rtol=1e-5, atol=1e-6)
    assert score[4:].min() > 10 * score[:4].max()


def test_calibration_and_reference_are_bounded_and_in_order(bundle: Bundle, series: SensorSeries) -> None:
    calibration = pq.read_table(pa.BufferReader(bundle.files[CALIBRATION]))
    assert calibration.schema.names == ["score", "time", "embedding"]
    assert [str(calibration.schema.field(name).type) for name in ("score", "time")] == ["double", "int64"]
    assert calibration.num_rows <= MAX_CALIBRATION_ROWS
    assert (np.diff(calibration["time"].to_numpy()) > 0).all()
    assert len(calibration["embedding"][0].as_py()) == 21
    reference = pq.read_table(pa.BufferReader(bundle.files[REFERENCE]))
    assert reference.num_rows <= 512
    first = np.array(reference["window"][0].as_py(), dtype=np.float32).reshape(24, 7)
    np.testing.assert_array_equal(first, series.train[:24])
    assert reference["time"][0].as_py() == series.train_ts[23]


def test_graph_that_lost_its_folder_still_says_what_it_is(bundle: Bundle) -> None:
    properties = {entry.key: entry.value for entry in onnx.load_model_from_string(bundle.files[MODEL]).metadata_props}
    assert properties["wheeltapper.detector"] == "range-bands"
    assert properties["wheeltapper.entity"] == "pump 7/a"
    assert float(properties["wheeltapper.alarm_level"]) == pytest.approx(bundle.manifest.calibration.alarm_level)
    assert "sensor-3" in properties["wheeltapper.channels"]


def test_model_card_names_level_origin_and_blind_spots(bundle: Bundle) -> None:
    card = bundle.files["report/model_card.md"].decode()
    assert bundle.manifest.bundle_id in card
    assert "each scored by a fit on the others" in card
    assert "inside the range of training" in card


def test_same_input_gives_the_same_bundle(bundle: Bundle, series: SensorSeries, tmp_path: Path) -> None:
    # When it is trained and written once more, somewhere else and as a .zip
    fitted, scores = train_detector("range-bands", series, TrainOptions(stride=2, settings=SETTINGS))
    again = write_bundle(
        fitted, series, tmp_path / "again.zip", scores=scores, notes=BundleNotes(created_at="2020-01-01T00:00:00")
    )
    # Then id and every file are the same
    assert again.manifest.bundle_id == bundle.manifest.bundle_id
    assert again.manifest.files == bundle.manifest.files


@pytest.mark.parametrize("change", ["data", "rate", "stride", "setting", "entity"])
def test_whatever_decides_the_alarms_changes_the_id(
    change: str, bundle: Bundle, series: SensorSeries, trained: tuple, tmp_path: Path
) -> None:
    fitted, scores = trained
    rate = 0.25
    if change == "data":
        values = series.train.copy()
        values[100, 0] += 1e-3
        series = replace(series, train=values)
    elif change == "rate":
        rate = 0.5
    elif change == "stride":
        scores = replace(scores, stride=1)
    elif change == "setting":
        fitted, scores = train_detector(
            "range-bands", series, TrainOptions(stride=2, settings=SETTINGS | {"leak": "0.2"})
        )
    else:
        series = replace(series, entity="pump 8")
    other = write_bundle(fitted, series, tmp_path / "b", scores=scores, false_alarms_per_day=rate)
    assert other.manifest.bundle_id.rpartition("-")[2] != bundle.manifest.bundle_id.rpartition("-")[2]


def test_twin_is_left_out_on_request_and_changes_nothing_else(
    bundle: Bundle, series: SensorSeries, trained: tuple, tmp_path: Path
) -> None:
    fitted, scores = trained
    without = write_bundle(fitted, series, tmp_path / "b", scores=scores, torchscript=False)
    assert TORCHSCRIPT not in without.files
    assert without.manifest.bundle_id == bundle.manifest.bundle_id


def test_files_tell_nothing_of_where_they_were_made(bundle: Bundle) -> None:
    here = str(Path(__file__).resolve().parents[4]).encode()
    assert not [name for name, data in bundle.files.items() if here in data]


def test_place_that_is_no_bundle_is_left_alone(series: SensorSeries, trained: tuple, tmp_path: Path) -> None:
    fitted, scores = trained
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a bundle"):
        write_bundle(fitted, series, tmp_path, scores=scores)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_doubtful_calibration_is_said_in_the_manifest(series: SensorSeries, trained: tuple, tmp_path: Path) -> None:
    fitted, scores = trained
    few = replace(scores, score=scores.score[:150], time=scores.time[:150])
    found = write_bundle(fitted, series, tmp_path / "b", scores=few)
    assert found.manifest.calibration.method == "maximum"
    assert any("too few to promise" in warning for warning in found.manifest.warnings)


# -- a graph that somebody brings ------------------------------------------------------------------------------------


def of_windows_alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """The form of a graph that takes one window, with outputs `output_<name>` as its last nodes."""
    window, outputs = model.graph.input[0], list(model.graph.output)
    form = next(node for node in model.graph.node if node.op_type == "If").attribute
    body = next(entry.g for entry in form if entry.name == "then_branch")
    last = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Unsqueeze"}
    nodes = [node for node in body.node if node.output[0] not in last]
    for node in nodes:
        node.input[:] = ["window" if name == "rows_of_forms" else name for name in node.input]
    for entry, own in zip(outputs, body.output, strict=True):
        nodes.append(onnx.helper.make_node("Identity", [last[own.name]], [entry.name], name=f"output_{entry.name}"))
        del entry.type.tensor_type.shape.dim[1]
    rows = window.type.tensor_type.shape.dim[1]
    rows.ClearField("dim_param")
    rows.dim_value = int(next(entry.value for entry in model.metadata_props if entry.key == "window"))
    graph = onnx.helper.make_graph(nodes, "windows", [window], outputs, body.initializer)
    return onnx.helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def broken_runs(model: onnx.ModelProto, break_it: str) -> bytes:
    """A graph that scores a run as no window, or does not say how long one may be."""
    if break_it == "no length":
        del model.metadata_props[:]
        return bytes(model.SerializeToString())
    form = next(node for node in model.graph.node if node.op_type == "If").attribute
    body = next(entry.g for entry in form if entry.name == "else_branch")
    score = body.output[0].name
    for node in body.node:
        node.output[:] = ["plain_score" if name == score else name for name in node.output]
        node.input[:] = ["plain_score" if name == score else name for name in node.input]
    body.node.append(onnx.helper.make_node("Add", ["plain_score", "plain_score"], [score]))
    return bytes(model.SerializeToString())


def graph_of(series: SensorSeries, break_it: str = "") -> bytes:
    """A working graph, or one that is broken in the named way."""
    takes_runs = onnx.load_model_from_string(fit_pca(rows_of(series.train)).onnx_bytes())
    if break_it in ("another run", "no length"):
        return broken_runs(takes_runs, break_it)
    model = of_windows_alone(takes_runs)
    graph = model.graph
    if break_it == "frozen batch":
        dimension = graph.input[0].type.tensor_type.shape.dim[0]
        dimension.ClearField("dim_param")
        dimension.dim_value = 2
    elif break_it == "mixes windows":
        # Scores relative to the batch's mean: different company, different score.
        for node in graph.node:
            if node.name == "output_score":
                node.op_type, node.input[:] = "Sub", [node.input[0], "batch_mean"]
        graph.node.insert(
            len(graph.node) - 4,
            onnx.helper.make_node(
                "ReduceMean",
                [next(n for n in graph.node if n.name == "output_score").input[0]],
                ["batch_mean"],
                keepdims=1,
            ),
        )
    elif break_it == "not a number":
        for node in graph.node:
            if node.name == "output_score":
                node.op_type, node.input[:] = "Log", ["minus"]
        source = next(n for n in graph.node if n.op_type == "ReduceSum").output[0]
        graph.node.insert(len(graph.node) - 4, onnx.helper.make_node("Neg", [source], ["minus"]))
    elif break_it == "negative":
        for node in graph.node:
            if node.name == "output_contribution":
                node.op_type = "Neg"
    elif break_it == "no contribution":
        del graph.output[1]
    return bytes(model.SerializeToString())


def pack(model: bytes, series: SensorSeries, out: Path) -> Bundle:
    fitted, scores = pack_graph(model, series, TrainOptions(), file="mine.onnx", detector="mine")
    return write_bundle(fitted, series, out, scores=scores)


def test_own_graph_is_calibrated_on_the_last_quarter(series: SensorSeries, tmp_path: Path) -> None:
    bundle = pack(graph_of(series), series, tmp_path / "b")
    assert bundle.manifest.detector == "mine"
    assert bundle.manifest.calibration.windows == 625 - 31
    assert bundle.manifest.parameters == {"file": "mine.onnx"}
    bundle.open_graph(device="cpu")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        ("frozen batch", "dynamic"),
        ("mixes windows", "between a batch of 1 and of"),
        ("not a number", "not finite"),
        ("negative", "'contribution' is negative"),
        ("no contribution", "'contribution' is missing"),
        ("another run", "between a run of 2 windows and these alone"),
        ("no length", "with a dynamic row axis, and its metadata_props say"),
    ],
)
def test_broken_graph_is_refused_with_its_fault(
    break_it: str, message: str, series: SensorSeries, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        pack(graph_of(series, break_it), series, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_weights_in_a_second_file_are_taken_along(series: SensorSeries, tmp_path: Path) -> None:
    # Given a graph as torch's exporter leaves it: the weights in a file beside it
    model = onnx.load_model_from_string(graph_of(series))
    path = tmp_path / "mine.onnx"
    onnx.save_model(model, str(path), save_as_external_data=True, location="mine.onnx.data", size_threshold=0)
    # When it is read, then it is whole
    bundle = pack(read_model(path), series, tmp_path / "b")
    assert bundle.manifest.detector == "mine"
    # And without the second file, that is what is said
    (tmp_path / "mine.onnx.data").unlink()
    with pytest.raises(InputError, match=r"weights are in mine\.onnx\.data"):
        read_model(path)


def test_graph_for_other_channels_is_refused(series: SensorSeries, tmp_path: Path) -> None:
    other = make_series(normal_rows(2500, 5))
    with pytest.raises(InputError, match="takes 7 channels, made machine has 5"):
        pack(graph_of(series), other, tmp_path / "b")


def test_twin_that_disagrees_stops_the_export(series: SensorSeries, trained: tuple, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from wheeltapper.training.fitting.export_check import ExportError

    fitted, scores = trained
    # Given the graph of one fit with the twin of another
    other = fit_range_bands(rows_of(series.train[:1200]), RangeBandSettings(window=24, scored_rows=8))
    stranger = BroughtGraph(fitted.onnx_bytes(), "range-bands", 24)
    stranger.torchscript_bytes = other.torchscript_bytes  # type: ignore[method-assign]
    with pytest.raises(ExportError, match="TorchScript: output"):
        write_bundle(stranger, series, tmp_path / "b", scores=scores)
    assert not (tmp_path / "b").exists()
