"""The front end in numpy, ONNX and torch, against librosa and each other.

librosa compiles for half a minute when it is first used in a virtual environment. Its levels of some frames are therefore kept in
a file, which the night compares with librosa: `python -m tests.unit.models.sound.test_frontend` writes it anew.
"""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend import FrontEnd, Scale, SplitDft
from wheeltapper.models.sound.frontend_graph import band_levels
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.schemas.errors import InputError

FRONT_ENDS = [
    FrontEnd(16000),
    FrontEnd(16000, bands=128, low_hz=20.0, floor=1e-10, centered=True),
    FrontEnd(20000, hop=256, bands=64),
    FrontEnd(8000, n_fft=400, hop=160, bands=20, high_hz=3000.0),
    FrontEnd(44100, n_fft=2048, hop=1000, bands=40),
]


KEPT = Path(__file__).with_name("librosa_levels.npz")
CHANNELS = 2
# At both edges, where signals are padded, and in the middle.
FRAMES = (0, 1, 2, 150, -2, -1)


def signals_of(frontend: FrontEnd) -> np.ndarray:
    """Two clips of random sound of two channels, one much quieter, for more frames than one pass of the graph takes."""
    samples = frontend.hop * 300 + frontend.n_fft + 17
    signals = np.random.default_rng(3).normal(0, 1, (2, CHANNELS, samples)).astype(np.float32)
    return signals * np.array([0.3, 1e-3], dtype=np.float32)[:, None]


def levels_of_librosa(frontend: FrontEnd) -> np.ndarray:
    """[clips, channels, some frames, bands] dB."""
    return np.array([[_levels(frontend, signal)[list(FRAMES)] for signal in clip] for clip in signals_of(frontend)])


def _levels(frontend: FrontEnd, signal: np.ndarray) -> np.ndarray:
    import librosa

    energies = librosa.feature.melspectrogram(
        y=signal.astype(np.float64),
        sr=frontend.sample_rate,
        n_fft=frontend.n_fft,
        hop_length=frontend.hop,
        n_mels=frontend.bands,
        fmin=frontend.low_hz,
        fmax=frontend.top_hz,
        center=frontend.centered,
        dtype=np.float64,
    )
    return 10 * np.log10(energies + frontend.floor).T


def session_of(frontend: FrontEnd, samples: int, channels: int) -> ort.InferenceSession:
    graph = GraphBuilder.for_sound(samples, channels)
    frames = frontend.frames(samples)
    levels = graph.reshape(band_levels(graph, frontend), (-1, channels * frames * frontend.bands))
    score = graph.mean(levels, (1,))
    model = graph.model_bytes(
        {"score": (score, None), "embedding": (levels, channels * frames * frontend.bands)}, metadata={}
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("number", range(len(FRONT_ENDS)))
def test_numpy_graph_and_torch_are_librosa(number: int) -> None:
    # given random sound
    frontend = FRONT_ENDS[number]
    signals = signals_of(frontend)
    samples = signals.shape[-1]
    # when all three front ends run
    numpy_levels = frontend.levels(signals)
    graph_levels = session_of(frontend, samples, CHANNELS).run(["embedding"], {"window": signals.reshape(2, -1)})[0]
    module = BandLevels(frontend, samples)
    torch_levels = module(torch.from_numpy(signals.reshape(-1, samples))).numpy()
    # then they agree in every frame, and with librosa in those that are kept
    np.testing.assert_allclose(graph_levels.reshape(numpy_levels.shape), numpy_levels, rtol=0, atol=1e-3)
    np.testing.assert_allclose(torch_levels.reshape(numpy_levels.shape), numpy_levels, rtol=0, atol=1e-3)
    with np.load(KEPT) as kept:
        np.testing.assert_allclose(numpy_levels[:, :, FRAMES], kept[repr(frontend)], rtol=0, atol=1e-9)


@pytest.mark.nightly
@pytest.mark.parametrize("frontend", FRONT_ENDS)
def test_the_levels_that_are_kept_are_librosas(frontend: FrontEnd) -> None:
    with np.load(KEPT) as kept:
        np.testing.assert_allclose(kept[repr(frontend)], levels_of_librosa(frontend), rtol=0, atol=1e-9)


def test_batches_change_nothing() -> None:
    # given a batch of five clips
    frontend = FrontEnd(16000)
    session = session_of(frontend, 16000, 1)
    windows = np.random.default_rng(5).normal(0, 0.1, (5, 16000)).astype(np.float32)
    # when they are run at once and one by one
    together = session.run(["embedding"], {"window": windows})[0]
    apart = np.concatenate([session.run(["embedding"], {"window": window[None]})[0] for window in windows])
    # then the levels are the same
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-4)


@pytest.mark.parametrize("fill", [0.0, 1.0, -1.0])
def test_silence_and_a_constant_are_finite(fill: float) -> None:
    # given a dead microphone, or one that is stuck at a rail
    frontend = FrontEnd(16000)
    window = np.full((1, 16000), fill, dtype=np.float32)
    # when its levels are taken
    levels = session_of(frontend, 16000, 1).run(["embedding"], {"window": window})[0]
    # then they are finite and none is below the floor
    assert np.isfinite(levels).all()
    assert levels.min() >= -80.001
    if fill == 0.0:
        np.testing.assert_allclose(levels, -80.0, atol=1e-3)


