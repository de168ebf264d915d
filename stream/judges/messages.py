"""Scores and alerts as the messages that other programs read."""

from __future__ import annotations

import math

import numpy as np
import orjson

from wheeltapper.schemas.events import AlertEvent, ChannelShare, Localization
from wheeltapper.stream.core.alert_life import EventKind, RuleState, alert_id, severity_of
from wheeltapper.stream.core.scoring import ScoredWindows
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import Rule
from wheeltapper.stream.settings import ScoringSettings

JSON_HEADERS = (("content-type", b"application/json"),)


class AlertMessages:
    """Builds one rule's messages."""

    def __init__(self, rule: Rule, settings: ScoringSettings) -> None:
        self._rule = rule
        self.top = settings.top_channels
        manifest = rule.manifest
        self._names = manifest.channel_names
        self._units = tuple(channel.unit for channel in manifest.channels)

    def alert(
        self,
        machine: str,
        state: RuleState,
        event: EventKind,
        time: int,
        level: float,
        quality: float,
        scored: ScoredWindows,
        index: int,
        absent: np.ndarray | None,
    ) -> list[Output]:
        """The AlertEvent of window `index`, and beside 'opened' and 'updated' its Localization.

        Args:
            absent: [C] bool, which of the scored row's values were imputed; None: none.
        """
        manifest = self._rule.manifest
        assert state.opened_at is not None
        ident = alert_id(machine, self._rule.name, manifest.bundle_id, state.opened_at)
        shares = self.shares(scored, index, absent)
        alert = AlertEvent(
            alert_id=ident,
            machine=machine,
            event=event,
            opened_at=state.opened_at,
            time=time,
            severity=severity_of(state.peak_score),
            score=short(float(scored.score[index])),
            peak_score=short(state.peak_score),
            threshold=short(level),
            rule=self._rule.name,
            detector=manifest.detector,
            bundle=manifest.bundle_id,
            quality=short(quality),
            channels=shares[: self.top],
        )
        key = machine.encode()
        outputs = [Output("alerts", key, alert.model_dump_json().encode(), JSON_HEADERS)]
        if event != "cleared":
            localization = Localization(
                alert_id=ident,
                machine=machine,
                time=time,
                rule=self._rule.name,
                detector=manifest.detector,
                bundle=manifest.bundle_id,
                channels=shares,
            )
            outputs.append(Output("localizations", key, localization.model_dump_json().encode(), JSON_HEADERS))
        return outputs

    def scores(
        self,
        machine: str,
        times: np.ndarray,
        raw: np.ndarray,
        score: np.ndarray,
        level: np.ndarray,
        quality: np.ndarray,
    ) -> Output:
        """A ScoreBlock of k windows; all arrays [k]."""
        block = {
            "machine": machine,
            "rule": self._rule.name,
            "bundle": self._rule.manifest.bundle_id,
            "time": times,
            # In 32 bits: more digits than the graph has would only be noise, and twice the bytes.
            "raw": np.nan_to_num(np.ascontiguousarray(raw, dtype=np.float32)),
            "score": np.ascontiguousarray(score, dtype=np.float32),
            "threshold": np.ascontiguousarray(level, dtype=np.float32),
            "quality": np.ascontiguousarray(quality, dtype=np.float32),
        }
        value = orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)
        return Output("scores", machine.encode(), value, JSON_HEADERS)

    def shares(self, scored: ScoredWindows, index: int, absent: np.ndarray | None) -> tuple[ChannelShare, ...]:
        """Every channel's part in window `index`, strongest first; equal parts in channel order."""
        # Infinite parts share alike: they stay so large that others vanish, and so small that their sum is finite.
        contribution = np.maximum(scored.contribution[index].astype(np.float64), 0.0)
        contribution = np.nan_to_num(contribution, nan=0.0, posinf=1e300)
        total = float(contribution.sum())
        share = contribution / total if total > 0 else contribution
        actual = scored.last_row[index]
        if absent is not None:
            actual = np.where(absent, np.nan, actual)
        expected = None if scored.expected is None else scored.expected[index].tolist()
        return tuple(
            ChannelShare(
                channel=self._names[column],
                unit=self._units[column],
                share=round(min(1.0, float(share[column])), 6),
                actual=_finite(float(actual[column])),
                expected=None if expected is None else _finite(expected[column]),
            )
            for column in np.argsort(-share, kind="stable").tolist()
        )


def _finite(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def short(score: float) -> float:
    """Six digits: what is behind them depends on how windows were batched, and nobody acts on it."""
    return float(f"{score:.6g}")
