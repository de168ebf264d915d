"""Seals on the state: records of somebody without the key are not used; and records in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import REPEATABLE, TOPIC, block_of, feed, row_by_row
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.sealing import HEAD_BYTES, Sealer, SealError, sealer_of
from wheeltapper.stream.settings import Settings, StateSettings
from wheeltapper.stream.state import read_snapshot
from wheeltapper.stream.state_parts import PART_KEY, PartReader, PartWriter

OLD, NEW = b"the first key of this plant", b"the second key of this plant"
KEY = b"group/topic/press-1"


def refused(sealer: Sealer, value: bytes, key: bytes = KEY, partition: int = 0) -> str:
    with pytest.raises(SealError) as error:
        sealer.open(key, partition, value)
    return str(error.value)


def test_a_sealed_value_comes_back_and_no_other() -> None:
    # given a value that was sealed
    sealer = Sealer([OLD])
    value = sealer.seal(KEY, 0, b"what a machine remembers")
    assert value is not None
    assert len(value) == len(b"what a machine remembers") + sealer.overhead
    # when it is opened: then it is back; changed, moved or unsealed it is refused
    assert sealer.open(KEY, 0, value) == b"what a machine remembers"
    assert "changed" in refused(sealer, value[:-1] + b"?")
    assert "another record" in refused(sealer, value, key=b"group/topic/press-2")
    assert "another record" in refused(sealer, value, partition=1)
    assert "no seal" in refused(sealer, b"what a machine remembers")
    assert "another key" in refused(Sealer([NEW]), value)
    assert sealer.seal(KEY, 0, None) is None


def test_keys_are_changed_one_after_the_other() -> None:
    # given a key that takes the place of another: the new one seals, both are taken
    old, both, new = Sealer([OLD]), Sealer([NEW, OLD]), Sealer([NEW])
    before, after = old.seal(KEY, 0, b"a") or b"", both.seal(KEY, 0, b"a") or b""
    assert both.open(KEY, 0, before) == both.open(KEY, 0, after) == new.open(KEY, 0, after) == b"a"
    assert "another key" in refused(new, before)


def test_sealing_begins_and_ends_without_losing_the_state() -> None:
    # given records without a seal: they are taken where it is not required yet; without a key a seal is not looked at
    sealed = Sealer([OLD]).seal(KEY, 0, b"a") or b""
    assert Sealer([OLD], required=False).open(KEY, 0, b"a") == b"a"
    assert Sealer().open(KEY, 0, sealed) == Sealer().open(KEY, 0, b"a") == b"a"
    assert Sealer().seal(KEY, 0, b"a") == b"a"


def test_keys_come_from_a_variable_or_a_file(tmp_path: Path) -> None:
    # given the same keys in a variable and in a file
    file = tmp_path / "seal"
    file.write_text(f"{'n' * 16}\n{'o' * 16}\n")
    given_as = (
        StateSettings(seal_key=SecretStr(f"{'n' * 16},{'o' * 16}")),
        StateSettings(seal_key_file=file),
    )
    # when records are sealed: then each opens the other's, and the first key sealed
    one, other = (sealer_of(settings) for settings in given_as)
    assert other.open(KEY, 0, one.seal(KEY, 0, b"a") or b"") == b"a"
    assert Sealer([b"n" * 16]).open(KEY, 0, one.seal(KEY, 0, b"a") or b"") == b"a"
    # and keys that are missing or too short are refused, without saying them
    (tmp_path / "empty").write_text("\n")
    for settings, said in (
        (StateSettings(seal_key=SecretStr("short")), "has 5 characters, at least 16 are needed"),
        (StateSettings(seal_key_file=tmp_path / "none"), "cannot be read"),
        (StateSettings(seal_key_file=tmp_path / "empty"), "is empty"),
        (StateSettings(seal_key=SecretStr("x" * 16), seal_key_file=file), "both set"),
    ):
        with pytest.raises(InputError, match=said) as error:
            sealer_of(settings)
        assert "short" not in str(error.value)


def test_every_record_of_a_partition_is_sealed_and_fits(open_routes: OpenRoutes) -> None:
    # given a partition with a key, on a topic that takes little
    chosen = Settings(state=StateSettings(seal_key=SecretStr("k" * 32)))
    pipeline = Pipeline(open_routes(), chosen)
    pipeline.largest_state_record = 2_000
    feed(pipeline, row_by_row(block_of("press-1", np.random.default_rng(1).random((40, 3)))))
    partition = pipeline.partition(TOPIC, 0)
    whole = partition.snapshots(now=0.0, everything=True)
    records = partition.addressed([*whole, partition.control_record(), partition.progress_record()])
    # then each carries a seal, none is larger, and together they are the snapshot
    sealer, parts = sealer_of(chosen.state), PartReader()
    found = {}
    for record in records:
        assert record.key is not None
        assert record.value is not None
        assert len(record.key) + len(record.value) <= 2_000
        opened = sealer.open(record.key, 0, record.value)
        read = parts.take(record.key.removeprefix(partition.state_prefix), opened)
        if read is not None:
            found[read[0]] = read[1]
    assert read_snapshot(found[b"press-1"] or b"").machine == "press-1"
    assert (found[b"press-1"], len(found)) == (whole[0].value, 3)


# -- parts -----------------------------------------------------------------------------------------------------------------


def record(value: bytes | None, key: bytes = b"press-1") -> Output:
    return Output("state", key, value, partition=0)


def read_back(records: list[Output], reader: PartReader | None = None) -> dict[bytes, bytes | None]:
    reader, found = reader or PartReader(), {}
    for each in records:
        read = reader.take(each.key or b"", each.value)
        if read is not None:
            found[read[0]] = read[1]
    return found


@REPEATABLE
@given(sizes=st.lists(st.integers(0, 20_000), min_size=1, max_size=6), largest=st.integers(2_000, 9_000))
def test_what_goes_in_comes_out_whatever_its_size(sizes: list[int], largest: int) -> None:
    # given a machine whose snapshot grows and shrinks
    writer, log = PartWriter(), []
    values = [np.random.default_rng(size).bytes(size) for size in sizes]
    for value in values:
        written = list(writer.write(record(value), largest))
        assert all(len(each.key or b"") + len(each.value or b"") <= largest for each in written)
        log += written
    # when the topic is read, in its order, or compacted to the last record of each key: then the last one is there
    compacted = list({each.key: each for each in log}.values())
    compacted.sort(key=lambda each: max(place for place, other in enumerate(log) if other.key == each.key))
    for records in (log, compacted):
        reader = PartReader()
        assert read_back(records, reader) == {b"press-1": values[-1]}
        assert reader.left_over() == []
    # and nothing is left where the machine is forgotten
    log += writer.write(record(None), largest)
    assert {each.key for each in log} == {each.key for each in log if each.value is None} | {b"press-1"}
    assert not writer.sets


def test_a_worker_that_is_killed_between_parts_and_head_leaves_the_last_snapshot() -> None:
    # given a snapshot in parts, and a second one of which only parts went out
    writer, first, second = PartWriter(), b"1" * 5_000, b"2" * 5_000
    log = list(writer.write(record(first), 2_000))
    parts = [
        each for each in writer.write(record(second), 2_000) if (each.key or b"").startswith(PART_KEY) and each.value
    ]
    reader = PartReader()
    # when the next worker reads: then it has the first one, and knows what to delete
    assert read_back([*log, *parts[:2]], reader) == {b"press-1": first}
    assert reader.left_over() == [each.key for each in parts[:2]]
    # and goes on with sets of its own
    again = PartWriter()
    again.sets = reader.sets
    assert read_back([*log, *parts[:2], *again.write(record(second), 2_000)]) == {b"press-1": second}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda log: log[1:],
        lambda log: [*log[:-1], record(log[-1].value[:-1])],
        lambda log: [record(log[0].value[:-1] + b"?", log[0].key), *log[1:]],
        lambda log: [record(b"", log[0].key), *log[1:]],
        lambda log: [record(log[0].value, PART_KEY + b"x"), *log[1:]],
    ],
)
def test_parts_that_do_not_belong_together_are_not_used(spoil: object) -> None:
    log = list(PartWriter().write(record(b"1" * 5_000), 2_000))
    reader, found, errors = PartReader(), [], 0
    for each in spoil(log):  # type: ignore[operator]
        try:
            found.append(reader.take(each.key, each.value))
        except ValueError:
            errors += 1
    assert errors
    assert [one for one in found if one is not None] == []


def test_a_seal_is_known_by_its_length() -> None:
    # given a record that only begins like a sealed one: without a key it is what it is
    assert Sealer().open(KEY, 0, b"WTH1") == b"WTH1"
    assert HEAD_BYTES == 40
