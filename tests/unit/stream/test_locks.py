"""Locks of transactional ids: in a folder of the user's own, never through somebody else's files."""

from __future__ import annotations

import os
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.transactions import TransactionalId, lock_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and no folder of a session."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_workers_of_one_host_take_different_ids_and_the_same_again(home: Path) -> None:
    # given two workers of a group
    first, second = TransactionalId("group", "plant/sensors"), TransactionalId("group", "plant/sensors")
    assert (first.value[-2:], second.value[-2:]) == ("-0", "-1")
    assert first.value.startswith("group-plant_sensors-")
    # when the first moves on, a third finds the next free one
    first.move_on()
    assert first.value.endswith("-2")
    assert TransactionalId("group", "plant/sensors").value.endswith("-0")
    # then the locks lie in the home, for its owner alone
    folder = home / ".local" / "state" / "wheeltapper" / "locks"
    assert {path.parent for path in home.rglob("*.lock")} == {folder}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_folder_of_the_session_comes_first_and_a_setting_before_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert lock_folder() == tmp_path / "state" / "wheeltapper" / "locks"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    assert lock_folder() == tmp_path / "run" / "wheeltapper" / "locks"
    assert lock_folder(tmp_path / "asked") == tmp_path / "asked"


def test_a_folder_that_others_may_write_is_refused(home: Path, tmp_path: Path) -> None:
    # given a folder that others may write, as a shared temporary one is
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(InputError, match="may be written by others"):
        lock_folder(shared)
    with pytest.raises(InputError, match=r"correct worker\.lock_folder"):
        lock_folder(Path("/proc/nowhere"))


def test_a_link_in_place_of_a_lock_is_not_followed(home: Path, tmp_path: Path) -> None:
    # given a link that somebody put where the lock will be, to a file that matters
    folder, precious = tmp_path / "locks", tmp_path / "precious"
    precious.write_text("rows of a year")
    identity = TransactionalId("group", "topic", folder)
    os.symlink(precious, folder / f"{identity.value[:-2]}-1.lock")
    with pytest.raises(InputError, match=r"set worker\.lock_folder"):
        identity.move_on()
    assert precious.read_text() == "rows of a year"


def test_where_nothing_can_be_written_ids_are_taken_without_locks(
    home: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given a root that cannot be written, as of a container
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    # when an id is taken, then it is the first, and whoever is fenced by another worker moves on
    identity = TransactionalId("group", "topic")
    assert identity.value.endswith("-0")
    identity.move_on()
    assert identity.value.endswith("-1")
    assert sum("no folder for locks can be written" in line["event"] for line in log_lines) == 1
