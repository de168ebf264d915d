"""The demo of sound: a fan with a microphone, through a real broker and a worker; faults of known moment and frequency."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.alert_view import render
from wheeltapper.demo_stage import Stage
from wheeltapper.deploy.child_process import ChildProcess
from wheeltapper.follow.alerts import AlertReader
from wheeltapper.follow.follower import Follower
from wheeltapper.follow.messages import received, topic_of
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, Patch, ScoreBlock
from wheeltapper.sound.files import soundfile
from wheeltapper.stream.settings import Settings
from wheeltapper.training.datasets.clock import MADE_UP_TEST_START
from wheeltapper.training.datasets.sound.simulated import RATE, Fault, make_series, make_stream
from wheeltapper.training.fitting.fingerprint import clips_sha256

FAN = "fan-1"
DETECTORS = ("band-profile", "band-events")
SECONDS = 300.0
FAULTS = (
    Fault("squeal", 70.0, 82.0, 2_600.0, 2_900.0),
    Fault("knocking", 150.0, 166.0, 1_500.0, 3_500.0),
    Fault("hiss", 235.0, 255.0, 3_500.0, 6_300.0),
)
# An alarm is one of a fault where it opens during it, or within the window that holds its end.
WINDOW_S, HOP_S = 10.0, 5.0
REAL = ("mimii", "fan_id_00")
TIME_LIMIT_S = 150.0
SETTINGS = """[worker]
commit_interval_ms = 200

[state]
snapshot_interval_s = 5.0

[threshold]
clear_duration_s = 10.0
"""


@dataclass
class Heard:
    """What was heard of one fault.

    Attributes:
        first: the first alert that opened in it.
    """

    fault: Fault
    first: AlertEvent | None = None
    patches: list[Patch] = field(default_factory=list)

    @property
    def from_us(self) -> int:
        return MADE_UP_TEST_START + round(self.fault.start_s * 1e6)

    @property
    def until_us(self) -> int:
        return MADE_UP_TEST_START + round((self.fault.end_s + WINDOW_S) * 1e6)

    def is_of(self, alert: AlertEvent) -> bool:
        return self.from_us <= alert.time <= self.until_us

    def overlaps(self, patch: Patch) -> bool:
        """Whether a patch lies in the fault's time and frequencies, at least in part."""
        fault = self.fault
        in_time = patch.start < MADE_UP_TEST_START + round(fault.end_s * 1e6) and patch.end > self.from_us
        return in_time and patch.low_hz < fault.high_hz and patch.high_hz > fault.low_hz


class SoundDemo:
    """Runs it once; its processes end with it."""

    def __init__(self, speed: float, out: Path) -> None:
        self._speed = speed
        self._out = out
        self._stage = Stage(out)
        self._say = self._stage.say
        self._heard = [Heard(fault) for fault in FAULTS]
        self._alerts: list[AlertEvent] = []

    def run(self) -> int:
        """0 where every fault was heard and blamed where it is."""
        started = time.monotonic()
        clips = clips_sha256(make_series(FAN).train)
        words = ["--dataset", "simulated-sound", "--entity", FAN, "--no-torchscript"]
        bundles = [self._stage.bundle(name, FAN, clips, words, on=f"40 normal clips of {FAN}") for name in DETECTORS]
        wav = self._stream()
        with ExitStack() as stack:
            settings, config = self._stage.broker(stack, SETTINGS)
            common = ["--config", str(config)]
            rules = [word for bundle in bundles for word in ("--bundle", f"{FAN}={bundle}")]
            worker = self._stage.start(stack, "worker", ["worker", "--runner", "direct", *common, *rules])
            self._say(f"broker on {settings.kafka.brokers}, worker started (logs in {self._out})")
            words = ["replay", "wav", str(wav), "--machine", FAN, "--speed", f"{self._speed:g}", *common]
            replay = self._stage.start(stack, "replay", words)
            self._say(
                f"{SECONDS:.0f} s of {FAN} are sent as a live microphone, {self._speed:g} times as fast as they last"
            )
            self._follow(settings, worker, replay)
            self._cut_clip(config)
        self._plot(wav)
        missing = self._summary()
        self._real_clips()
        self._say(f"done in {time.monotonic() - started:.0f} s")
        return 1 if missing else 0

    def _stream(self) -> Path:
        path = self._out / f"{FAN}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile().write(path, make_stream(FAN, SECONDS, FAULTS), RATE, subtype="PCM_16")
        return path

    def _follow(self, settings: Settings, worker: ChildProcess, replay: ChildProcess) -> None:
        """Show alerts until every detector has scored the last window, or time is over."""
        until = time.monotonic() + TIME_LIMIT_S
        last_window = MADE_UP_TEST_START + round((SECONDS - 2 * HOP_S) * 1e6)
        done: set[str] = set()
        with AlertReader(settings) as reader, Follower(settings, topic_of(ScoreBlock)) as scores:
            scored = scores.follow()
            for one in reader.follow():
                if one is not None:
                    if one.message is not None:
                        self._take(one.message)
                    continue
                if len(done) == len(DETECTORS) or time.monotonic() > until:
                    return
                for record in scored:
                    if record is None:
                        break
                    block = received(ScoreBlock, record).message
                    if block is not None and block.time[-1] > last_window:
                        done.add(block.rule)
                if not worker.is_running:
                    raise InputError(f"the worker ended: see {self._out}/worker.log")
                if not replay.is_running and replay.wait(0):
                    raise InputError(f"the replay failed: see {self._out}/replay.log")

    def _take(self, alert: AlertEvent) -> None:
        self._alerts.append(alert)
        self._stage.console.print(render(alert), soft_wrap=True)
        for heard in self._heard:
            if alert.event != "cleared" and heard.is_of(alert):
                heard.patches += [patch for patch in alert.patches if heard.overlaps(patch)]
                if heard.first is None and alert.event == "opened":
                    heard.first = alert
                    fault = heard.fault
                    self._say(
                        f"[green]heard[/]: {fault.kind} of {fault.low_hz:.0f} to {fault.high_hz:.0f} Hz that began at second "
                        f"{fault.start_s:g}, {(alert.time - heard.from_us) / 1e6:.1f} s after"
                    )

    def _cut_clip(self, config: Path) -> None:
        from wheeltapper.cli import main

        first = next((heard.first for heard in self._heard if heard.first is not None), None)
        if first is not None:
            main(["clip", first.alert_id, "--config", str(config), "--out", str(self._out)])

    def _summary(self) -> list[str]:
        """What the demo promises and has not shown."""
        missing = []
        for heard in self._heard:
            if heard.first is None:
                missing.append(f"{heard.fault.kind} was not heard")
            elif not heard.patches:
                missing.append(f"{heard.fault.kind} was not blamed where it is")
        opened = [alert for alert in self._alerts if alert.event == "opened"]
        false = [alert for alert in opened if not any(heard.is_of(alert) for heard in self._heard)]
        self._say(
            f"{sum(heard.first is not None for heard in self._heard)} of {len(FAULTS)} faults heard, {len(false)} alarms without a fault"
        )
        for what in missing:
            self._say(f"[red]{what}[/]; {self._out}/*.log may say why")
        return missing

    def _plot(self, wav: Path) -> None:
        from wheeltapper.demo_sound_plot import plot

        samples: Any = soundfile().read(wav, dtype="float32")[0]
        path = self._out / "sound.png"
        plot(path, np.asarray(samples), RATE, MADE_UP_TEST_START, FAULTS, self._alerts)
        self._say(f"plot of sound, faults, alerts and blamed patches: [bold]{path}[/]")

    def _real_clips(self) -> None:
        """Where the folder of data sets has the MIMII fan: the same detector on its recordings, judged offline."""
        from wheeltapper.cli import main
        from wheeltapper.training.datasets.registry import DATA_VARIABLE, dataset_folder

        root = os.environ.get(DATA_VARIABLE)
        if not root or dataset_folder(REAL[0], Path(root).expanduser()) is None:
            self._say(f"{DATA_VARIABLE} names no folder with the data set {REAL[0]}: real recordings are left out")
            return
        bundle, plot = self._out / "bundles" / f"{DETECTORS[0]}-{REAL[1]}", self._out / "real.png"
        self._say(
            f"real recordings: {REAL[1]} of {REAL[0]}, trained on the earlier normal clips, judged on the later ones and the faulty ones"
        )
        words = ["--dataset", REAL[0], "--entity", REAL[1]]
        if main(["train", DETECTORS[0], *words, "--out", str(bundle), "--no-torchscript", "--force"]) == 0:
            main(["evaluate", str(bundle), *words, "--plot", str(plot)])
