"""A second kind of input, small: blocks of scalars, as a sound or vibration would come, without channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper

from tests.unit.stream.bundles import hand_made_files
from wheeltapper.schemas.bundle import (
    BundleManifest,
    Calibration,
    TensorSpec,
    TrainingData,
    write_bundle_folder,
)
from wheeltapper.schemas.bundle.store import sha256_of
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import (
    AlertEvent,
    ChannelShare,
    ClearReason,
    ClipPointer,
    DeadLetterReason,
    InputSpan,
    Patch,
)
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import DueWindows, Emission, Judged, Refused
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.stream.dead_letters import dead_letter
from wheeltapper.stream.kinds.contract import Decoded, MachineBlock, Routes
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.settings import Settings

WINDOW, HOP, INTERVAL_US = 8, 3, 1_000


class ScalarManifest(BundleManifest):
    kind: Literal["scalars"] = "scalars"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.window,)


@dataclass(frozen=True)
class ScalarBlock:
    offsets: np.ndarray
    times: np.ndarray
    values: np.ndarray

    def after(self, offset: int) -> ScalarBlock:
        new = self.offsets > offset
        return self.only(new)

    @property
    def length(self) -> int:
        return len(self.values)

    @property
    def size(self) -> int:
        return len(self.values)

    def only(self, kept: np.ndarray | slice) -> ScalarBlock:
        return ScalarBlock(self.offsets[kept], self.times[kept], self.values[kept])


@dataclass(frozen=True)
class ScalarLayout:
    window: int
    interval_us: int = INTERVAL_US


class ScalarIntake:
    """Messages are {"machine": .., "start": us, "values": [..]}."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def decode(self, batch: PartitionBatch, most_values: float = math.inf) -> Decoded:
        decoded = Decoded(messages=len(batch))
        blocks: dict[str, list[ScalarBlock]] = {}
        for index, value in enumerate(batch.values):
            try:
                fields = orjson.loads(value or b"")
                values = np.asarray(fields["values"], dtype=np.float32)
                times = fields["start"] + INTERVAL_US * np.arange(len(values))
                offsets = np.full(len(values), batch.offsets[index])
                blocks.setdefault(fields["machine"], []).append(ScalarBlock(offsets, times, values))
            except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
                reason = DecodeError(DeadLetterReason.NOT_DECODABLE, str(error))
                decoded.dead_letters.append(Emission(batch.offsets[index], dead_letter(batch, index, reason)))
        for machine, parts in blocks.items():
            route = self._routes.of(machine, "scalars")
            assert route is not None
            columns = (
                np.concatenate([getattr(part, name) for part in parts]) for name in ("offsets", "times", "values")
            )
            decoded.blocks.append(MachineBlock(machine, route, ScalarBlock(*columns)))
        return decoded


class ScalarMemory:
    def __init__(self, layout: ScalarLayout) -> None:
        self._layout = layout
        self._tail = np.empty(0, dtype=np.float32)
        self._seen = 0
        self.last_time: int | None = None

    def take(
        self, block: ScalarBlock, policy: WindowRules, counters: Counters, machine: str, stamp_of: Callable[[int], int]
    ) -> Iterator[ScalarBlock]:
        self._before = self._tail[-(self._layout.window - 1) :]
        self._tail = np.concatenate([self._before, block.values])
        self._seen += len(block.values)
        self.last_time = int(block.times[-1])
        counters.rows += len(block.values)
        yield block

    def due(self, part: ScalarBlock, rule: RuleSpec) -> DueWindows | None:
        window, first = rule.manifest.window, self._seen - len(part.values)
        ends = np.arange(first, self._seen)
        ends = ends[(ends >= window - 1) & ((ends - window + 1) % rule.stride == 0)]
        if not len(ends):
            return None
        new = ends - first
        samples = windows_of(self._tail, window)[len(self._before) + new - window + 1]
        return DueWindows(samples, part.times[new], part.offsets[new], np.ones(len(new)), part.values[new, None])

    def placed(self) -> None:
        """See `stream.kinds.contract.Memory`: what comes is looked at alone."""

    @property
    def waiting(self) -> tuple[int, int] | None:
        return None

    def rest(self, counters: Counters, machine: str) -> Iterator[ScalarBlock]:
        return iter(())

    def refused(self) -> Sequence[Refused]:
        return ()

    def notices(self, part: ScalarBlock) -> Sequence[Emission]:
        return ()

    def fit(self, layout: ScalarLayout) -> None:
        self._layout = layout

    def dump(self) -> tuple[dict[str, Any], bytes]:
        tail = self._tail[-(self._layout.window - 1) :]
        return {"last_time": self.last_time, "seen": self._seen}, tail.astype("<f4").tobytes()

    def load(self, header: dict[str, Any], body: memoryview) -> None:
        self._tail = np.frombuffer(body, dtype="<f4").astype(np.float32)
        self._seen, self.last_time = int(header["seen"]), header["last_time"]


