"""A whole comparison on small machines: files, resuming, failures, interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.machines import normal_rows
from tests.unit.training.compare.fake_jobs import act_by_name, read_but_do_not_train
from tests.unit.training.compare.test_document import Page
from wheeltapper.cli import main
from wheeltapper.training.lab.compare.contenders import parse_contenders
from wheeltapper.training.lab.compare.jobs import Job, judging_jobs
from wheeltapper.training.lab.compare.results import METRICS
from wheeltapper.training.lab.compare.run import CompareOptions, compare, report_only
from wheeltapper.training.lab.compare.sources import Source, find_sources

MACHINES = tuple(f"machine-1-{index}" for index in range(1, 6))
DETECTORS = ["pca:window=8", "l2-norm", "range-bands:window=5000"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five machines in SMD's layout, each with two faults of two named channels."""
    folder = tmp_path_factory.mktemp("data") / "smd"
    folder.mkdir()
    for index, name in enumerate(MACHINES):
        rows = normal_rows(1000, 38, seed=index)
        rows = (rows - rows.min(axis=0)) / np.ptp(rows, axis=0)
        labels = np.zeros(400, np.uint8)
        for start in (100, 250):
            rows[600 + start : 620 + start, [index, index + 1]] += 1.5
            labels[start : start + 20] = 1
        np.savez(folder / f"{name}.npz", train=rows[:600], test=rows[600:], test_label=labels)
        lines = [f"{start}-{start + 20}:{index + 1},{index + 2}" for start in (100, 250)]
        (folder / f"{name}.interpretation.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a first run over all machines."""
    folder = tmp_path_factory.mktemp("out")
    assert main(command(data, folder)) == 0
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    named = ["compare", "--dataset", "smd", "--data", str(data), "--detectors", *DETECTORS, "--out", str(out)]
    return [*named, "--jobs", "1", *more]


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows = json.loads((out / "results.json").read_text())
    assert isinstance(rows, list)
    return rows


@pytest.mark.slow
def test_results_have_one_row_for_each_detector_and_entity(out: Path) -> None:
    rows = [row for row in rows_of(out) if row["role"] == "detector"]
    assert {(row["entity"], row["detector"]) for row in rows} == {(m, d) for m in MACHINES for d in DETECTORS}
    for row in rows:
        assert row["dataset"] == "smd"
        assert row["seed"] == 0
        assert row.keys() >= {"detector", "settings", "cut", "error", "vus_pr_leak", *METRICS}
    good = [row for row in rows if row["detector"] == "pca:window=8"]
    for row in good:
        assert row["error"] is None
        assert row["settings"] == {"window": "8"}
        assert row["vus_pr"] > 0.8
        assert row["event_recall"] == 1.0
        assert row["hit_rate_100"] > 0.8
        assert min(row["train_seconds"], row["windows_per_second"], row["bundle_bytes"]) > 0
        # SMD comes scaled over its test part: what that would have earned stands beside
        assert row["vus_pr_leak"] is not None


@pytest.mark.slow
def test_a_detector_that_cannot_be_trained_is_a_row_with_its_reason(out: Path) -> None:
    failed = [row for row in rows_of(out) if row["detector"] == "range-bands:window=5000"]
    assert len(failed) == len(MACHINES)
    assert all("train rows" in row["error"] and row["vus_pr"] is None for row in failed)


@pytest.mark.slow
def test_floors_are_rows_and_called_floors(out: Path) -> None:
    floors = [row for row in rows_of(out) if row["role"] == "floor" and row["entity"] == MACHINES[0]]
    expected = ["random", "l2", "pca", "kmeans_ad", "isolation_forest"]
    assert [row["detector"] for row in floors] == [f"floor:{name}" for name in expected]
    assert all(row["vus_pr"] is not None for row in floors)
    assert [row["hit_rate_100"] is not None for row in floors] == [True, True, True, False, False]


@pytest.mark.slow
def test_the_report_shows_tables_ranks_scores_and_what_failed(out: Path) -> None:
    page = Page((out / "report.html").read_text())
    assert page.open == []
    for cell in (
        "pca:window=8",
        "floor: random",
        "floor: squared error (L2 norm)",
        "HitRate@100",
        "windows/s",
        MACHINES[-1],
    ):
        assert cell in page.cells, cell
    images = [attributes["alt"] or "" for tag, attributes in page.attributes if tag == "img"]
    assert sum("Mean ranks by VUS-PR over 5 entities" in alt for alt in images) == 2  # of smd, and over all data sets
    assert sum("calibrated score by row" in alt for alt in images) == len(MACHINES)
    markdown = (out / "report.md").read_text()
    assert "| pca:window=8 |" in markdown
    assert "VUS-PR with the leak" in markdown
    assert "needs at least" in markdown  # the reason of the detector that could not be trained
    assert "smd: above random scores and the L2 norm: " in markdown
    assert (out / "figures" / "ranks-smd.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_second_run_trains_nothing(data: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows_of(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "jobs").rglob("*.json")}
    assert main(command(data, out)) == 0
    assert "0 done now" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (out / "jobs").rglob("*.json")} == times
    assert rows_of(out) == before


@pytest.mark.slow
def test_reports_can_be_written_without_the_data(out: Path, tmp_path: Path) -> None:
    before = rows_of(out)
    contenders, auto = parse_contenders(["all"])
    found = report_only(CompareOptions(out, contenders, auto=auto))
    assert {(row["entity"], row["detector"]) for row in found.rows} == {
        (row["entity"], row["detector"]) for row in before
    }
    assert main(["compare", "--report-only", "--out", str(tmp_path)]) == 2


def test_what_is_finished_survives_an_interruption(data: Path, tmp_path: Path) -> None:
    # Given a run that is interrupted after its second judged job
    ended: list[str] = []

    class Interrupting:
        def start(self, job: Job) -> None: ...

        def end(self, job: Job, outcome: dict[str, Any]) -> None:
            ended.append(job.title)
            if len(ended) == 4:
                raise KeyboardInterrupt

    @contextmanager
    def watch(title: str, total: int, kept: int) -> Iterator[Interrupting]:
        yield Interrupting()

    options = CompareOptions(tmp_path, parse_contenders(["l2-norm"])[0], auto=False, leak=False)
    sources = find_sources(["smd"], data, MACHINES[:2])[0]
    with pytest.raises(KeyboardInterrupt):
        compare(sources, options, watch=watch, execute=read_but_do_not_train)
    # When the same is run again, then only the rest is done
    again = compare(sources, options, execute=read_but_do_not_train)
    assert (again.kept, again.done) == (4, 2)
    assert all(row["error"] is None for row in again.rows)


def test_data_that_changed_is_judged_again(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "smd"
    copy.mkdir()
    content = (data / "machine-1-1.npz").read_bytes()
    (copy / "machine-1-1.npz").write_bytes(content)
    options = CompareOptions(tmp_path / "out", parse_contenders(["l2-norm"])[0], auto=False, leak=False)

    def judged() -> int:
        return compare(find_sources(["smd"], copy)[0], options, execute=read_but_do_not_train).done

    assert judged() == 3
    # The same bytes under another time: read again, but nothing is trained
    (copy / "machine-1-1.npz").write_bytes(content)
    assert judged() == 1
    # One value of the train part is another
    with np.load(copy / "machine-1-1.npz") as arrays:
        changed = {name: arrays[name].copy() for name in arrays.files}
    changed["train"][5, 5] += 0.5
    np.savez(copy / "machine-1-1.npz", **changed)
    assert judged() == 3


def test_a_series_that_cannot_be_read_is_a_row_too(tmp_path: Path) -> None:
    (tmp_path / "machine-1-1.npz").write_bytes(b"no archive")
    options = CompareOptions(tmp_path / "out", parse_contenders(["pca"])[0])
    found = compare(find_sources(["smd"], tmp_path)[0], options)
    assert [(row["detector"], row["vus_pr"]) for row in found.rows] == [("pca", None)]
    assert "cannot be read" in found.rows[0]["error"]


def test_a_worker_that_dies_is_a_row_too(tmp_path: Path) -> None:
    sources = [Source("smd", tmp_path, ("crash",))]
    found = compare(sources, CompareOptions(tmp_path / "out", parse_contenders(["pca"])[0]), execute=act_by_name)
    assert "ended by itself (signal SIGKILL" in found.rows[0]["error"]


def test_auto_is_trained_once_where_its_choice_takes_part_anyway() -> None:
    facts = {("smd", "a"): {"sha256": "1"}, ("smd", "b"): {"sha256": "2"}}
    contenders, _ = parse_contenders(["pca", "alora"])
    chosen = dict.fromkeys(facts, contenders[0])

    def labels(chosen: dict[Any, Any]) -> list[tuple[str, str, int]]:
        sources = [Source("smd", Path("x"), ("a", "b"), scaled_over_test=False)]
        options = {"leak": True, "budget_s": None, "stride": 1, "device": "cpu"}
        jobs = judging_jobs(sources, facts, contenders, chosen, seeds=(0, 1), **options)  # type: ignore[arg-type]
        return [(job.entity, job.label, job.seed) for job in jobs if job.kind == "detector"]

    # PCA knows no chance: one seed. What auto picks is one of them, nothing more is trained
    expected = [("pca", 0), ("alora", 0), ("alora", 1)]
    assert labels(chosen) == [(entity, *rest) for entity in "ab" for rest in expected]
    # Where it is another detector it is trained too
    other = parse_contenders(["l2-norm"])[0][0]
    assert ("b", "l2-norm", 0) in labels(dict.fromkeys(facts, other))


def test_all_is_every_data_set_below_the_folder(data: Path) -> None:
    # Given a folder of data sets: one that is whole, one that holds nothing of what it should
    broken = data.parent / "hai"
    broken.mkdir(exist_ok=True)
    sources, notes = find_sources(["all"], data.parent)
    assert [(source.dataset, source.folder, source.entities) for source in sources] == [("smd", data, MACHINES)]
    assert sources[0].scaled_over_test
    assert len(notes) == 1
    assert notes[0].startswith("hai is left out: ")
    # Several by name are looked for in the folder of folders, too; what needs no files needs none
    named, _ = find_sources(["smd", "simulated"], data.parent, ["machine-1-1", "pump-1"])
    assert [(source.dataset, source.entities) for source in named] == [
        ("smd", ("machine-1-1",)),
        ("simulated", ("pump-1",)),
    ]


def test_data_sets_take_turns() -> None:
    sources = [Source("smd", Path("x"), ("a", "b", "c")), Source("nab", Path("y"), ("d",))]
    facts = {(source.dataset, entity): {"sha256": entity} for source in sources for entity in source.entities}
    jobs = judging_jobs(sources, facts, [], {}, seeds=(0,), leak=False, budget_s=None, stride=1, device="cpu")
    assert [job.entity for job in jobs] == ["a", "d", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "smdd"], "did you mean 'smd'"),
        (["--dataset", "smd", "--entities", "machine-9-9"], "no machine-9-9 in smd"),
        (["--dataset", "all", "smd"], "'all' stands alone"),
        (["--dataset", "smd", "--budget", "0"], "--budget is 0 minutes"),
        (["--dataset", "smd", "--budget", "nan"], "--budget is nan minutes"),
        (["--dataset", "smd", "--jobs", "0"], "--jobs is 0"),
        (["--dataset", "smd", "--stride", "0"], "--stride is 0"),
        (["--dataset", "smd", "--detectors", "pcaa"], "did you mean 'pca'"),
        ([], "--dataset is missing"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments, "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
