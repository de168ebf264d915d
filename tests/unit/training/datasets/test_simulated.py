from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.training.datasets import simulated
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.simulated import CHANNELS, FAULTS, PUMPS, simulate


def test_same_seed_same_numbers_another_seed_or_pump_others() -> None:
    first = simulate("pump-1")
    again = simulate("pump-1")
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.test, again.test)
    assert first.segments == again.segments
    assert not np.array_equal(first.test, simulate("pump-1", seed=1).test)
    assert not np.array_equal(first.test, simulate("pump-2").test)


@pytest.mark.parametrize("pump", PUMPS)
def test_every_kind_of_fault_occurs_while_the_pump_runs(pump: str) -> None:
    series = load_series("simulated", None, pump)
    assert {segment.kind for segment in series.segments} == set(FAULTS)
    assert series.test_labels is not None
    speed = series.test[:, CHANNELS.index("speed")]
    for segment in series.segments:
        assert series.test_labels[segment.start : segment.stop].all()
        assert tuple(CHANNELS[channel] for channel in segment.channels) == tuple(
            sorted(FAULTS[segment.kind], key=CHANNELS.index)
        )
        runs = float(np.mean(speed[segment.start : segment.stop] > 500))
        # A sensor sticks over a stop, where a held reading shows; the others need a running pump.
        assert 0 < runs < 0.6 if segment.kind == "stuck-sensor" else runs > 0.8
    assert int(series.test_labels.sum()) == sum(segment.stop - segment.start for segment in series.segments)


def test_values_are_physical() -> None:
    series = simulate("pump-3")
    values = np.concatenate([series.train, series.test])
    assert np.isfinite(values).all()
    assert values.dtype == np.float32
    assert series.units == tuple(simulated.UNITS.values())
    columns = {name: values[:, position] for position, name in enumerate(CHANNELS)}
    running = columns["speed"] > 1000
    assert 0.5 < running.mean() < 0.95
    assert columns["flow"][~running & (columns["speed"] < 1)].max() < 10
    assert columns["flow"][running].mean() > 100
    assert (columns["discharge_pressure"] > columns["suction_pressure"])[running].all()
    assert columns["motor_power"].min() >= 0
    assert columns["valve_position"].min() >= 0
    assert columns["valve_position"].max() <= 100.8
    # Coupling: current follows flow, winding temperature follows current with a lag.
    assert np.corrcoef(columns["flow"], columns["motor_current"])[0, 1] > 0.9
    assert np.corrcoef(columns["motor_current"][:-30], columns["winding_temperature"][30:])[0, 1] > 0.9


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_moves_its_channels_more_than_any_other(kind: str) -> None:
    # given the same day with and without the fault
    healthy, faulty = simulated._Disturbances(2 * 1440), simulated._Disturbances(2 * 1440)
    start, length = 540, 180
    simulated._apply(kind, faulty, start, length, 1.0, np.random.default_rng(3))
    runs = [
        simulated._plant(np.random.default_rng(1), np.random.default_rng(2), plant, 0) for plant in (healthy, faulty)
    ]
    usual = runs[0][runs[0][:, 0] > 500].std(axis=0)
    # when the two are compared, in units of each channel's usual variation
    effect = (np.abs(runs[1] - runs[0])[start : start + length] / usual).mean(axis=0)
    named = [CHANNELS.index(name) for name in FAULTS[kind]]
    # then every named channel has moved, the strongest of all is a named one, and nothing moved before the fault
    assert effect[named].min() > 0.1
    assert int(np.argmax(effect)) in named
    others = [channel for channel in range(len(CHANNELS)) if channel not in named]
    assert effect[others].max() < 0.85
    np.testing.assert_array_equal(runs[0][:start], runs[1][:start])


def test_lag_is_the_recurrence() -> None:
    x = np.random.default_rng(0).normal(size=300)
    decay = np.exp(-1 / 7)
    expected = np.empty(300)
    expected[0] = x[0]
    for t in range(1, 300):
        expected[t] = decay * expected[t - 1] + (1 - decay) * x[t]
    np.testing.assert_allclose(simulated._lag(x, 7), expected, atol=1e-12)


def test_entities_need_no_folder() -> None:
    assert list_entities("simulated") == PUMPS
