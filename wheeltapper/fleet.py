"""`train --each`: a bundle for each machine of a fleet, by as many processes as there are cores."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

from wheeltapper.loaded import entities_told
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.machine_names import is_pattern, matches
from wheeltapper.schemas.text import counted, did_you_mean, duration, first_names

ROUTES_FILE = "routes.toml"
LOGS = ".logs"

# Where a process ended without a word of its own.
_NO_WORD = "no message"


@dataclass(frozen=True, slots=True)
class Trained:
    """How one machine's training ended.

    Attributes:
        said: of success, what the bundle is; else the line that says why not.
    """

    entity: str
    succeeded: bool
    said: str


def chosen_entities(dataset: str, data: Path | None, pattern: str | None, told: set[str] | None = None) -> list[str]:
    """The machines of a fleet that a name or pattern stands for; all without one.

    Args:
        told: gets what was said of the folder.

    Raises:
        InputError: no such data set or folder, or no machine fits.
    """
    known = entities_told(dataset, data, told)
    found = [name for name in known if pattern is None or matches(pattern, name)]
    if not found:
        raise InputError(
            f"--entity {pattern}: none of {len(known)} machines fits: {first_names(known, 12)}{did_you_mean(str(pattern), known)}"
        )
    return found


def bundle_folder(out: Path, entity: str) -> Path:
    """Where a machine's bundle goes: its name, with characters that no file's name may have written as %XX."""
    name = quote(entity, safe=" !#$&'()+,;=@[]{}~^-_.")
    return out / (name if name.strip(".") else name.replace(".", "%2E"))


def train_each(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    """Train a bundle for each machine; those that are there already stay.

    Args:
        words: options of `train` that all of them share.

    Returns:
        exit code: 0, or 2 where some could not be trained.

    Raises:
        InputError: no machine fits, or `out` is no place for bundles.
    """
    out: Path = arguments.out
    if out.suffix == ".zip" or out.is_file() or (out / "manifest.json").is_file():
        raise InputError(f"--each writes a folder of bundles, but {out} is one bundle; choose another --out")
    entities = chosen_entities(arguments.dataset, arguments.data, arguments.entity)
    kept = (
        [] if arguments.force else [name for name in entities if (bundle_folder(out, name) / "manifest.json").is_file()]
    )
    waiting = [name for name in entities if name not in set(kept)]
    if kept:
        print(f"{len(kept)} of {len(entities)} bundles are there already and stay; --force trains them anew")
    jobs = min(arguments.jobs or len(os.sched_getaffinity(0)), max(1, len(waiting)))
    started = time.perf_counter()
    results = _train_all(waiting, arguments, words, jobs) if waiting else []
    done = [result for result in results if result.succeeded]
    routes = _write_routes(out, [*kept, *(result.entity for result in done)]) if done or kept else None
    failed = [result for result in results if not result.succeeded]
    if waiting:
        print(
            f"{counted(len(done), 'bundle')} trained in {duration(time.perf_counter() - started)} by {counted(jobs, 'process')}"
            + (f", {len(failed)} failed: {first_names([result.entity for result in failed], 12)}" if failed else "")
        )
    with suppress(OSError):  # what is left of logs is of failures
        (out / LOGS).rmdir()
    if routes is not None:
        print(f"routes       {routes}: wheeltapper worker --config {routes}")
    elif done or kept:
        print(
            f"routes       {out / ROUTES_FILE} is not of 'train --each' and stays as it is; add the bundles to it by hand"
        )
    return 2 if failed else 0


def _train_all(
    entities: Sequence[str], arguments: argparse.Namespace, words: Sequence[str], jobs: int
) -> list[Trained]:
    """All of them, in the order in which they end; Ctrl-C ends those at work."""
    stopping = Event()
    results: list[Trained] = []
    with ThreadPoolExecutor(jobs) as pool, _progress(len(entities)) as show:
        pending: set[Future[Trained]] = {pool.submit(_train_one, name, arguments, words, stopping) for name in entities}
        try:
            while pending:
                ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in ended:
                    result = future.result()
                    results.append(result)
                    show(len(results), result)
        except BaseException:
            stopping.set()
            for future in pending:
                future.cancel()
            raise
    return results


def _train_one(entity: str, arguments: argparse.Namespace, words: Sequence[str], stopping: Event) -> Trained:
    from wheeltapper.deploy.child_process import ChildProcess
    from wheeltapper.training.fitting.processes import ONE_THREAD, exit_text

    place = bundle_folder(arguments.out, entity)
    log = arguments.out / LOGS / f"{place.name}.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "wheeltapper", "train", arguments.detector, *words]
    command += ["--entity", entity, "--out", str(place), "--force"]
    started = time.perf_counter()
    with ChildProcess(command, log_file=log, environment={**os.environ, **ONE_THREAD}) as child:
        while (code := child.wait(0.2)) is None:
            if stopping.is_set():
                return Trained(entity, False, "stopped")
    seconds = time.perf_counter() - started
    if code == 0:
        log.unlink(missing_ok=True)
        return Trained(entity, True, f"{_summary(place)}, {duration(seconds)}")
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = lines[-1].removeprefix("wheeltapper: ") if lines else _NO_WORD
    return Trained(entity, False, said if code == 2 else f"{exit_text(code)}: {said}; see {log}")


def _summary(place: Path) -> str:
    manifest: dict[str, Any] = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    notes = len(manifest.get("warnings", ()))
    level = manifest["calibration"]["alarm_level"]
    return f"{manifest['detector']}, alarm level {level:.4g}" + (f", {notes} note{'s' * (notes > 1)}" if notes else "")


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """`show(number, result)`: a line each, and on a terminal a bar below them."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from wheeltapper.alert_view import printable

    def line(number: int, result: Trained) -> str:
        state = "" if result.succeeded else "failed: "
        return f"{number} of {total}  {printable(result.entity)}  {state}{printable(result.said)}"

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda number, result: print(line(number, result), flush=True)
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def show(number: int, result: Trained) -> None:
            bar.console.print(line(number, result), markup=False, highlight=False, soft_wrap=True)
            bar.update(task, completed=number)

        yield show


HEAD = "# Written by `wheeltapper train --each`: which bundle serves which machine."


def _write_routes(out: Path, entities: Sequence[str]) -> Path | None:
    """[routes] of these machines' bundles and of those that the file names already; None where the file is somebody else's.

    Raises:
        InputError: it cannot be read, or written.
    """
    from wheeltapper.stream.settings.origins import toml_value

    path = out / ROUTES_FILE
    routes: dict[str, Any] = {}
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            if not text.startswith(HEAD):
                return None
            routes = tomllib.loads(text).get("routes", {})
        for entity in entities:
            place = str(bundle_folder(out, entity).resolve())
            routes[entity] = {"bundles": place, "exact": True} if is_pattern(entity) else place
        lines = [f"{toml_value(entity)} = {toml_value(routes[entity])}" for entity in sorted(routes)]
        path.write_text("\n".join([HEAD, "[routes]", *lines]) + "\n", encoding="utf-8")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be kept up ({error}); move it away, and call it again") from error
    return path
