"""Loaders of sound: names, folders, splits in the order of time, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series, load_sound
from wheeltapper.training.datasets.sound.dcase import parse_name
from wheeltapper.training.datasets.sound.series import SoundSeries

RATE = 8_000


def write_clip(path: Path, *, level: float = 0.25, seconds: float = 0.5, rate: int = RATE, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.full((round(seconds * rate), channels), level) * (1 + np.arange(channels))
    soundfile.write(str(path), samples, rate, subtype="PCM_16")


def names(series: SoundSeries) -> tuple[list[str], list[str]]:
    return [clip.name for clip in series.train], [clip.name for clip in series.test]


def test_both_naming_schemes_of_dcase_are_read() -> None:
    newer = parse_name("section_00_source_train_normal_0001_vel_31_loc_A")
    assert newer is not None
    assert (newer.unit, newer.domain, newer.part, newer.anomalous, newer.number) == (
        "section_00",
        "source",
        "train",
        False,
        1,
    )
    assert dict(newer.attributes) == {"vel": 31.0, "loc": "A"}
    bare = parse_name("section_01_target_test_anomaly_0042")
    assert bare is not None
    assert (bare.unit, bare.domain, bare.anomalous, bare.attributes) == ("section_01", "target", True, ())
    hidden = parse_name("section_02_0007")
    assert hidden is not None
    assert (hidden.unit, hidden.anomalous, hidden.number) == ("section_02", None, 7)
    plain = parse_name("section_00_source_train_normal_0000_noAttribute")
    assert plain is not None
    assert plain.attributes == ()
    older = parse_name("anomaly_id_04_00000315")
    assert older is not None
    assert (older.unit, older.anomalous, older.number) == ("id_04", True, 315)
    assert parse_name("fan_0001") is None


def test_dcase_as_published_with_attributes(tmp_path: Path) -> None:
    # given a machine of two sections, with a table of attributes that names files by their path
    fan = tmp_path / "fan"
    for section in ("00", "01"):
        for number in (2, 0, 1):
            write_clip(fan / "train" / f"section_{section}_source_train_normal_{number:04}.wav")
        write_clip(fan / "train" / f"section_{section}_target_train_normal_0000.wav")
        write_clip(fan / "test" / f"section_{section}_source_test_normal_0000.wav")
        write_clip(fan / "test" / f"section_{section}_target_test_anomaly_0000.wav")
    (fan / "attributes_00.csv").write_text(
        "file_name,d1p,d1v,d2p,d2v\n"
        "fan/train/section_00_source_train_normal_0001.wav,m-n,W,vel,31\n"
        "section_00_target_train_normal_0000.wav,m-n,X\n"
    )
    # when a section is read: then source comes before target, each by number, and attributes are texts or numbers
    assert list_entities("dcase", tmp_path) == ("fan/section_00", "fan/section_01", "fan/all")
    series = load_sound("dcase", tmp_path, "fan/section_00")
    train, test = names(series)
    assert train == [
        *(f"section_00_source_train_normal_{number:04}.wav" for number in (0, 1, 2)),
        "section_00_target_train_normal_0000.wav",
    ]
    assert dict(series.train[1].attributes) == {"m-n": "W", "vel": 31.0}
    assert dict(series.train[3].attributes) == {"m-n": "X"}
    assert [clip.domain for clip in series.test] == ["source", "target"]
    assert [clip.anomalous for clip in series.test] == [False, True]
    assert len(test) == 2
    assert series.train[0].machine == "fan/section_00"
    # and all sections together
    assert len(load_sound("dcase", tmp_path, "fan/all").train) == 8


def test_a_part_of_dcase_without_train_folders_leaves_one_id_out(tmp_path: Path) -> None:
    for unit in ("00", "02"):
        write_clip(tmp_path / "pump" / f"normal_id_{unit}_00000000.wav")
        write_clip(tmp_path / "pump" / f"anomaly_id_{unit}_00000001.wav")
    assert list_entities("dcase", tmp_path) == ("pump/id_00", "pump/id_02", "pump/halves")
    train, test = names(load_sound("dcase", tmp_path, "pump/id_02"))
    assert train == ["normal_id_00_00000000.wav"]
    assert test == ["normal_id_02_00000000.wav", "anomaly_id_02_00000001.wav"]
    # or the first half of every normal clip is learnt, and the second half of all is judged
    halves = load_sound("dcase", tmp_path, "pump/halves")
    assert (len(halves.train), len(halves.test)) == (2, 4)
    assert {len(clip.samples) for clip in (*halves.train, *halves.test)} == {RATE // 4}


def test_mimii_is_split_in_the_order_of_time(tmp_path: Path) -> None:
    # given clips of eight channels in the published layout
    home = tmp_path / "6_dB_fan" / "fan" / "id_00"
    for number in range(5):
        write_clip(home / "normal" / f"{number:08}.wav", level=0.01, channels=8)
    write_clip(home / "abnormal" / "00000000.wav", level=0.01, channels=8)
    # when it is read: then the first three are the train part, and of the channels the first is taken
    assert list_entities("mimii", tmp_path) == ("6_dB_fan/fan_id_00", "6_dB_fan/fan_id_00/all")
    series = load_sound("mimii", tmp_path, "6_dB_fan/fan_id_00")
    train, _ = names(series)
    assert train == ["00000000.wav", "00000001.wav", "00000002.wav"]
    assert [clip.anomalous for clip in series.test] == [False, False, True]
    assert series.channels == ("sound",)
    assert series.train[0].samples.max() == pytest.approx(0.01, abs=1e-4)
    assert len(load_sound("mimii", tmp_path, "6_dB_fan/fan_id_00/all").train) == 5


def test_uav_learns_from_earlier_flights_or_from_another_mission(tmp_path: Path) -> None:
    for shape in ("f8", "square"):
        for rep in (1, 2, 10, 11):
            write_clip(tmp_path / "normal" / f"0000_cw_{shape}_{rep:02}.wav")
        write_clip(tmp_path / "broken" / f"0100_cw_{shape}_01.wav")
    write_clip(tmp_path / "Dataset" / "1_broken" / "0001" / "ccw_f8" / "3" / "ch1.wav")
    write_clip(tmp_path / "Dataset" / "normal" / "ccw_f8" / "7" / "ch1.wav")
    series = load_sound("uav", tmp_path, "uav")
    assert [(clip.group, clip.order) for clip in series.train] == [
        ("ccw_f8", 7),
        ("cw_f8", 1),
        ("cw_f8", 2),
        ("cw_square", 1),
        ("cw_square", 2),
    ]
    assert sum(bool(clip.anomalous) for clip in series.test) == 3
    across = load_sound("uav", tmp_path, "square-to-f8")
    assert {clip.domain for clip in across.train} == {"source"}
    assert {clip.domain for clip in across.test} == {"target"}
    assert dict(across.train[0].attributes) == {"direction": "cw", "shape": "square"}


def test_motor_recordings_become_clips_of_three_axes(tmp_path: Path) -> None:
    codes = np.arange(3_000 * 3).reshape(-1, 3).astype(np.int16)
    for rpm in ("0600", "1200"):
        for state in ("GoB_GS_BaLo_WA", "LIR_GS_BaLo_WA"):
            for load in ("00", "11"):
                np.savez(
                    tmp_path / f"{rpm}_{state}_{load}lb.npz", codes=codes, scale=np.full(3, 0.5), offset=np.ones(3)
                )
    same = load_sound("cbm", tmp_path, "same")
    assert (same.sample_rate, same.channels, same.units) == (20_000, ("x", "y", "z"), ("V", "V", "V"))
    assert [len(clip.samples) for clip in same.train] == [1_500] * 4
    assert same.test[0].samples[0, 0] == pytest.approx(codes[1_500, 0] * 0.5 + 1)
    unseen = load_sound("cbm", tmp_path, "speed-600")
    assert {clip.attributes["speed"] for clip in unseen.train} == {1200.0}
    assert {clip.attributes["speed"] for clip in unseen.test} == {600.0}
    loaded = load_sound("cbm", tmp_path, "other-load")
    assert {clip.attributes["load"] for clip in loaded.train} == {0.0}
    assert len(loaded.test) == 4
    (tmp_path / "1200_GoB_GS_BaLo_WA_00lb.npz").unlink()
    (tmp_path / "1200_GoB_GS_BaLo_WA_11lb.npz").unlink()
    with pytest.raises(InputError, match="no healthy recording for 'speed-600'"):
        load_sound("cbm", tmp_path, "speed-600")


def test_a_folder_of_ones_own_in_three_layouts(tmp_path: Path) -> None:
    # given a machine with train/ and test/, one with normal/ and abnormal/, and one with files alone
    for number in (1, 2, 10):
        write_clip(tmp_path / "a" / "train" / f"rec-{number}.wav", channels=2)
        write_clip(tmp_path / "b" / "normal" / f"rec-{number}.flac")
        write_clip(tmp_path / "c" / f"rec-{number}.wav")
    write_clip(tmp_path / "a" / "test" / "normal" / "x.wav", channels=2)
    write_clip(tmp_path / "a" / "test" / "abnormal" / "y.wav", channels=2)
    write_clip(tmp_path / "b" / "abnormal" / "y.flac")
    (tmp_path / "a" / "attributes.csv").write_text("file,rpm,product\nrec-2.wav,900,ale\n")
    assert list_entities("wav", tmp_path) == ("a", "b", "c")
    # when they are read
    a, b, c = (load_sound("wav", tmp_path, name) for name in "abc")
    # then each has its parts, in the order of numbers
    assert names(a) == (["rec-1.wav", "rec-2.wav", "rec-10.wav"], ["x.wav", "y.wav"])
    assert a.channels == ("channel-1", "channel-2")
    assert dict(a.train[1].attributes) == {"rpm": 900.0, "product": "ale"}
    assert names(b) == (["rec-1.flac", "rec-2.flac"], ["rec-10.flac", "y.flac"])
    assert [clip.anomalous for clip in b.test] == [False, True]
    assert names(c) == (["rec-1.wav", "rec-2.wav", "rec-10.wav"], [])
    # and a folder or a file may be given itself
    assert load_sound("wav", tmp_path / "c").entity == "c"
    assert load_sound("wav", tmp_path / "c" / "rec-1.wav").entity == "rec-1"


def test_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    home = tmp_path / "m"
    write_clip(home / "1.wav")

    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            load_sound("wav", home)
        (home / "2.wav").unlink()

    write_clip(home / "2.wav", rate=16_000)
    refused(r"2\.wav: 16000 Hz, 1\.wav has 8000; expected the same of all")
    write_clip(home / "2.wav", channels=2)
    refused(r"2\.wav: 2 channel\(s\), 1\.wav has 1")
    (home / "2.wav").write_bytes(b"RIFF no sound")
    refused(r"2\.wav: cannot be read as sound")
    write_clip(home / "2.wav", seconds=0.0)
    refused(r"2\.wav: 0 s long, expected at least 0\.1 s")
    spoilt = np.zeros(RATE, dtype=np.float32)
    spoilt[5] = np.nan
    soundfile.write(str(home / "2.wav"), spoilt, RATE, subtype="FLOAT")
    refused(r"2\.wav: 1 samples are not finite")
    whole = (home / "1.wav").read_bytes()
    (home / "1.flac").write_bytes(b"fLaC" + whole[:100])
    with pytest.raises(InputError, match=r"1\.flac: cannot be read as sound"):
        load_sound("wav", home)


def test_a_flac_that_was_cut_off_is_told(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    path = tmp_path / "m" / "1.flac"
    path.parent.mkdir()
    soundfile.write(str(path), noise, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"1\.flac: (cannot be read as sound|\d+ of 32000 samples are there)"):
        load_sound("wav", tmp_path / "m")


def test_sound_and_rows_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data set 'wav' holds sound, expected rows of sensors; choose one of smd"):
        load_series("wav", tmp_path)
    with pytest.raises(InputError, match="data set 'smd' holds rows of sensors, expected sound; choose one of mimii"):
        load_sound("smd", tmp_path)
    for dataset, message in (
        ("mimii", "holds no folder 'normal'"),
        ("dcase", "holds no clips named"),
        ("uav", "no normal flights"),
    ):
        with pytest.raises(InputError, match=message):
            load_sound(dataset, tmp_path)


@pytest.mark.data
def test_the_shared_clips_are_read(data_root: Path) -> None:
    fan = load_sound("mimii", data_root / "machine_audio", "fan_id_00")
    assert (fan.sample_rate, len(fan.train), len(fan.test)) == (16_000, 7, 21)
    assert {clip.samples.shape for clip in fan.train} == {(160_000, 1)}
    assert len(list_entities("dcase", data_root / "machine_audio" / "dcase2020")) == 29
    assert len(list_entities("cbm", data_root / "cbm_motor")) == 6
    assert list_entities("uav", data_root / "uav_propeller") == ("uav", "square-to-f8", "f8-to-square")


def test_dcase_of_2020_as_published(tmp_path: Path) -> None:
    for number in (0, 1):
        write_clip(tmp_path / "dev" / "ToyCar" / "train" / f"normal_id_01_{number:08}.wav")
        write_clip(tmp_path / "dev" / "ToyCar" / "train" / f"normal_id_02_{number:08}.wav")
    write_clip(tmp_path / "dev" / "ToyCar" / "test" / "normal_id_01_00000000.wav")
    write_clip(tmp_path / "dev" / "ToyCar" / "test" / "anomaly_id_01_00000000.wav")
    assert list_entities("dcase", tmp_path) == ("ToyCar/id_01", "ToyCar/id_02", "ToyCar/all")
    series = load_sound("dcase", tmp_path, "ToyCar/id_01")
    assert names(series)[0] == ["normal_id_01_00000000.wav", "normal_id_01_00000001.wav"]
    assert [clip.anomalous for clip in series.test] == [True, False]
    assert len(load_sound("dcase", tmp_path, "ToyCar/all").train) == 4
