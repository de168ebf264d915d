"""How many live streams of sound one core bears, and log-mel inside ONNX against librosa. Needs no Kafka.

    python tests/bench/sound.py                                  # a minute or two
    make bench BENCH=--sound-only                                # the same
    python tests/bench/sound.py --detectors band-profile --seconds 60

A stream is a microphone at 16 kHz whose last 10 s are scored every 5 s. Everything is CPU time of one thread, medians of several runs:

- log-mel: 10 s to 32 mel bands, n_fft 1024, hop 512, in turns by librosa and by the nodes that detectors' graphs begin with.
- graph: one window through a bundle's ONNX graph; a core bears 5 s / CPU time of them.
- pipeline: int16 chunks of 1 s in Avro through the worker's pipeline (decoding, clock, clip memory, graph, thresholds, alerts, messages; not Kafka's
  client): seconds of sound by CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import structlog

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from wheeltapper.models.onnx_builder import GraphBuilder  # noqa: E402
from wheeltapper.models.sound.frontend import FrontEnd  # noqa: E402
from wheeltapper.models.sound.frontend_graph import band_levels  # noqa: E402
from wheeltapper.schemas.audio_chunk import AudioChunk  # noqa: E402
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_audio_chunk  # noqa: E402
from wheeltapper.stream.pipeline import Pipeline  # noqa: E402
from wheeltapper.stream.records import PartitionBatch  # noqa: E402
from wheeltapper.stream.routes import load_routes  # noqa: E402
from wheeltapper.stream.settings import Settings  # noqa: E402
from wheeltapper.training.datasets.sound import simulated  # noqa: E402
from wheeltapper.training.detectors.registry import train_detector  # noqa: E402
from wheeltapper.training.fitting.bundle_writer import write_bundle  # noqa: E402

RATE, WINDOW_S, HOP_S = simulated.RATE, 10.0, 5.0
TOPIC = "wheeltapper.audio"
START = 1_700_000_000_000_000
DETECTORS = ("band-profile", "band-events", "knn-mel", "spectral-bands")
MOST_SECONDS = 600
CLIPS = 100


def measure_sound(
    detectors: tuple[str, ...] = DETECTORS, *, seconds: int = 120, repetitions: int = 9
) -> dict[str, Any]:
    """Streams per core of each detector, CPU time of the log-mel, and of a training on 100 clips.

    Args:
        seconds: of sound that the pipeline is given in one run.
    """
    # What the pipeline says of bundles with little history is of no interest here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    outcome: dict[str, Any] = {"log_mel": measure_log_mel(repetitions), "streams": {}}
    entity = simulated.entities(Path())[0]
    series = simulated.make_series(entity, train_recordings=CLIPS // simulated.CLIPS_A_RECORDING, test_recordings=0)
    for name in detectors:
        started = time.process_time()
        fitted, scores = train_detector(name, series)
        training = time.process_time() - started
        with tempfile.TemporaryDirectory() as folder:
            bundle = write_bundle(fitted, series, Path(folder) / name, scores=scores, torchscript=False)
            graph = bundle.open_graph(device="cpu")
            window = series.train[0].samples[: fitted.window].T.reshape(1, -1).astype(np.float32)
            of_graph = median_ms(lambda graph=graph, window=window: graph.run(window), repetitions * 3)
            of_pipeline = statistics.median(
                pipeline_ms(Path(folder) / name, entity, seconds) for _ in range(max(1, repetitions // 3))
            )
        outcome["streams"][name] = {
            "training_100_clips_cpu_s": round(training, 2),
            "graph_ms": round(of_graph, 2),
            "streams_by_graph": int(HOP_S * 1000 / of_graph),
            "pipeline_ms_per_window": round(of_pipeline * HOP_S, 2),
            "streams_by_pipeline": int(1000 / of_pipeline),
        }
    return outcome


def measure_log_mel(repetitions: int) -> dict[str, Any]:
    """CPU milliseconds of 10 s of sound, librosa and ONNX in turns; and how far apart they are, dB."""
    import librosa

    frontend = FrontEnd(RATE)
    samples = np.random.default_rng(0).normal(0, 0.1, round(WINDOW_S * RATE)).astype(np.float32)
    graph = GraphBuilder.for_sound(len(samples), 1)
    width = frontend.frames(len(samples)) * frontend.bands
    levels = graph.reshape(band_levels(graph, frontend), (-1, width))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        graph.model_bytes({"score": (graph.mean(levels, (1,)), None), "embedding": (levels, width)}, metadata={}),
        sess_options=options,
        providers=["CPUExecutionProvider"],
    )

    def by_librosa() -> np.ndarray:
        energies = librosa.feature.melspectrogram(
            y=samples, sr=RATE, n_fft=frontend.n_fft, hop_length=frontend.hop, n_mels=frontend.bands, center=False
        )
        return np.asarray(10 * np.log10(energies + frontend.floor)).T

    def by_onnx() -> np.ndarray:
        return np.asarray(session.run(["embedding"], {"window": samples[None]})[0]).reshape(-1, frontend.bands)

    apart = float(np.abs(by_librosa() - by_onnx()).max())
    times: dict[str, list[float]] = {"librosa": [], "onnx": []}
    for _ in range(repetitions * 3):
        times["librosa"].append(cpu_ms(by_librosa))
        times["onnx"].append(cpu_ms(by_onnx))
    medians = {f"{name}_ms": round(statistics.median(each), 2) for name, each in times.items()}
    return {**medians, "largest_difference_db": apart}


def pipeline_ms(bundle: Path, entity: str, seconds: int) -> float:
    """CPU milliseconds of the worker's pipeline for one second of one stream."""
    settings = Settings()
    pipeline = Pipeline(load_routes([f"*={bundle}"], settings), settings)
    sound = simulated.recording(entity, min(seconds, MOST_SECONDS))
    sound = sound.astype(np.float32)
    batches = []
    for second in range(len(sound) // RATE):
        chunk = AudioChunk(
            "machine-1", "", START + second * 1_000_000, RATE, sound[second * RATE : (second + 1) * RATE]
        )
        batch = PartitionBatch(TOPIC, 0)
        batch.offsets.append(second)
        batch.keys.append(b"machine-1")
        batch.values.append(encode_audio_chunk(chunk, "avro"))
        batch.headers.append([("content-type", CONTENT_TYPES["avro"].encode())])
        batch.timestamps_ms.append((START + second * 1_000_000) // 1000)
        batches.append(batch)
    scores = 0
    # The first window's seconds are left out: they score nothing.
    warm = int(WINDOW_S) + 1
    for batch in batches[:warm]:
        pipeline.handle([batch], now=0.0)
    started = time.process_time()
    for batch in batches[warm:]:
        scores += sum(output.topic == "scores" for output in pipeline.handle([batch], now=0.0))
    spent = time.process_time() - started
    if not scores:
        raise RuntimeError(f"{bundle}: the pipeline gave no scores for {seconds} s of sound")
    return spent * 1000 / (len(batches) - warm)


def median_ms(work: Callable[[], object], repetitions: int) -> float:
    """CPU milliseconds, median, the first run left out."""
    work()
    return statistics.median(cpu_ms(work) for _ in range(repetitions))


def cpu_ms(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def markdown(outcome: dict[str, Any]) -> list[str]:
    """Lines of the report."""
    mel = outcome["log_mel"]
    lines = [
        f"Log-mel of 10 s, CPU ms: librosa {mel['librosa_ms']}, ONNX {mel['onnx_ms']}; at most {mel['largest_difference_db']:.1e} dB apart.",
        "",
        "| detector of sound | training on 100 clips, CPU-s | graph, ms a window | streams per core by graph | by pipeline |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {entry['training_100_clips_cpu_s']} | {entry['graph_ms']} | {entry['streams_by_graph']} "
        f"| {entry['streams_by_pipeline']} |"
        for name, entry in outcome["streams"].items()
    ]
    return [*lines, ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--detectors", default=",".join(DETECTORS), help="with commas")
    parser.add_argument("--seconds", type=int, default=120, help=f"of sound for the pipeline, at most {MOST_SECONDS}")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print everything")
    arguments = parser.parse_args()
    outcome = measure_sound(
        tuple(filter(None, arguments.detectors.split(","))),
        seconds=arguments.seconds,
        repetitions=arguments.repetitions,
    )
    print(json.dumps(outcome, indent=2) if arguments.json else "\n".join(markdown(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
