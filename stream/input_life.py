"""Which input the offsets of a partition belong to, and where to read on when that has changed.

A topic may be made anew, restored from an older copy, moved to another cluster, or lose messages that nobody read. Offsets of
the input before say nothing then. Each such break begins a new *life* of the partition: the progress record says which one it
is and which topic it belongs to, every snapshot says in which life its offset was counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

# A snapshot's offset is a number of 64 bits: the life is in the upper ones, so that of two snapshots the newer one is larger.
LIFE_BITS = 15
OFFSET_BITS = 48
MOST_LIVES = 2**LIFE_BITS - 1
_OFFSET_MASK = 2**OFFSET_BITS - 1


@dataclass(frozen=True, slots=True)
class InputLife:
    """One life of an input partition.

    Attributes:
        number: how often offsets began to mean something else; 0: never.
        topic_id, cluster: ids that the broker gave the topic and itself; '': not known.
        stale_commit: the group's commit when this life began: it belongs to the one before. None: there was none.
        repeats_until: input below this offset may be what machines have had already under other offsets.
        epoch: highest leader epoch of the partition's last message that was seen; -1: none was. It falls only where the log is
            an older one.
    """

    number: int = 0
    topic_id: str = ""
    cluster: str = ""
    stale_commit: int | None = None
    repeats_until: int = 0
    epoch: int = -1

    def to_fields(self) -> dict[str, Any]:
        """In JSON types, for the progress record; what is as it is at first is left out."""
        fields = {
            "life": self.number,
            "topic_id": self.topic_id,
            "cluster": self.cluster,
            "stale_commit": self.stale_commit,
            "repeats_until": self.repeats_until,
            "epoch": None if self.epoch < 0 else self.epoch,
        }
        return {
            name: value for name, value in fields.items() if value or (name in ("stale_commit", "epoch") and value == 0)
        }

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> InputLife:
        """What `to_fields` gave; of a version that knew no lives, the first one.

        Raises:
            TypeError, ValueError: it cannot be read.
        """
        stale = fields.get("stale_commit")
        number, repeats_until = int(fields.get("life", 0)), int(fields.get("repeats_until", 0))
        if not 0 <= number <= MOST_LIVES or repeats_until < 0:
            raise ValueError(f"life {number}, repeats_until {repeats_until}: out of range")
        return InputLife(
            number,
            str(fields.get("topic_id", "")),
            str(fields.get("cluster", "")),
            None if stale is None else int(stale),
            repeats_until,
            int(fields.get("epoch", -1)),
        )


@dataclass(frozen=True, slots=True)
class KnownInput:
    """What the progress record says of a partition's input.

    Attributes:
        published: output of all input below it is out.
        committed: offset up to which snapshots held everything when it was written; None: it does not say.
        before: the group's commit when it was written; None: there was none, or it does not say.
    """

    life: InputLife
    published: int = 0
    committed: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class FoundInput:
    """A partition of an input topic as the broker describes it now.

    Attributes:
        topic_id, cluster: '' where the broker does not tell.
        first: offset of its first message; None: not known.
        end: offset behind its last message; None: not known.
        epoch: leader epoch of its last message; -1: not known.
    """

    topic_id: str = ""
    cluster: str = ""
    first: int | None = None
    end: int | None = None
    epoch: int = -1


@dataclass(frozen=True, slots=True)
class InputEvent:
    """Something that happened to the input.

    Attributes:
        kind: label of the metric: made-anew, other-cluster, went-back, set-back, set-forward, expired, commit-lost, state-lost,
            partitions-added.
        text: for the log.
        messages: that were lost unread, at most.
    """

    kind: str
    text: str
    messages: int = 0


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Where reading a partition starts, and under which life.

    Attributes:
        start: offset; None: at the first message.
        is_new_life: offsets of the state are those of another life.
        forgets: the state belongs to nothing that is known: it is deleted.
    """

    start: int | None
    life: InputLife
    is_new_life: bool = False
    forgets: bool = False
    events: tuple[InputEvent, ...] = ()


