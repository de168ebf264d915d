"""How many copies must have a record: what `topics create` asks for."""

from __future__ import annotations

import pytest

from wheeltapper.kafka_admin import TopicState, copies_in_sync, new_topic
from wheeltapper.schemas.topics import STATE, TOPICS


@pytest.mark.parametrize(("copies", "wanted"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3)])
def test_the_loss_of_one_broker_loses_nothing_and_stops_nobody(copies: int, wanted: int) -> None:
    assert copies_in_sync(copies) == wanted


def test_a_new_topic_is_made_with_it_where_it_is_known() -> None:
    spec = TOPICS[STATE]
    assert new_topic(spec, "x", 8, 3, 2).config["min.insync.replicas"] == "2"
    assert "min.insync.replicas" not in new_topic(spec, "x", 8, None, None).config


def test_topics_that_exist_with_fewer_are_told() -> None:
    # given a topic of three copies, one of which is enough, and one as it should be
    def told(in_sync: str, copies: int) -> list[str]:
        state = TopicState(TOPICS[STATE], "x", 8, copies, {"min.insync.replicas": in_sync})
        return state.config_differences()

    assert told("1", 3) == ["min.insync.replicas is 1 of 3 copies, expected 2 or more"]
    assert told("2", 3) == told("3", 3) == told("1", 1) == []