def test_a_tone_lies_in_its_band() -> None:
    # given a tone in the middle of every fourth band
    frontend = FrontEnd(16000)
    time = np.arange(16000) / 16000
    for band in range(0, frontend.bands, 4):
        low, high = frontend.edges[band]
        # when its energies are taken
        energies = frontend.energies(0.1 * np.sin(2 * np.pi * (low + high) / 2 * time)).mean(axis=0)
        # then that band has the most
        assert energies.argmax() == band


@pytest.mark.parametrize("scale", ["mel", "log"])
def test_edges_are_one_after_another(scale: Scale) -> None:
    # given the front end's bands
    frontend = FrontEnd(16000, low_hz=20.0, scale=scale)
    # then they cover the range without holes
    edges = np.array(frontend.edges)
    assert len(edges) == frontend.bands
    np.testing.assert_array_equal(edges[1:, 0], edges[:-1, 1])
    assert edges[0, 0] == 20.0
    assert edges[-1, 1] == 8000.0
    assert (np.diff(edges, axis=1) > 0).all()


def test_log_bands_have_energy_below_the_bins_distance() -> None:
    # given log bands from 20 Hz on, where bins are 15.6 Hz apart
    frontend = FrontEnd(16000, scale="log", low_hz=20.0)
    # then no band is empty, and high ones are a constant share of their frequency wide
    assert (frontend.weights.sum(axis=1) > 0).all()
    low, high = np.array(frontend.edges).T
    np.testing.assert_allclose((high / low)[1:-1], high[5] / low[5], rtol=1e-9)


def test_columns_are_equal_parts_of_the_window() -> None:
    # given ten seconds in 40 columns
    frontend = FrontEnd(16000)
    columns = frontend.columns(160000, 40)
    # then each frame lies in the column of its centre
    centre = (np.arange(frontend.frames(160000)) * 512 + 512) / 160000
    np.testing.assert_array_equal(columns, (centre * 40).astype(int))
    assert set(columns) == set(range(40))


@pytest.mark.parametrize("n_fft", [4, 14, 256, 400, 1000, 1024])
def test_split_dft_is_the_dft(n_fft: int) -> None:
    # given a frame
    frame = np.random.default_rng(1).normal(size=n_fft)
    split = SplitDft.of(n_fft)
    half = split.rows // 2 + 1
    # when it is transformed by the two products
    first = split.first @ frame.reshape(split.rows, split.columns)
    spectrum = first[:half, None] @ split.of_real + first[half:, None] @ split.of_imaginary
    power = (spectrum**2).ravel() @ split.weights(np.eye(n_fft // 2 + 1))
    # then its power is that of the FFT
    np.testing.assert_allclose(power, np.abs(np.fft.rfft(frame)) ** 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("constants", "says"),
    [
        ({"n_fft": 7}, "n_fft is 7"),
        ({"hop": 0}, "hop is 0"),
        ({"high_hz": 9000.0}, "half of the sample rate of 16000 Hz"),
        ({"floor": 0.0}, "floor is 0"),
        ({"scale": "log"}, "low_hz is 0, expected above 0"),
    ],
)
def test_constants_that_do_not_fit_are_refused(constants: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        FrontEnd(16000, **constants)  # type: ignore[arg-type]


def test_a_window_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(InputError, match="1023 samples, expected 1024 or more"):
        FrontEnd(16000).frames(1023)


def test_torchscript_and_eager_are_the_same() -> None:
    # given the module as TorchScript, saved and loaded
    module = BandLevels(FrontEnd(16000), 16000)
    raw = io.BytesIO()
    torch.jit.save(torch.jit.script(module), raw)
    raw.seek(0)
    # when more signals than one pass takes are run by both
    signals = torch.from_numpy(np.random.default_rng(2).normal(0, 0.1, (20, 16000)).astype(np.float32))
    # then the levels agree
    torch.testing.assert_close(torch.jit.load(raw)(signals), module(signals), rtol=0, atol=1e-4)


def test_numpy_needs_little_memory() -> None:
    # given a minute of sound
    signal = np.random.default_rng(4).normal(0, 0.1, 60 * 16000).astype(np.float32)
    frontend = FrontEnd(16000, hop=128)
    # when its levels are taken
    tracemalloc.start()
    frontend.levels(signal)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # then the frames, 61 MB of float64, were never in memory at once
    assert peak < 30e6


@pytest.mark.export
@pytest.mark.parametrize("traced", [False, True])
def test_torch_module_exports_with_a_dynamic_batch(traced: bool) -> None:
    # given the module, exported with a batch of two
    module = BandLevels(FrontEnd(16000), 16000).eval()
    rng = np.random.default_rng(2)
    example = torch.from_numpy(rng.normal(0, 0.1, (2, 16000)).astype(np.float32))
    buffer = io.BytesIO()
    how: dict[str, object] = {"dynamic_axes": {"signals": {0: "N"}, "levels": {0: "N"}}, "dynamo": False}
    if not traced:
        how = {"dynamic_shapes": ({0: torch.export.Dim("N", min=1)},), "dynamo": True, "verbose": False}
    torch.onnx.export(
        module, (example,), buffer, input_names=["signals"], output_names=["levels"], opset_version=18, **how
    )
    session = ort.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    # when it runs on eleven signals
    signals = rng.normal(0, 0.1, (11, 16000)).astype(np.float32)
    found = session.run(["levels"], {"signals": signals})[0]
    # then the levels are the module's
    np.testing.assert_allclose(found, module(torch.from_numpy(signals)).numpy(), rtol=0, atol=1e-3)


if __name__ == "__main__":
    np.savez_compressed(KEPT, **{repr(frontend): levels_of_librosa(frontend) for frontend in FRONT_ENDS})
