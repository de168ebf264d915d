"""Bundles that are damaged, or made by an attacker: each is refused with one line, or scores as it should."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest

from tests.scale.spoilt_bundles import LIMIT_S, bundle_of, placed
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.bundle.probe import BundleProbe
from wheeltapper.schemas.errors import InputError

pytestmark = [pytest.mark.nightly]

FULL = 20_000
SEED = 11
MOST_MB = 512
"""That a bundle of some kilobytes may take while it is opened."""


class Opener:
    """The process that opens one bundle after the other; a new one behind each that ends it."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self.fatal: list[int] = []
        """Bundles at which it ended."""

    def run(self) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        first = 0
        while first < self._number:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
            command = [
                sys.executable,
                "-m",
                "tests.scale.spoilt_bundles",
                str(self._folder),
                str(SEED),
                str(first),
                str(self._number),
            ]
            with (self._folder / "log").open("wb") as log:
                lines, is_done = self._watched(command, log)
            answers += [line for line in lines if "said" in line]
            if is_done:
                break
            last = lines[-1]["number"]
            self.fatal.append(last)
            first = last + 1
        return answers

    @staticmethod
    def _watched(command: list[str], log: IO[bytes]) -> tuple[list[dict[str, Any]], bool]:
        """Its lines, and whether it came to its end; one that is silent for long is ended."""
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        answers = Path(log.name).with_name("answers")
        with answers.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=log, cwd=root, env=environment)
            try:
                seen = -1
                while process.poll() is None:
                    try:
                        process.wait(4 * LIMIT_S)
                    except subprocess.TimeoutExpired:
                        if answers.stat().st_size == seen:
                            break
                        seen = answers.stat().st_size
            finally:
                process.kill()
                process.wait()
        lines = [json.loads(line) for line in answers.read_bytes().splitlines() if line.endswith(b"}")]
        assert lines, Path(log.name).read_text()[-4000:]
        return lines, process.returncode == 0


@pytest.mark.timeout(14_400)
def test_each_is_refused_with_a_line_or_scores_as_it_should(tmp_path: Path, scale: float) -> None:
    # given bundles with something changed in each: bytes, manifest, graph, tables, the .zip around them
    number = max(100, round(FULL * scale))
    opener = Opener(tmp_path / "bundles", number)
    # when they are opened one after the other as a worker does, and rows are scored where that succeeds
    answers = opener.run()
    # then no other error comes, and none costs much memory
    outcomes = Counter((line["what"].split()[0], line["said"].partition(":")[0]) for line in answers)
    print(f"{number} bundles: {dict(outcomes)}; ended the process: {opener.fatal}")
    wrong = [line for line in answers if line["said"].startswith("WRONG")]
    assert not wrong, "\n".join(f"{line['number']} ({line['what']}): {line['said'][-1500:]}" for line in wrong[:5])
    assert len(answers) + len(opener.fatal) == number
    assert max(line["megabytes"] for line in answers) < MOST_MB
    assert {said for _, said in outcomes} == {"refused", "right"}
    # and a graph that ends the process is refused by the one that tries bundles first
    probe = BundleProbe()
    try:
        for fatal in opener.fatal:
            what, _, bundle = bundle_of(SEED, fatal)
            location = placed(tmp_path / f"fatal-{fatal}", bundle)
            assert "model.onnx" in what, what
            with pytest.raises(InputError):
                probe.check(location, open_bundle(location).manifest_sha256, timeout_s=LIMIT_S, memory_mb=2_048)
    finally:
        probe.close()
