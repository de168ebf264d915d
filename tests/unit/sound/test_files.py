"""Sound files: what is read, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from wheeltapper.schemas.errors import InputError
from wheeltapper.sound.files import describe, find_files

RATE = 8_000


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def tone(count: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(np.arange(count) / 5)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_integers_come_back_to_the_bit_in_blocks_of_any_length(tmp_path: Path, suffix: str) -> None:
    # given 16-bit samples, the extremes among them
    codes = np.array([-32768, 32767, 0, 1, -1, *range(-500, 500)], dtype=np.int16)
    path = write(tmp_path / f"a.{suffix}", codes, subtype="PCM_16")
    # when they are read in blocks of 7
    blocks = list(describe(path).blocks(7))
    # then they are the codes over 32768, all blocks but the last are full, and there is one column
    found = np.concatenate(blocks)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0] * 32768, codes)
    assert {len(block) for block in blocks[:-1]} == {7}


def test_files_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("clip_10.wav", "clip_2.wav", "deep/clip_1.flac", "notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not a sound")
        else:
            write(tmp_path / name, tone())
    assert [file.path.name for file in find_files(tmp_path)] == ["clip_2.wav", "clip_10.wav", "clip_1.flac"]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"empty\.wav: has no samples"):
        find_files(write(tmp_path / "empty.wav", np.empty(0, dtype=np.float32)))


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fake.wav"
    path.write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(InputError, match=r"fake\.wav: cannot be read as a sound file .* expected one of \.wav"):
        find_files(path)


def test_a_folder_without_sound_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no sound file"):
        find_files(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        find_files(tmp_path / "none")


def test_files_of_two_rates_are_not_one_microphone(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone())
    write(tmp_path / "b.wav", tone(), rate=16_000)
    with pytest.raises(InputError, match=r"1 of 2 files differ from a\.wav \(8000 Hz, 1 channels\): b\.wav \(16000 Hz"):
        find_files(tmp_path)


def test_samples_that_are_no_numbers_are_refused_where_they_stand(tmp_path: Path) -> None:
    samples = tone(3 * RATE)
    samples[2 * RATE + 5] = np.nan
    file = describe(write(tmp_path / "nan.wav", samples, subtype="FLOAT"))
    with pytest.raises(InputError, match=r"nan\.wav: samples from second 2\.0 on are not finite"):
        list(file.blocks(RATE))


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_a_file_that_was_cut_short_is_said_to_be(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    path = write(tmp_path / f"cut.{suffix}", rng.normal(0, 0.1, 4 * RATE).astype(np.float32), subtype="PCM_16")
    file = describe(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\..*(cut short|cannot be read after)"):
        list(file.blocks(RATE))
