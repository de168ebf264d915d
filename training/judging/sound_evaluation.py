"""Evaluates a bundle of sound on the test clips: DCASE's metrics, thresholds from normal clips alone, where the blame falls.

A clip's score is the mean over its windows, which are cut with the bundle's window and hop. The threshold is the 90 % quantile of
the bundle's calibration scores: held-out windows of normal train clips, by cross-validation. Test labels choose nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from wheeltapper.schemas.bundle import Bundle, BundleManifest, Graph, GraphOutput
from wheeltapper.schemas.bundle.manifest import AudioManifest
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.fitting.fingerprint import clips_sha256
from wheeltapper.training.fitting.sound_windows import ClipWindows, window_ends
from wheeltapper.training.judging.metrics.sound import (
    PARTIAL_FPR,
    THRESHOLD_FPR,
    PatchHit,
    at_threshold,
    domain_metrics,
    patch_hit,
    threshold_of,
)
from wheeltapper.training.judging.sound_floors import sound_floor_scores

METRICS = ("auc", "pauc", "auc_source", "auc_target", "official")


@dataclass(frozen=True, eq=False)
class ClipScores:
    """What a graph says of clips.

    Attributes:
        score: [n] float64, mean over a clip's windows.
        top: [n] float64, the largest of them.
        blamed: [n] of [F, T]: the contribution of each clip's strangest window.
        starts_s: [n] seconds from the clip's start to that window's.
        windows: scored in all.
    """

    score: np.ndarray
    top: np.ndarray
    blamed: list[np.ndarray]
    starts_s: np.ndarray
    windows: int


@dataclass(frozen=True)
class SoundReport:
    """An evaluation. None stands for what the data does not define.

    Attributes:
        train_seconds: of sound that the bundle was trained on, by its manifest.
        auc .. official: see `metrics.sound.DomainMetrics`.
        threshold .. false_alarm_rate: of clips at the threshold from held-out normal windows.
        alarm_recall, alarm_rate: share of anomalous and of normal clips that have a window at the bundle's alarm level.
        patch_share, patch_area, patch_peak: means over anomalous clips whose disturbance is known (`PatchHit`); patches: how many.
        floors: by floor, metrics under the same names.
    """

    bundle: str
    detector: str
    dataset: str
    entity: str
    clips: int
    anomalous: int
    windows: int
    window_s: float
    hop_s: float
    train_seconds: float
    auc: float | None
    pauc: float | None
    auc_source: float | None
    auc_target: float | None
    official: float | None
    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    false_alarm_rate: float | None
    alarm_recall: float | None
    alarm_rate: float | None
    patches: int
    patch_share: float | None
    patch_area: float | None
    patch_peak: float | None
    partial_fpr: float = PARTIAL_FPR
    threshold_fpr: float = THRESHOLD_FPR
    floors: dict[str, dict[str, float | None]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"warnings": list(self.warnings)}


def audio_manifest(bundle: Bundle) -> AudioManifest:
    """
    Raises:
        InputError: the bundle is not of sound.
    """
    manifest: BundleManifest = bundle.manifest
    if not isinstance(manifest, AudioManifest):
        raise InputError(
            f"{bundle.location}: is a bundle of rows of sensors ({manifest.detector}), expected one of sound; give a bundle that was "
            "trained on clips"
        )
    return manifest


def check_series(bundle: Bundle, series: SoundSeries) -> None:
    """
    Raises:
        InputError: another rate or number of channels than the bundle takes.
    """
    manifest = audio_manifest(bundle)
    if series.sample_rate != manifest.sample_rate:
        raise InputError(
            f"{series.dataset} {series.entity}: clips of {series.sample_rate} Hz, {bundle.location} takes {manifest.sample_rate} Hz; resample "
            "them, or train a bundle at their rate"
        )
    if len(series.channels) != len(manifest.channels):
        raise InputError(
            f"{series.dataset} {series.entity}: clips of {len(series.channels)} channel(s), {bundle.location} takes "
            f"{len(manifest.channels)} ({', '.join(manifest.channel_names)}); give clips of the same microphone or sensor"
        )


def every_clip(bundle: Bundle, series: SoundSeries) -> SoundSeries:
    """The series with all of its clips as the test part; floors are fitted on the reference clips of the bundle.

    Raises:
        InputError: the bundle was trained on the train part, or does not fit.
    """
    check_series(bundle, series)
    if clips_sha256(series.train) == bundle.manifest.training_data.sha256:
        raise InputError(
            f"{series.dataset} {series.entity}: its train clips are those that {bundle.location} was trained on, and would be judged "
            "too; leave out --clips all, or give recordings that it has never seen"
        )
    manifest = audio_manifest(bundle)
    known = [
        Clip(f"reference {number}", window.T, series.entity, order=number, anomalous=False)
        for number, window in enumerate(bundle.reference_rows().reshape(-1, len(manifest.channels), manifest.window))
    ]
    return replace(series, train=known, test=[*series.train, *series.test])


def score_clips(bundle: Bundle, series: SoundSeries, *, graph: Graph | None = None, threads: int = 1) -> ClipScores:
    """Score the test clips.

    Raises:
        InputError: they do not fit the bundle, there are none, or a score is not finite.
    """
    check_series(bundle, series)
    manifest = audio_manifest(bundle)
    if not series.test:
        raise InputError(
            f"{series.dataset} {series.entity}: no test clips; put some into test/normal and test/abnormal, or choose another entity"
        )
    graph = graph or bundle.open_graph(device="cpu", threads=threads)
    scores, tops, blamed, starts, count = [], [], [], [], 0
    for clip in series.test:
        output = _run(graph, clip, manifest)
        if not np.isfinite(output.score).all():
            raise InputError(
                f"{bundle.location}: the score of {clip.name} is not a finite number; the bundle must not be used"
            )
        strangest = int(output.score.argmax())
        scores.append(float(output.score.mean(dtype=np.float64)))
        tops.append(float(output.score.max()))
        blamed.append(output.contribution[strangest])
        ends = window_ends(len(clip.samples), manifest.window, manifest.stride)
        starts.append(max(0, ends[strangest] - manifest.window) / manifest.sample_rate)
        count += len(output.score)
    return ClipScores(np.array(scores), np.array(tops), blamed, np.array(starts), count)


def _run(graph: Graph, clip: Clip, manifest: AudioManifest) -> GraphOutput:
    """Scores and contributions of every window of a clip, a bounded number at a time."""
    windows = ClipWindows.of(
        [clip], np.zeros(1, dtype=np.int64), manifest.sample_rate, manifest.window, manifest.stride
    )
    parts = [graph.run(batch, rows) for batch, rows in windows.batches(manifest.attributes)]
    return GraphOutput(
        np.concatenate([part.score for part in parts]), np.concatenate([part.contribution for part in parts])
    )


def evaluate_sound(
    bundle: Bundle, series: SoundSeries, *, floors: bool = True, scored: ClipScores | None = None
) -> SoundReport:
    """Judge a bundle on a series' test clips.

    Args:
        floors: also score and judge the floors.
        scored: of `score_clips`, where it is at hand.

    Raises:
        InputError: as `score_clips`.
    """
    scored = score_clips(bundle, series) if scored is None else scored
    manifest = audio_manifest(bundle)
    told = np.array([clip.anomalous is not None for clip in series.test])
    labels = np.array([bool(clip.anomalous) for clip in series.test])[told].astype(int)
    domains = [clip.domain for clip, known in zip(series.test, told, strict=True) if known]
    found = domain_metrics(labels, scored.score[told], domains)
    held_out = bundle.calibration_scores()
    called = at_threshold(labels, scored.score[told], threshold_of(held_out))
    calibration = manifest.calibration
    alarmed = calibrate(scored.top, calibration.center, calibration.alarm_level)[told] >= 1
    hits = [
        hit
        for clip, blamed, start in zip(series.test, scored.blamed, scored.starts_s, strict=True)
        if clip.disturbed and (hit := _patch_hit(manifest, clip, blamed, float(start))) is not None
    ]
    warnings = []
    if not told.all():
        warnings.append(f"{int((~told).sum())} of {len(told)} test clips have no label and count in no metric")
    if len(labels) and not 0 < labels.sum() < len(labels):
        warnings.append("the test clips are all of one kind: no AUC; it takes normal and anomalous ones")
    return SoundReport(
        bundle=manifest.bundle_id,
        detector=manifest.detector,
        dataset=series.dataset,
        entity=series.entity,
        clips=len(series.test),
        anomalous=int(labels.sum()),
        windows=scored.windows,
        window_s=manifest.window / manifest.sample_rate,
        hop_s=manifest.stride / manifest.sample_rate,
        train_seconds=manifest.training_data.rows / manifest.sample_rate,
        **asdict(found),
        **asdict(called),
        alarm_recall=_share(alarmed[labels == 1]),
        alarm_rate=_share(alarmed[labels == 0]),
        patches=len(hits),
        patch_share=_mean([hit.share for hit in hits]),
        patch_area=_mean([hit.area for hit in hits]),
        patch_peak=_mean([float(hit.peak) for hit in hits]),
        floors=sound_floor_metrics(series, manifest.window, manifest.stride) if floors else {},
        warnings=tuple(warnings),
    )


def sound_floor_metrics(series: SoundSeries, window: int, hop: int) -> dict[str, dict[str, float | None]]:
    """Metrics of `METRICS` by floor; means over seeds."""
    labels = np.array([bool(clip.anomalous) for clip in series.test]).astype(int)
    told = np.array([clip.anomalous is not None for clip in series.test])
    domains = [clip.domain for clip in series.test if clip.anomalous is not None]
    found: dict[str, dict[str, float | None]] = {}
    for name, runs in sound_floor_scores(series, window, hop):
        metrics = [asdict(domain_metrics(labels[told], scores[told], domains)) for scores in runs]
        found[name] = {key: _mean([value[key] for value in metrics]) for key in METRICS}
    return found


def _patch_hit(manifest: AudioManifest, clip: Clip, blamed: np.ndarray, start_s: float) -> PatchHit | None:
    # Of several channels every band counts: what disturbs one is heard by all.
    moved = [(start - start_s, end - start_s, low, high) for start, end, low, high in clip.disturbed]
    bands = [(band.low_hz, band.high_hz) for band in manifest.bands]
    return patch_hit(blamed, bands, manifest.window / manifest.sample_rate, moved)


def _share(flags: np.ndarray) -> float | None:
    return float(np.mean(flags)) if len(flags) else None


def _mean(values: list[float] | list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
