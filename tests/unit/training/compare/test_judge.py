"""One job of a comparison: the alarms are those of a worker that runs the bundle at the stride asked for."""

from __future__ import annotations

import pytest

from wheeltapper.offline import open_pipeline, replay_block, run_offline
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.stream.settings import Settings
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.lab.compare import judge
from wheeltapper.training.lab.compare.jobs import Job


@pytest.mark.parametrize("stride", [1, 8])
def test_a_job_counts_the_alerts_of_the_bundle_that_it_wrote(monkeypatch: pytest.MonkeyPatch, stride: int) -> None:
    # given a job at a stride, whose bundle is also given to a worker's pipeline, while it is there
    series = load_series("simulated", None, "pump-1")
    opened: list[int] = []
    strides: list[int] = []
    write = judge.write_bundle

    def written(*arguments: object, **options: object) -> Bundle:
        bundle = write(*arguments, **options)  # type: ignore[arg-type]
        pipeline = open_pipeline([f"*={bundle.location}"], Settings())
        for _ in run_offline(pipeline, replay_block(series)):
            pass
        opened.append(pipeline.counters.alerts.get("opened", 0))
        strides.append(bundle.manifest.stride)
        return bundle

    monkeypatch.setattr(judge, "write_bundle", written)
    # when it is done
    outcome = judge.execute(Job("detector", "simulated", None, "pump-1", "", detector="l2-norm", stride=stride))
    # then it counts the alerts that the worker opened, at an alarm level that was chosen for this stride
    assert outcome["status"] == "done", outcome["error"]
    assert strides == [stride]
    assert outcome["values"]["alarms"] == opened[0] > 0
    assert not any("stride" in warning for warning in outcome["values"]["warnings"])
