"""Whether the broker has transactions, and under which id this worker uses them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from pathlib import Path

import structlog
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import EMBEDDED_CLUSTER_ID
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.settings import Settings

log = structlog.get_logger(__name__)

# A new broker may still be loading its transaction log: that takes seconds, not a minute.
INIT_TIMEOUT_S = 60.0

# Of a disk that is full or was mounted read-only meanwhile.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
WITHOUT_LOCKS = (
    "no folder for locks can be written: workers of one host may take each other's transactional id once; worker.lock_folder names "
    "a better one"
)

# A broker that writes abort markers has done so by then.
MARKER_TIMEOUT_S = 10.0


def broker_has_transactions(settings: Settings) -> bool:
    """True where an aborted transaction leaves its marker behind.

    Asking is not enough: some Kafka-compatible brokers accept the calls and keep the records all the same. An aborted
    record in the `state` topic followed by the broker's own marker is the proof; without the marker there is none.

    Raises:
        InputError: the broker refuses them and worker.transactions is 'on'.
    """
    kafka, topic = settings.kafka, settings.topics.full_name("state")
    identity = f"{kafka.group}-probe-{socket.gethostname()}-{os.getpid()}"
    producer = Producer(client_config(kafka, **{"transactional.id": identity}))
    # Of committed records only, the end would be that before a transaction which a killed worker left open.
    consumer = Consumer(client_config(kafka, **{"group.id": kafka.group, "isolation.level": "read_uncommitted"}))
    try:
        if consumer.list_topics(topic, timeout=10.0).cluster_id == EMBEDDED_CLUSTER_ID:
            return False
        producer.init_transactions(INIT_TIMEOUT_S)
        producer.begin_transaction()
        offsets: list[int] = []
        producer.produce(
            topic,
            b"",
            b"\x00probe",
            partition=0,
            on_delivery=lambda error, message: offsets.append(-1 if error else message.offset()),
        )
        producer.flush(INIT_TIMEOUT_S)
        producer.abort_transaction(INIT_TIMEOUT_S)
        if not offsets or offsets[0] < 0:
            return False
        deadline = time.monotonic() + MARKER_TIMEOUT_S  # the coordinator writes the marker after it has answered
        while time.monotonic() < deadline:
            with contextlib.suppress(KafkaException):  # a broker that has just started may not tell at once
                if consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=3.0)[1] > offsets[0] + 1:
                    return True
            time.sleep(0.05)
        return False
    except KafkaException as error:
        reason = refusal(error)
        if reason and settings.worker.transactions == "on":
            raise InputError(reason) from error
        log.warning("working without transactions", reason=reason or str(error))
        return False
    finally:
        consumer.close()


class TransactionalId:
    """An id that is this worker's alone, and the same again after a restart on the same host.

    The same id fences what a killed worker left open at once; a random one would make readers of committed data wait
    for the transaction timeout. Slots are held by file locks, which end with the process however it ends. They lie in a folder of
    this user's own: in a shared one anybody could hold them, or lead them elsewhere.
    """

    def __init__(self, group: str, topic: str, folder: Path | None = None) -> None:
        """
        Args:
            folder: for locks; None: see `lock_folder`. Where that cannot be written either, as on a full disk, there is no lock.

        Raises:
            InputError: the folder cannot be made or written, or belongs to somebody else.
        """
        # The group comes first, so that one rule for a prefix gives a user the right to all of its ids.
        self._name = f"{group}-{topic}-{socket.gethostname()}".replace("/", "_")
        self._asked = folder is not None
        self._folder = lock_folder(folder)
        self._lock: int | None = None
        self._slot = -1
        self.move_on()

    @property
    def value(self) -> str:
        return f"{self._name}-{self._slot}"

    def move_on(self) -> None:
        """Take the next free slot: a worker that does not see our locks, as in another container, uses this one too."""
        if self._lock is not None:
            os.close(self._lock)
        while True:
            self._slot += 1
            if self._folder is None:
                self._lock = None
                return
            path = self._folder / f"{self.value}.lock"
            try:
                self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except OSError as error:
                self._lock = None
                if not self._asked and error.errno in NO_SPACE:
                    log.warning(WITHOUT_LOCKS, folder=str(self._folder), reason=error.strerror)
                    self._folder = None
                    return
                raise InputError(
                    f"{path}: the lock cannot be opened ({error.strerror}); set worker.lock_folder to a folder of this user's own"
                ) from error
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                os.close(self._lock)


def lock_folder(asked: Path | None = None) -> Path | None:
    """Where locks of this user's workers lie: as asked, else in XDG_RUNTIME_DIR, XDG_STATE_HOME or ~/.local/state.

    Where none of them can be written, as in a container with a read-only root, there are none: a lock that no other process sees is
    no better.

    Raises:
        InputError: the asked one cannot be made or written, or any of them is another user's, or open to others.
    """
    if asked is not None:
        try:
            return _private(asked)
        except OSError as error:
            raise InputError(f"{asked}: cannot be made or written ({error}); correct worker.lock_folder") from error
    runtime, state = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_STATE_HOME")
    places = [Path(runtime)] if runtime else []
    places.append(Path(state) if state else Path.home() / ".local" / "state")
    for place in places:
        try:
            return _private(place / "wheeltapper" / "locks")
        except OSError:
            continue
    log.warning(WITHOUT_LOCKS, folders=[str(place) for place in places])
    return None


def _private(folder: Path) -> Path:
    """
    Raises:
        OSError: it cannot be made or written. InputError: it is another user's, or open to others.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"{folder}: belongs to user {found.st_uid} or may be written by others (mode {stat.S_IMODE(found.st_mode):o}); locks need "
            "a folder of this user's own: chmod go-w, or set worker.lock_folder"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder
