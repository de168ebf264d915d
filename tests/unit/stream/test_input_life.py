"""Where reading goes on when a topic is not what it was: topic ids, offsets that went back, expired messages, lost commits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.stream.input_life import (
    MOST_LIVES,
    FoundInput,
    InputLife,
    KnownInput,
    known_input,
    packed,
    take_over,
    unpacked,
)
from wheeltapper.stream.state import progress_record

LIFE = InputLife(0, "topic-1", "cluster-1")
KNOWN = KnownInput(LIFE, published=120, committed=100, before=100)
SAME = FoundInput("topic-1", "cluster-1", first=0, end=500)


def kinds(taken: object) -> list[str]:
    return [event.kind for event in taken.events]  # type: ignore[attr-defined]


def test_a_topic_that_is_the_same_is_read_on_at_the_groups_offset() -> None:
    # given state and commit of the topic that is there, when it is taken over
    taken = take_over(KNOWN, 100, SAME)
    # then nothing is said and reading goes on
    assert (taken.start, taken.life, taken.is_new_life, taken.forgets, taken.events) == (100, LIFE, False, False, ())


@pytest.mark.parametrize("commit", [None, 100, 3, 9_000])
def test_a_topic_made_anew_is_read_from_its_first_message_whatever_the_commit_says(commit: int | None) -> None:
    # given another topic of the same name in the same cluster, when it is taken over
    taken = take_over(KNOWN, commit, FoundInput("topic-2", "cluster-1", first=7, end=9_500))
    # then it is read from its first message, under another life, and the old commit is known for what it is
    assert (taken.start, taken.is_new_life, kinds(taken)) == (7, True, ["made-anew"])
    assert taken.life == InputLife(1, "topic-2", "cluster-1", commit, 0)
    # and a restart before the first commit of that life starts there too, one behind it at its commit
    after = KnownInput(taken.life, published=0, committed=7)
    assert take_over(after, commit, FoundInput("topic-2", "cluster-1", 7, 9_500)).start == 7
    assert take_over(after, 5_000, FoundInput("topic-2", "cluster-1", 7, 9_500)).start == 5_000


@pytest.mark.parametrize(("commit", "start", "stale"), [(None, 40, None), (50, 50, None), (700, 40, 700), (30, 40, 30)])
def test_on_another_cluster_the_groups_offset_there_counts_where_it_can_be_right(
    commit: int | None, start: int, stale: int | None
) -> None:
    # given a mirror of the topic in another cluster, when it is taken over
    taken = take_over(KNOWN, commit, FoundInput("topic-9", "cluster-2", first=40, end=600))
    # then what lies in it now may have been handled, and is known by its times
    assert (taken.start, kinds(taken)) == (start, ["other-cluster"])
    assert taken.life == InputLife(1, "topic-9", "cluster-2", stale, repeats_until=600)


@pytest.mark.parametrize(("commit", "published"), [(501, 0), (400, 900)])
def test_a_topic_that_ends_before_what_was_handled_is_read_again_and_rows_are_known_by_their_times(
    commit: int, published: int
) -> None:
    # given the same topic, which has lost its last messages
    taken = take_over(replace(KNOWN, published=published), commit, replace(SAME, first=20))
    # then all of it is read under a new life
    assert (taken.start, taken.is_new_life, kinds(taken)) == (20, True, ["went-back"])
    assert taken.life.repeats_until == 500


def test_a_topic_whose_leader_epoch_fell_is_an_older_copy() -> None:
    # given state that has seen epoch 5, and a topic whose last message is of epoch 4, longer though it is
    known = replace(KNOWN, life=replace(LIFE, epoch=5))
    taken = take_over(known, 100, replace(SAME, epoch=4))
    # then it is read again under a new life that knows this epoch
    assert (taken.start, taken.is_new_life, kinds(taken)) == (0, True, ["went-back"])
    assert (taken.life.epoch, taken.life.repeats_until) == (4, 500)
    assert "epoch fell from 5 to 4" in taken.events[0].text
    # and one that rose, or is not told, says nothing
    assert take_over(known, 100, replace(SAME, epoch=6)).life.epoch == 6
    assert take_over(known, 100, SAME).life.epoch == 5


def test_messages_that_expired_unread_are_counted_and_passed_over() -> None:
    # given a commit before the first message that is left
    taken = take_over(KNOWN, 100, replace(SAME, first=130))
    # then reading starts there, and the rest is told
    assert (taken.start, taken.is_new_life, kinds(taken)) == (130, False, ["expired"])
    assert taken.events[0].messages == 30
    assert "100 to 130" in taken.events[0].text


def test_a_group_whose_commit_is_lost_goes_on_where_its_state_says() -> None:
    # given no commit, as after a week without a worker
    taken = take_over(KNOWN, None, SAME)
    assert (taken.start, taken.forgets, kinds(taken)) == (100, False, ["commit-lost"])
    # and a worker that was killed before its first commit is none to tell of
    assert take_over(replace(KNOWN, before=None), None, SAME).events == ()
    # and a first run that never committed begins at the first message, with what its state holds
    taken = take_over(replace(KNOWN, committed=None), None, SAME)
    assert (taken.start, taken.forgets, taken.events) == (None, False, ())


@pytest.mark.parametrize(
    ("commit", "told"), [(100, []), (80, []), (99, ["set-back"]), (0, ["set-back"]), (101, ["set-forward"])]
)
def test_an_offset_that_somebody_set_by_hand_counts_and_is_told(commit: int, told: list[str]) -> None:
    # given a record written for a commit of 100 when the one before was 80: a killed worker leaves either
    taken = take_over(replace(KNOWN, published=90, before=80), commit, SAME)
    # then any other was set by somebody; reading starts there
    assert (taken.start, taken.is_new_life, kinds(taken)) == (commit, False, told)


def test_state_of_a_version_that_knew_no_topic_ids_is_taken_over_by_its_commit() -> None:
    # given a record without an id, when there is a commit that fits: then it counts, and the id is known from now on
    old = KnownInput(InputLife(), published=120)
    taken = take_over(old, 100, SAME)
    assert (taken.start, taken.life, taken.events) == (100, LIFE, ())
    # and without one the state belongs to nothing
    assert take_over(old, None, SAME).forgets
    assert take_over(None, None, SAME).forgets
    assert take_over(None, None, SAME).events == ()
    # and one behind the end is of another topic
    taken = take_over(old, 900, SAME)
    assert (taken.start, taken.is_new_life, kinds(taken)) == (0, True, ["went-back"])


def test_a_commit_without_any_state_is_told() -> None:
    # given a group that has handled messages, and a state topic that somebody has emptied or made anew
    taken = take_over(None, 100, SAME)
    # then reading goes on at the commit, and it is said that machines begin with nothing
    assert (taken.start, taken.life, taken.is_new_life, kinds(taken)) == (100, LIFE, False, ["state-lost"])
    # and whatever else is wrong is told beside it
    assert kinds(take_over(None, 10, replace(SAME, first=30))) == ["state-lost", "expired"]
    assert kinds(take_over(None, 900, SAME)) == ["state-lost", "went-back"]


def test_where_the_broker_tells_nothing_the_commit_counts() -> None:
    taken = take_over(KNOWN, 100, FoundInput())
    assert (taken.start, taken.life, taken.events) == (100, LIFE, ())


@given(life=st.integers(0, MOST_LIVES), offset=st.integers(0, 2**48 - 1), other=st.integers(0, 2**48 - 1))
@REPEATABLE
def test_life_and_offset_are_one_number_and_a_later_life_is_larger(life: int, offset: int, other: int) -> None:
    # then the number gives both back, fits the snapshot's field, and is the offset where the input never broke
    assert unpacked(packed(life, offset)) == (life, offset)
    assert packed(life, offset) < 2**63
    assert packed(0, offset) == offset
    assert packed(0, -1) == -1
    assert unpacked(-1) == (0, -1)
    if life < MOST_LIVES:
        assert packed(life + 1, other) > packed(life, offset)


@pytest.mark.parametrize(
    "life", [InputLife(), LIFE, InputLife(3, "t", "c", 0, 90, 0), InputLife(3, "t", "c", 17, 0, 7)]
)
def test_a_progress_record_says_which_input_it_is_about(life: InputLife) -> None:
    record = progress_record(120, 0, 130, life, 100, 90)
    assert known_input(record.value or b"") == KnownInput(life, 120, 100, 90)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b'{"life": 1}', b'{"published": 1, "life": -1}', b'{"published": 1, "life": "x"}']
)
def test_a_progress_record_that_cannot_be_read_says_nothing(value: bytes) -> None:
    assert known_input(value) is None
