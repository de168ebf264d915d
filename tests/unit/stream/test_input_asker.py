"""What a worker makes of a cluster that has no brokers, as one says that is just starting."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaException

from wheeltapper.stream.input_watch import InputAsker
from wheeltapper.stream.settings import Settings

API_VERSIONS, METADATA = 18, 3


class Starting:
    """Answers two questions of Kafka's protocol: which requests it knows, and which brokers and topics there are.

    A real broker gives the answer in question for moments that no test can choose.

    Attributes:
        has_brokers: it names itself; else nobody.
    """

    def __init__(self) -> None:
        self.has_brokers = True
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as requests:
            while head := requests.read(4):
                request = requests.read(struct.unpack(">i", head)[0])
                key, version, correlation = struct.unpack(">hhi", request[:8])
                if key == API_VERSIONS:
                    body = self._versions(version)
                else:
                    assert (key, version) == (METADATA, 12)
                    body = self._metadata()
                connection.sendall(struct.pack(">ii", 4 + len(body), correlation) + body)

    @staticmethod
    def _versions(version: int) -> bytes:
        known = [
            struct.pack(">hhh", *each) for each in ((0, 0, 9), (1, 0, 11), (METADATA, 0, 12), (API_VERSIONS, 0, 3))
        ]
        if version < 3:
            return struct.pack(">hi", 0, len(known)) + b"".join(known) + bytes(4 if version else 0)
        return bytes([0, 0, len(known) + 1]) + b"".join(each + b"\0" for each in known) + bytes(5)

    def _metadata(self) -> bytes:
        itself = bytes([2]) + struct.pack(">i", 1) + b"\x0a127.0.0.1" + struct.pack(">i", self.port) + bytes(2)
        controller = struct.pack(">i", 1 if self.has_brokers else -1)
        return b"\0" + bytes(4) + (itself if self.has_brokers else b"\1") + b"\2c" + controller + b"\1" + b"\0"


@pytest.fixture
def starting() -> Iterator[Starting]:
    cluster = Starting()
    yield cluster
    cluster.close()


def test_a_cluster_without_brokers_is_no_answer_and_ends_no_process(starting: Starting) -> None:
    # given a client that knows a broker
    settings = Settings.model_validate({"kafka": {"brokers": f"127.0.0.1:{starting.port}"}})
    asker = InputAsker(settings.kafka)
    assert asker._cluster(asker._admin) == "c"
    # when the cluster then says that it has none: librdkafka would abort the process over that
    starting.has_brokers = False
    questions: list[Callable[[], object]] = [
        lambda: asker.look(["sensors"], {("sensors", 0): 5}),
        lambda: asker.ids_of(["alerts", "state"]),
        lambda: asker.id_of("sensors"),
        lambda: asker.partitions_of("state"),
    ]
    # then nothing is known, and it is asked again later
    for ask in questions:
        with pytest.raises(KafkaException):
            ask()
