"""What the demos share: what they say, bundles that are kept between runs, a broker, processes that end with the demo."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.console import Console

from wheeltapper.deploy.broker import EmbeddedBroker
from wheeltapper.deploy.child_process import ChildProcess
from wheeltapper.kafka_admin import connect, create_topics
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings, load_settings


class Stage:
    """One run of a demo.

    Attributes:
        out: folder of bundles, logs and plots.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.console = Console(highlight=False)

    def say(self, text: str) -> None:
        """One line of the demo's own."""
        self.console.print(f"[green]>[/] {text}", soft_wrap=True)

    def bundle(self, detector: str, entity: str, sha256: str, words: Sequence[str], *, on: str = "") -> Path:
        """The detector's bundle: one of an earlier run where it was trained on the same data, else a new one.

        Args:
            sha256: of the training data, as manifests have it.
            words: options of `wheeltapper train`: where the data are, and how to train.
            on: what it is trained on, for a person.

        Raises:
            InputError: training failed.
        """
        from wheeltapper.cli import main
        from wheeltapper.schemas.bundle import open_bundle

        path = self.out / "bundles" / f"{detector}-{entity}"
        if path.is_dir():
            with suppress(InputError):
                if open_bundle(path).manifest.training_data.sha256 == sha256:
                    self.say(f"bundle of an earlier run: {path}")
                    return path
        self.say(f"training [cyan]{detector}[/]{on and f' on {on}'}")
        if main(["train", detector, *words, "--out", str(path), "--force"]):
            raise InputError(f"training {detector} failed, see above")
        return path

    def broker(self, stack: ExitStack, settings: str) -> tuple[Settings, Path]:
        """An embedded broker with all topics, of one partition each.

        Args:
            settings: TOML of the worker's settings, without [kafka].

        Returns:
            the settings, and the file that holds them.
        """
        broker = stack.enter_context(EmbeddedBroker(log_file=self.out / "broker.log"))
        config = self.out / "settings.toml"
        config.write_text(f'[kafka]\nbrokers = "{broker.client_address}"\n\n{settings}', encoding="utf-8")
        loaded = load_settings(config)
        create_topics(connect(loaded), loaded, partitions=1)
        return loaded, config

    def start(self, stack: ExitStack, name: str, words: Sequence[str]) -> ChildProcess:
        """`wheeltapper WORDS` as a child process; its log is OUT/NAME.log."""
        log = self.out / f"{name}.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "wheeltapper", *words]
        return stack.enter_context(ChildProcess(command, log_file=log, environment={**os.environ}))