def known_input(progress: bytes) -> KnownInput | None:
    """What a progress record says; None where there is none, or it cannot be read."""
    try:
        fields = orjson.loads(progress)
        committed, before = fields.get("committed"), fields.get("before")
        return KnownInput(
            InputLife.from_fields(fields),
            int(fields["published"]),
            None if committed is None else int(committed),
            None if before is None else int(before),
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def take_over(known: KnownInput | None, commit: int | None, found: FoundInput) -> TakeOver:
    """Where to read on, given what the state says, the group's commit and the topic as it is.

    Nothing that the topic holds and machines have not had is left out; docs/stream.md has the cases.
    """
    life = InputLife() if known is None else known.life
    named = replace(
        life,
        topic_id=found.topic_id or life.topic_id,
        cluster=found.cluster or life.cluster,
        epoch=found.epoch if found.epoch >= 0 else life.epoch,
    )
    if known is None or not life.topic_id:
        taken = _of_unknown_topic(named, commit, found)
        return (
            taken
            if known is not None or commit is None
            else replace(taken, events=(_state_lost(commit), *taken.events))
        )
    if found.topic_id and found.topic_id != life.topic_id:
        return _of_another_topic(named, known, commit, found)
    is_stale = commit is None or (commit == life.stale_commit and known.committed is not None)
    start = known.committed if is_stale else commit
    if start is None:  # a first run that ended before its first commit
        return TakeOver(None, named)
    events = _of_a_commit_set_by_hand(known, None if is_stale else commit)
    if commit is None and known.before is not None:  # else a worker was killed before its first commit
        events = (
            InputEvent(
                "commit-lost", f"the group has no offset any more; reading goes on at {start}, as the state says"
            ),
        )
    handled = max(start, known.published)
    if found.end is not None and found.end < handled:
        return _gone_back(named, commit, found, handled, "the same topic ends before it: messages of it are gone")
    if 0 <= found.epoch < life.epoch:
        why = f"its leader epoch fell from {life.epoch} to {found.epoch}: it was restored from an older copy"
        return _gone_back(named, commit, found, handled, why)
    return _behind_expired(TakeOver(start, named, events=events), found)


def _state_lost(commit: int) -> InputEvent:
    text = (
        f"the group has handled it up to {commit}, but the topic `state` holds nothing of it (deleted, emptied, or the offset was set "
        "before any worker ran): its machines begin with empty windows, alerts that were open stay open for their readers"
    )
    return InputEvent("state-lost", text)


def _of_a_commit_set_by_hand(known: KnownInput, commit: int | None) -> tuple[InputEvent, ...]:
    """A worker commits what its record says, or was killed before it did: then the commit is the one before."""
    if commit is None or known.committed is None or commit in (known.committed, known.before):
        return ()
    if commit < known.committed:
        text = (
            f"the group's offset was set back to {commit}: input up to {known.committed} is read again and changes nothing, as "
            "the state holds it; 'wheeltapper worker --from' handles it again"
        )
        return (InputEvent("set-back", text),)
    return (InputEvent("set-forward", f"the group's offset was set forward from {known.committed} to {commit}"),)


def next_life(life: InputLife, stale_commit: int | None, repeats_until: int = 0) -> InputLife:
    """The life that begins where offsets of `life` mean nothing any more."""
    return replace(
        life, number=min(life.number + 1, MOST_LIVES), stale_commit=stale_commit, repeats_until=repeats_until
    )


def _of_unknown_topic(life: InputLife, commit: int | None, found: FoundInput) -> TakeOver:
    """The state does not say which topic it belongs to: of an older version, or none."""
    if commit is None:
        # Snapshots without a commit belong to a topic that was deleted and made anew, or to a first run that ended before its
        # first commit. They must not come back once there is a commit.
        return TakeOver(None, life, forgets=True)
    if found.end is not None and found.end < commit:
        text = f"the group's offset {commit} lies behind its end {found.end}: it is read from its first message"
        event = InputEvent("went-back", text)
        return TakeOver(found.first, next_life(life, commit), is_new_life=True, events=(event,))
    return _behind_expired(TakeOver(commit, life), found)


def _of_another_topic(named: InputLife, known: KnownInput, commit: int | None, found: FoundInput) -> TakeOver:
    before = known.life
    if not found.cluster or not before.cluster or found.cluster == before.cluster:
        text = (
            f"it was deleted and made anew (id {found.topic_id}, before {before.topic_id}): it is read from its first message; "
            "machines keep their thresholds, a machine whose rows begin earlier than its last ones starts its window anew"
        )
        event = InputEvent("made-anew", text)
        return TakeOver(found.first, next_life(named, commit), is_new_life=True, events=(event,))
    first, end = found.first or 0, found.end
    start = commit if commit is not None and commit >= first and (end is None or commit <= end) else found.first
    text = (
        f"it lies on another cluster (id {found.cluster}, before {before.cluster}): it is read from "
        f"{'the group`s offset there' if start == commit else 'its first message'}, {start}; rows that machines have had are "
        "known by their times"
    )
    life = next_life(named, commit if start != commit else None, end or 0)
    return TakeOver(start, life, is_new_life=True, events=(InputEvent("other-cluster", text),))


def _gone_back(life: InputLife, commit: int | None, found: FoundInput, handled: int, why: str) -> TakeOver:
    text = (
        f"offsets went back: messages up to {handled} were handled, and {why} (end {found.end}); it is read again from its "
        "first message, rows that machines have had are known by their times"
    )
    following = next_life(life, commit, found.end or 0)
    return TakeOver(found.first, following, is_new_life=True, events=(InputEvent("went-back", text),))


def _behind_expired(taken: TakeOver, found: FoundInput) -> TakeOver:
    if taken.start is None or found.first is None or taken.start >= found.first:
        return taken
    lost = found.first - taken.start
    text = f"up to {lost} messages expired or were deleted unread: offsets {taken.start} to {found.first}"
    return replace(taken, start=found.first, events=(*taken.events, InputEvent("expired", text, lost)))


def packed(life: int, offset: int) -> int:
    """Life and input offset as the one number of a snapshot; without breaks of the input it is the offset."""
    return offset if life == 0 else (life << OFFSET_BITS) | max(offset, 0)


def unpacked(number: int) -> tuple[int, int]:
    """(life, offset) of `packed`."""
    return (0, number) if number < 0 else (number >> OFFSET_BITS, number & _OFFSET_MASK)
