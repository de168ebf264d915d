from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, ChannelShare
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.judging.plots import AlertSpan, _thinned, alert_spans, plot_run


def event(alert_id: str, kind: str, opened_at: int, time: int, score: float, channel: str) -> AlertEvent:
    return AlertEvent.model_validate(
        {
            "alert_id": alert_id,
            "machine": "pump-1",
            "event": kind,
            "opened_at": opened_at,
            "time": time,
            "severity": 60,
            "score": score,
            "peak_score": score,
            "threshold": 1.0,
            "rule": "pca",
            "detector": "pca",
            "bundle": "b",
            "quality": 1.0,
            "channels": [ChannelShare(channel=channel, share=0.7, actual=1.0).model_dump()],
        }
    )


def test_alert_events_become_spans_with_the_blame_of_their_worst_moment() -> None:
    events = [
        event("two", "opened", 500, 500, 1.1, "flow"),
        event("one", "opened", 100, 120, 1.1, "flow"),
        event("one", "updated", 100, 150, 7.0, "speed"),
        event("one", "cleared", 100, 200, 0.2, "flow"),
    ]
    assert alert_spans(events) == [
        AlertSpan(100, 200, (("speed", 0.7),)),
        AlertSpan(500, 500, (("flow", 0.7),)),
    ]


def test_thinning_keeps_every_peak() -> None:
    values = np.random.default_rng(0).random(50_001)
    values[12_345], values[44_444], values[50_000] = 9.0, -9.0, 7.0
    times = np.arange(50_001)
    shown_times, shown = _thinned(times, values)
    assert len(shown) < 3_300
    assert {9.0, -9.0, 7.0} <= set(shown)
    np.testing.assert_array_equal(shown, values[shown_times])
    assert (np.diff(shown_times) >= 0).all()
    few = values[:100]
    assert _thinned(times[:100], few)[1] is few


@pytest.mark.parametrize("alerts", [0, 3])
def test_plot_is_1600_by_900(tmp_path: Path, alerts: int) -> None:
    series = load_series("simulated", None, "pump-1")
    spans = [
        AlertSpan(int(series.test_ts[row]), int(series.test_ts[row + 60]), (("flow", 0.6),)) for row in (99, 2000, 9000)
    ]
    scores = np.random.default_rng(0).random(len(series.test)) * 2
    path = tmp_path / "made" / "run.png"
    plot_run(path, series, series.test_ts, scores, 1.0, spans[:alerts])
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (1600, 900)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    series = load_series("simulated", None, "pump-1")
    with pytest.raises(InputError, match="the plot cannot be written"):
        plot_run(tmp_path / "file" / "run.png", series, series.test_ts, np.ones(len(series.test)))
