"""Small sounds and a small detector of loudness with known numbers; deterministic by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries

RATE = 2_000
COLUMNS = 4


def hum(seconds: float, *, seed: int, gain: float = 1.0, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """[n, channels] float32: a tone with noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate))[:, None] / rate
    values = 0.1 * np.sin(2 * np.pi * 120 * time + generator.random(channels))
    return (gain * (values + 0.02 * generator.standard_normal(values.shape))).astype(np.float32)


def make_sounds(
    clips: int = 24,
    *,
    seconds: float = 1.0,
    channels: int = 1,
    unit: str = "",
    attributes: Sequence[Mapping[str, float | str]] = ({},),
    rate: int = RATE,
    test: Sequence[Clip] = (),
) -> SoundSeries:
    """Clips of one machine in recordings of four."""
    train = [
        Clip(
            name=f"clip_{index:04}.wav",
            samples=hum(seconds, seed=index, channels=channels, rate=rate, gain=1 + 0.05 * (index // 4 % 3)),
            machine="fan-1",
            group=f"recording {index // 4}",
            order=index,
            anomalous=False,
            attributes=attributes[index % len(attributes)],
        )
        for index in range(clips)
    ]
    names = ("sound",) if channels == 1 else tuple("xyz"[:channels])
    return SoundSeries("made", "fan 1/a", rate, names, (unit,) * channels, train, test)


@dataclass(frozen=True)
class Loudness:
    """Mean square of each channel in quarters of the window; the score is the largest over what training had.

    With attributes, the score is less by the first number of them, unless it is unknown.
    """

    usual: float
    window: int
    channels: int = 1
    attributes: tuple[AttributeSpec, ...] = ()
    sample_rate: int = RATE
    detector: str = "loudness"
    version: int = 1
    time_columns: int = COLUMNS
    warnings: tuple[str, ...] = ("deaf to pitch",)
    broken: str = ""

    @property
    def bands(self) -> tuple[tuple[int, float, float], ...]:
        return tuple((channel, 0.0, self.sample_rate / 2) for channel in range(self.channels))

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {"usual": self.usual}

    def onnx_bytes(self) -> bytes:
        width = sum(spec.width for spec in self.attributes)
        shape = [-1, self.channels, COLUMNS, self.window // COLUMNS]
        constants = {
            "shape": np.array(shape, dtype=np.int64),
            "usual": np.array(self.usual, dtype=np.float32),
            "last": np.array([-1], dtype=np.int64),
            "axes": np.array([1, 2], dtype=np.int64),
            "axis2": np.array([2], dtype=np.int64),
            "zero": np.zeros(1, dtype=np.float32),
            "start": np.array([0], dtype=np.int64),
            "stop": np.array([1], dtype=np.int64),
            "one": np.array([1], dtype=np.int64),
        }
        nodes = [
            helper.make_node("Reshape", ["window", "shape"], ["parts"]),
            helper.make_node("Mul", ["parts", "parts"], ["squares"]),
            helper.make_node("ReduceMean", ["squares", "last"], ["power"], keepdims=0),
            helper.make_node("Div", ["power", "usual"], ["relative"]),
            helper.make_node("ReduceMax", ["relative", "axes"], ["loudest"], keepdims=0),
            helper.make_node("ReduceMean", ["relative", "axis2"], ["embedding"], keepdims=0),
        ]
        inputs = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", self.window * self.channels])]
        if self.attributes:
            inputs.append(helper.make_tensor_value_info("attributes", TensorProto.FLOAT, ["N", width]))
            nodes += [
                helper.make_node("IsNaN", ["attributes"], ["missing"]),
                helper.make_node("Where", ["missing", "zero", "attributes"], ["known"]),
                helper.make_node("Slice", ["known", "start", "stop", "one"], ["first"]),
                helper.make_node("Squeeze", ["first", "one"], ["less"]),
                helper.make_node("Sub", ["loudest", "less"], ["score"]),
            ]
        else:
            nodes.append(helper.make_node("Identity", ["loudest"], ["score"]))
        if self.broken == "negative":
            nodes.append(helper.make_node("Neg", ["relative"], ["contribution"]))
        elif self.broken == "logarithm":
            nodes.append(helper.make_node("Log", ["relative"], ["contribution"]))
        else:
            nodes.append(helper.make_node("Identity", ["relative"], ["contribution"]))
        outputs = [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("contribution", TensorProto.FLOAT, ["N", self.channels, COLUMNS]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", self.channels]),
        ]
        if self.broken == "no embedding":
            outputs.pop()
        graph = helper.make_graph(
            nodes, "loudness", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def torchscript_bytes(self) -> bytes | None:
        return None


def fit_loudness(
    clips: Sequence[Clip], window: int, attributes: tuple[AttributeSpec, ...] = (), rate: int = RATE
) -> Loudness:
    """The mean square of all samples."""
    usual = float(np.mean([np.mean(np.square(clip.samples, dtype=np.float64)) for clip in clips]))
    return Loudness(usual, window, clips[0].samples.shape[1], attributes, rate)
