"""A worker on a machine whose disks are full or read-only: it needs none, and says what it goes without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker
from tests.integration.processes import WorkerProcess, worker_command
from tests.integration.worker_tools import (
    RUNNERS,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    make_rig,
    side_by_side,
)

pytestmark = [pytest.mark.broker, pytest.mark.kafka, pytest.mark.slow]

# In a name space of mounts of its own: the home is on a disk without room for one file more, all else is read-only.
CONFINED = """
for folder in / /tmp /var; do
    mount --bind "$folder" "$folder" 2>/dev/null; mount -o remount,bind,ro "$folder" 2>/dev/null
done
touch "$1" 2>/dev/null && exit 77
mount -t tmpfs -o size=16k,nr_inodes=3,mode=700 tmpfs "$0" && mkdir -p -m 700 "$0/wheeltapper/locks" || exit 77
shift
cd / && exec "$@"
"""


@pytest.fixture
def rigs(real_kafka: str, topics_prefix: str, tmp_path: Path) -> list[Rig]:
    """Both runners on a real Apache Kafka, where the runner `direct` wants a lock for its transactional id."""
    probe = tmp_path / "probe"
    probe.mkdir()
    try:
        done = subprocess.run(confined(probe, tmp_path / "file", ["true"]), capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs unshare, of util-linux")
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount in a name space of its own: {done.stderr.strip()[-200:]}")
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    return [make_rig(broker, runner, f"{runner}-{topics_prefix}", tmp_path / runner) for runner in RUNNERS]


def confined(home: Path, file: Path, command: list[str]) -> list[str]:
    """The command with this home, on a machine where `file` cannot be written."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", CONFINED, str(home), str(file), *command]


def test_a_worker_whose_disks_are_full_and_whose_log_cannot_be_written_works_on(rigs: list[Rig]) -> None:
    side_by_side(rigs, work_without_disks)


def work_without_disks(rig: Rig) -> None:
    # given a worker that can write no file at all
    plant = make_plant(machines=4, rows=300)
    home = rig.folder / "home"
    home.mkdir()
    options = ["--group", rig.group]
    command = worker_command(
        rig.broker, [rig.bundle], runner=rig.runner, prefix=rig.prefix, until_idle_s=1.0, options=options
    )
    environment = {**rig.threshold, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "XDG_CACHE_HOME": str(home)}
    rig.produce(messages_of(plant.until(150), largest_block=8))
    done = subprocess.run(
        confined(home, rig.folder / "file", [sys.executable, "-m", "wheeltapper", *command]),
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    # when it has worked, then it says what it went without: only one of the runners has a use for files
    assert done.returncode == 0, done.stdout[-4000:]
    assert ("no folder for locks can be written" in done.stdout) == (rig.runner == "direct")
    assert "No space left on device" in done.stdout or rig.runner == "faust"
    assert_committed_to_the_end(rig)
    # and nothing of what it is made of wants to keep a file for reports to its maker
    assert "telemetry" not in done.stdout
    # and when the disk of its log is full, then it works without a word
    rig.produce(messages_of(plant.since(150), largest_block=8))
    worker = WorkerProcess(command, Path("/dev/full"), environment)
    assert worker.process.wait(240) == 0
    # and nobody can tell from what came out
    assert_committed_to_the_end(rig)
    assert_alerts(rig, rig.expect(plant), exactly_once=True)
    assert_scores(rig, rig.expect(plant), exactly_once=True)
