"""Input scaling of a new regime (AdaNorm): a map of each channel that moved back to where the bundle knows it.

x_old = gain * x_new + offset, channel by channel, so that recent rows have the mean and spread of the reference; put in front of
the graph, it works for every detector. What the graph expects is mapped back to the machine's own units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.schemas.errors import InputError

# Moves below that are what any stretch of rows shows: in standard deviations of the reference, and in the log of the spreads' ratio.
LEAST_SHIFT = 0.25
LEAST_SPREAD = 0.2
# A spread that has grown or fallen beyond that is no matter of scale any more.
MOST_GAIN = 5.0
# Tails that are cut off before mean and spread are taken: single disturbances must not scale a channel.
TRIM = 0.005


@dataclass(frozen=True)
class ChannelMap:
    """
    Attributes:
        gain, offset: [C] float64; 1 and 0 where a channel stays as it is.
        shift: [C] float64, move of the mean in standard deviations of the reference.
        spread: [C] float64, log of recent over reference standard deviation; 0 where either is constant.
    """

    gain: np.ndarray
    offset: np.ndarray
    shift: np.ndarray
    spread: np.ndarray

    @property
    def moved(self) -> np.ndarray:
        """[C] bool: channels that are mapped."""
        moved: np.ndarray = (self.gain != 1) | (self.offset != 0)
        return moved

    def back(self, rows: np.ndarray) -> np.ndarray:
        """Rows [.., C] of the reference's regime to what they would be in the new one."""
        mapped: np.ndarray = ((rows - self.offset) / self.gain).astype(np.float32)
        return mapped


def estimate_map(reference: np.ndarray, recent: np.ndarray) -> ChannelMap:
    """The map for rows [n, C] and [m, C], raw units, NaN left out.

    Raises:
        InputError: no rows on either side.
    """
    if not len(reference) or not len(recent):
        raise InputError("a channel map needs reference rows and recent rows")
    mean_0, std_0 = _moments(reference)
    mean_1, std_1 = _moments(recent)
    channels = reference.shape[1]
    gain, offset = np.ones(channels), np.zeros(channels)
    both = (std_0 > 0) & (std_1 > 0)
    shift = np.divide(mean_1 - mean_0, std_0, out=np.zeros(channels), where=std_0 > 0)
    spread = np.zeros(channels)
    spread[both] = np.log(std_1[both] / std_0[both])
    scaled = both & (np.abs(spread) >= LEAST_SPREAD) & (np.abs(spread) <= np.log(MOST_GAIN))
    gain[scaled] = std_0[scaled] / std_1[scaled]
    moved = scaled | ((std_0 > 0) & (np.abs(shift) >= LEAST_SHIFT))
    offset[moved] = mean_0[moved] - gain[moved] * mean_1[moved]
    return ChannelMap(gain, offset, shift, spread)


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trimmed mean and standard deviation of [n, C]; both 0 for a channel without a value."""
    mean, std = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for channel in range(rows.shape[1]):
        values = rows[:, channel].astype(np.float64)
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        low, high = np.quantile(values, [TRIM, 1 - TRIM])
        values = np.clip(values, low, high)
        mean[channel], std[channel] = values.mean(), values.std()
        if std[channel] <= 1e-9 * max(1.0, abs(mean[channel])):
            std[channel] = 0.0
    return mean, std


def rescaled_graph(model: bytes, channel_map: ChannelMap) -> bytes:
    """A graph under the contract with the map in front of it; needs onnx.

    Raises:
        InputError: the graph has no input `window`.
    """
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    if "window" not in {entry.name for entry in graph.input}:
        raise InputError("the bundle's graph has no input 'window': it cannot be rescaled; train the bundle again")
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    # A child of a child has a map already.
    number = next(each for each in range(len(names) + 1) if f"rescaled_{each}/window" not in names)
    prefix = f"rescaled_{number}"
    for node in graph.node:
        node.input[:] = [f"{prefix}/window" if name == "window" else name for name in node.input]

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), f"{prefix}/{name}"))
        return f"{prefix}/{name}"

    gain, offset = constant("gain", channel_map.gain), constant("offset", channel_map.offset)
    first = [
        helper.make_node("Mul", ["window", gain], [f"{prefix}/scaled"]),
        helper.make_node("Add", [f"{prefix}/scaled", offset], [f"{prefix}/window"]),
    ]
    if "expected" in {entry.name for entry in graph.output}:
        for node in graph.node:
            node.output[:] = [f"{prefix}/expected" if name == "expected" else name for name in node.output]
            node.input[:] = [f"{prefix}/expected" if name == "expected" else name for name in node.input]
        last = [
            helper.make_node("Sub", [f"{prefix}/expected", offset], [f"{prefix}/moved"]),
            helper.make_node("Div", [f"{prefix}/moved", gain], ["expected"]),
        ]
        graph.node.extend(last)
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))
