"""Compares what the input topics are with what the pipeline has read of them, between two batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog
from confluent_kafka import KafkaException

from wheeltapper.schemas.topics import STATE
from wheeltapper.stream.core.counters import count
from wheeltapper.stream.input_life import FoundInput, InputEvent
from wheeltapper.stream.input_watch import InputLook, InputWatch
from wheeltapper.stream.partition import PartitionKey, PartitionState
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import PartitionBatch

log = structlog.get_logger(__name__)


class InputGuard:
    """All but `positions` and `problem` is the runner's thread."""

    def __init__(
        self,
        pipeline: Pipeline,
        watch: InputWatch | None,
        grow_state: Callable[[int], None],
        save_again: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            grow_state: gives the state topic so many partitions; raises InputError where it cannot.
            save_again: sees to it that all state is written again, as the topic lost what it held.
        """
        self._pipeline = pipeline
        self._watch = watch
        self._grow_state = grow_state
        self._save_again = save_again
        self.gone: frozenset[str] = frozenset()
        """Topics that did not exist at the last commit: no offset of them can be committed."""
        self._begun = 0.0
        self._gaps: dict[PartitionKey, tuple[int, int]] = {}
        self._behind: dict[PartitionKey, int] = {}
        """Partition -> where the worker stood before its first message, at the last look."""
        self._fallen: set[PartitionKey] = set()
        """Partitions whose leader epoch was lower at the last look than before."""
        self._counts: dict[str, int] = {}
        self._missing: tuple[str, ...] = ()
        if watch is not None:
            watch.follow(pipeline.topics, self.positions)

    def positions(self) -> dict[PartitionKey, int]:
        """Where the worker stands; may be asked from any thread."""
        return {key: state.position for key, state in list(self._pipeline.partitions.items())}

    def problem(self) -> str | None:
        """Why the input cannot be read; None where it can. May be asked from any thread."""
        missing = self._missing
        return f"topic {missing[0]} does not exist" if missing else None

    def assigned(self, now: float) -> None:
        """Partitions were taken over at monotonic time `now` (s): what was seen before says nothing of them."""
        self._begun = now
        self._gaps.clear()
        self._behind.clear()
        self._fallen.clear()

    def topic_made_anew(self) -> str | None:
        """A topic that is another one than the rows handled last should have come from; None where none is known to be.

        Asked before a commit: a client may go on in a new topic where it was in the old one, without a word. Fills `gone`.
        """
        self.gone = frozenset()
        if self._watch is None:
            return None
        known = {key[0]: state.life.topic_id for key, state in self._pipeline.partitions.items() if state.life.topic_id}
        for topic, before in known.items():
            try:
                now = self._watch.asker.id_of(topic)
            except (KafkaException, TimeoutError):
                return None  # the commit itself will meet what is wrong
            if now is None:
                self.gone |= {topic}
            elif now and now != before:
                return topic
        return None

    def note(self, batches: Iterable[PartitionBatch]) -> None:
        """Note offsets that are passed over, before the batches are handled: those messages may have expired unread."""
        for batch in batches:
            state = self._pipeline.partitions.get((batch.topic, batch.partition))
            if state is not None and batch.offsets and batch.offsets[0] > state.position:
                self._gaps.setdefault(state.key, (state.position, batch.offsets[0]))

    def must_take_over(self) -> bool:
        """Whether a partition's offsets no longer are what they were: what the state holds of it has to be read anew.

        Raises:
            InputError: the input has more partitions than `state`, and `state` cannot be given more.
        """
        self._see_outputs()
        look = None if self._watch is None else self._watch.take()
        if look is None or look.begun < self._begun:
            return False
        self._see_topics(look)
        changed = False
        for key, state in self._pipeline.partitions.items():
            found = look.found.get(key)
            if found is not None:
                changed = self._has_changed(state, found, look.positions.get(key, 0)) or changed
        if not changed:
            self.tell([event for key in look.found for event in self._expired(key, look.found[key])])
        self._gaps.clear()
        return changed

    def _see_outputs(self) -> None:
        for name in sorted(self._watch.take_remade() if self._watch is not None else ()):
            count(self._pipeline.counters.remade_topics, name)
            log.warning(
                "a topic that this worker writes was deleted and made anew: what it held is gone; 'wheeltapper topics list' says "
                "whether it has the settings that it should have",
                topic=name,
                **({"done": "the state of all machines is written again"} if name == STATE else {}),
            )
            if name == STATE:
                self._save_again()

    def _see_topics(self, look: InputLook) -> None:
        missing = tuple(topic for topic, number in look.counts.items() if number is None)
        if missing and missing != self._missing:
            log.warning(
                "an input topic does not exist any more: it is waited for; create it, or end the worker", topics=missing
            )
        self._missing = missing
        self.see_counts(look.counts)

    def see_counts(self, counts: Mapping[str, int | None]) -> None:
        """Note how many partitions each topic has; those that were added are told, and `state` is given as many.

        Raises:
            InputError: `state` cannot be given them.
        """
        for topic, number in counts.items():
            known = self._counts.get(topic)
            if number is not None and known is not None and number > known:
                self._grow_state(number)
                text = (
                    f"{number - known} partitions were added: machines whose key falls in another partition now start there with "
                    "an empty window"
                )
                self.tell([((topic, number - 1), InputEvent("partitions-added", text))])
            if number is not None:
                self._counts[topic] = number

    def _has_changed(self, state: PartitionState, found: FoundInput, stood_at: int) -> bool:
        life = state.life
        if found.topic_id and life.topic_id and found.topic_id != life.topic_id:
            return True
        if found.end is not None and found.end < stood_at:
            return True
        if 0 <= found.epoch < life.epoch:
            # Believed at the second look: a broker that has just become the leader may not know all yet.
            again = state.key in self._fallen
            self._fallen.add(state.key)
            return again
        self._fallen.discard(state.key)
        if found.epoch > life.epoch:
            state.life = replace(life, epoch=found.epoch)
        return False

    def _expired(self, key: PartitionKey, found: FoundInput) -> list[tuple[PartitionKey, InputEvent]]:
        """Messages that are gone before this worker had them: passed over already, or still before it."""
        state = self._pipeline.partitions.get(key)
        if state is None or found.first is None:
            return []
        if key in self._gaps:
            start, stop = self._gaps[key][0], min(self._gaps[key][1], found.first)
        elif state.position < found.first and self._behind.get(key) == state.position:
            # Twice at the same place: the client holds no message from before either.
            start, stop = state.position, found.first
            state.position = stop
        else:
            if state.position < found.first:
                self._behind[key] = state.position
            return []
        self._behind.pop(key, None)
        lost = stop - start
        if lost <= 0:
            return []
        text = f"up to {lost} messages expired or were deleted unread: offsets {start} to {stop}"
        return [(key, InputEvent("expired", text, lost))]

    def tell(self, events: Sequence[tuple[PartitionKey, InputEvent]]) -> None:
        """One line for each kind of event, and counts."""
        counters = self._pipeline.counters
        together: dict[tuple[str, str], list[tuple[int, InputEvent]]] = {}
        for (topic, number), event in events:
            if self._watch is not None:
                if event.kind == "expired" and self._watch.expired.get((topic, number)) == event.text:
                    continue  # a session that ended before its first commit has told it
                self._watch.expired[topic, number] = event.text if event.kind == "expired" else ""
            together.setdefault((topic, event.kind), []).append((number, event))
            count(counters.input_events, event.kind)
            counters.expired_messages += event.messages
        for (topic, kind), told in together.items():
            messages = sum(event.messages for _, event in told)
            more: Mapping[str, int] = {"messages": messages} if messages else {}
            text = told[0][1].text
            if len(told) > 1 and messages:
                text = f"up to {messages} messages of {len(told)} partitions expired or were deleted unread"
            log.warning(
                f"the input has changed: {text}",
                event_kind=kind,
                topic=topic,
                partitions=sorted(number for number, _ in told),
                **more,
            )