class ScalarEvidence:
    def shares(self, judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        actual = float(judged.due.actual[position, 0])
        return (ChannelShare(channel="signal", share=1.0, actual=actual),)

    def explained(self, shares: Sequence[ChannelShare], judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        return tuple(shares)

    def input(self, judged: Judged, position: int) -> InputSpan | None:
        return None

    def patches(self, judged: Judged, position: int) -> tuple[Patch, ...]:
        return ()

    def clip(self, judged: Judged, position: int) -> ClipPointer | None:
        return None


class ScalarKind:
    name = "scalars"
    topic = "scalars"
    asks_labels = False

    def stride(self, manifest: BundleManifest, settings: Settings) -> tuple[str, int | None]:
        return "windows.stride", settings.windows.stride

    def layout(self, pattern: str, rules: Sequence[RuleSpec]) -> ScalarLayout:
        return ScalarLayout(max(rule.manifest.window for rule in rules))

    def intake(self, routes: Routes, settings: Settings) -> ScalarIntake:
        return ScalarIntake(routes)

    def memory(self, layout: ScalarLayout) -> ScalarMemory:
        return ScalarMemory(layout)

    def evidence(self, rule: RuleSpec) -> ScalarEvidence:
        return ScalarEvidence()

    def machine_of(self, name: str) -> str:
        return name

    def ended(self, name: str, header: Mapping[str, Any], reason: ClearReason) -> Sequence[AlertEvent]:
        return ()


def write_scalar_bundle(folder: Path) -> Path:
    """A bundle whose score is the mean square of 8 scalars."""
    nodes = [
        helper.make_node("Mul", ["window", "window"], ["contribution"]),
        helper.make_node("ReduceMean", ["contribution", "axis"], ["score"], keepdims=0),
    ]
    shapes = {"window": ("N", WINDOW), "score": ("N",), "contribution": ("N", WINDOW)}
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        nodes,
        "power",
        [values["window"]],
        [values["score"], values["contribution"]],
        [numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    windows = np.random.default_rng(1).normal(size=(3, WINDOW)).astype(np.float32)
    golden = {"window": windows, "score": (windows**2).mean(axis=1), "contribution": windows**2}
    files = hand_made_files(model, golden, {"score": np.random.default_rng(2).random(100)}, windows.tolist())
    specs = [TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in shapes.items()]
    manifest: Any = ScalarManifest(
        bundle_id="power-scalars-1",
        detector="power",
        sampling_interval_s=INTERVAL_US / 1e6,
        window=WINDOW,
        stride=HOP,
        inputs=tuple(specs[:1]),
        outputs=tuple(specs[1:]),
        calibration=Calibration(center=0.0, alarm_level=4.0, false_alarms_per_day=0.25, windows=100, method="gpd"),
        training_data=TrainingData(dataset="made-up", entity="none", rows=10, sha256="0" * 64),
        created_at="2024-01-01T00:00:00Z",
        files=sha256_of(files),
    )
    return write_bundle_folder(folder / "power", manifest, files).location
