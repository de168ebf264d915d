"""Catalog of the data sets: publisher, licence, kind of data, folder names, loader."""

from __future__ import annotations

from typing import TypedDict

from wheeltapper.training.datasets.catalogue_sound import SOUND
from wheeltapper.training.datasets.dataset_info import DatasetInfo

__all__ = ["CATALOGUE", "DatasetInfo"]


class _Shared(TypedDict):
    """What several data sets of one publisher have in common."""

    publisher: str
    page: str
    licence: str
    kind: str
    train: str


_TELEMANOM_FOLDERS = ("smap_msl", "SMAP_MSL", "telemanom")
_TELEMANOM: _Shared = {
    "publisher": "NASA Jet Propulsion Laboratory",
    "page": "https://github.com/khundman/telemanom",
    "licence": "Caltech/JPL, BSD style",
    "kind": "spacecraft telemetry",
    "train": "the publisher's",
}
_YAHOO: _Shared = {
    "publisher": "Yahoo Research (Webscope S5)",
    "page": "https://webscope.sandbox.yahoo.com/catalog.php?datatype=s&did=70",
    "licence": "on request, for research only",
    "kind": "cloud services",
    "train": "first half of the series",
}
_ITRUST: _Shared = {
    "publisher": "iTrust, Singapore University of Technology and Design",
    "page": "https://itrust.sutd.edu.sg/itrust-labs_datasets/",
    "licence": "on request, terms of iTrust",
    "kind": "water plant",
    "train": "the publisher's normal recording",
}

_ALL = (
    DatasetInfo(
        "smd",
        "Server Machine Dataset",
        "NetMan, Tsinghua University",
        "https://github.com/NetManAIOps/OmniAnomaly",
        "MIT",
        "servers",
        "wheeltapper.training.datasets.smd",
        "a machine, machine-1-2",
        ("smd", "SMD", "ServerMachineDataset"),
        "the publisher's",
        scaled_over_test=True,
    ),
    DatasetInfo(
        "asd",
        "Application Server Dataset",
        "InterFusion, Tsinghua University",
        "https://github.com/zhhlee/InterFusion",
        "MIT",
        "servers",
        "wheeltapper.training.datasets.asd",
        "a server, omi-1",
        ("asd", "ASD", "InterFusion"),
        "the publisher's",
        scaled_over_test=True,
    ),
    DatasetInfo(
        name="smap",
        title="SMAP satellite, telemetry and commands",
        loader="wheeltapper.training.datasets.telemanom:SMAP",
        entity="a channel, P-1",
        folders=("smap", "SMAP", *_TELEMANOM_FOLDERS),
        **_TELEMANOM,
    ),
    DatasetInfo(
        name="msl",
        title="MSL rover, telemetry and commands",
        loader="wheeltapper.training.datasets.telemanom:MSL",
        entity="a channel, T-9",
        folders=("msl", "MSL", *_TELEMANOM_FOLDERS),
        **_TELEMANOM,
    ),
    DatasetInfo(
        name="smap-telemetry",
        title="SMAP satellite, telemetry column alone",
        loader="wheeltapper.training.datasets.telemanom:SMAP_TELEMETRY",
        entity="a channel, P-1",
        folders=("smap", "SMAP", *_TELEMANOM_FOLDERS),
        variant_of="smap",
        **_TELEMANOM,
    ),
    DatasetInfo(
        name="msl-telemetry",
        title="MSL rover, telemetry column alone",
        loader="wheeltapper.training.datasets.telemanom:MSL_TELEMETRY",
        entity="a channel, T-9",
        folders=("msl", "MSL", *_TELEMANOM_FOLDERS),
        variant_of="msl",
        **_TELEMANOM,
    ),
    DatasetInfo(
        "psm",
        "Pooled Server Metrics",
        "eBay",
        "https://github.com/eBay/RANSynCoders",
        "see its repository",
        "servers",
        "wheeltapper.training.datasets.psm",
        "psm",
        ("psm", "PSM"),
        "the publisher's",
    ),
    DatasetInfo(
        name="swat",
        title="Secure Water Treatment, December 2015",
        loader="wheeltapper.training.datasets.swat",
        entity="swat",
        folders=("swat", "SWaT"),
        **_ITRUST,
    ),
    DatasetInfo(
        name="wadi",
        title="Water Distribution, 2017 and 2019",
        loader="wheeltapper.training.datasets.wadi",
        entity="a release, a1 or a2",
        folders=("wadi", "WADI"),
        **_ITRUST,
    ),
    DatasetInfo(
        "msds",
        "Multi-Source Distributed System data",
        "TU Berlin",
        "https://zenodo.org/record/3549604",
        "on request",
        "servers",
        "wheeltapper.training.datasets.msds",
        "a node of a run, concurrent/wally113 or concurrent/all",
        ("msds", "MSDS"),
        "first half of the recording",
    ),
    DatasetInfo(
        name="yahoo-a1",
        title="Yahoo S5 A1, real traffic",
        loader="wheeltapper.training.datasets.yahoo:A1",
        entity="a series, real_1",
        folders=("yahoo-a1", "A1Benchmark", "yahoo", "ydata-labeled-time-series-anomalies-v1_0"),
        **_YAHOO,
    ),
    DatasetInfo(
        name="yahoo-a2",
        title="Yahoo S5 A2, synthetic",
        loader="wheeltapper.training.datasets.yahoo:A2",
        entity="a series, synthetic_1",
        folders=("yahoo-a2", "A2Benchmark", "yahoo", "ydata-labeled-time-series-anomalies-v1_0"),
        **_YAHOO,
    ),
    DatasetInfo(
        "nab",
        "Numenta Anomaly Benchmark",
        "Numenta",
        "https://github.com/numenta/NAB",
        "MIT; earlier releases AGPL-3.0",
        "cloud services",
        "wheeltapper.training.datasets.nab",
        "a series, realKnownCause/nyc_taxi",
        ("nab", "NAB"),
        "first min(15 %, 750) rows: NAB's probation period",
    ),
    DatasetInfo(
        "skab",
        "Skoltech Anomaly Benchmark",
        "Skoltech, waico",
        "https://github.com/waico/SKAB",
        "GPL-3.0",
        "machine",
        "wheeltapper.training.datasets.skab",
        "an experiment, valve1/0",
        ("skab", "SKAB"),
        "first 400 rows",
    ),
    DatasetInfo(
        "batadal",
        "Battle of the Attack Detection Algorithms",
        "the BATADAL competition",
        "https://www.batadal.net/data.html",
        "public competition data, none stated",
        "water plant",
        "wheeltapper.training.datasets.batadal",
        "dataset04",
        ("batadal", "BATADAL"),
        "dataset03, a year of normal operation",
    ),
    DatasetInfo(
        "tep",
        "Tennessee Eastman process",
        "Braatz group (University of Illinois, now MIT)",
        "https://github.com/camaramm/tennessee-eastman-profBraatz",
        "University of Illinois, permissive",
        "process plant",
        "wheeltapper.training.datasets.tep",
        "a fault, d01 to d21, or d00 (normal)",
        ("tep", "TEP", "TE_process"),
        "the fault-free training run d00",
    ),
    DatasetInfo(
        "hai",
        "HIL-based Augmented ICS",
        "Affiliated Institute of ETRI",
        "https://github.com/icsdataset/hai",
        "CC BY-SA 4.0",
        "control system",
        "wheeltapper.training.datasets.hai",
        "a test file without its ending, test1, or 'all'",
        ("hai", "HAI"),
        "all train files",
    ),
    DatasetInfo(
        "csv",
        "your own tables",
        "you",
        "docs/datasets.md",
        "yours",
        "any",
        "wheeltapper.training.datasets.table_files",
        "a CSV or Parquet file without its ending",
        ("csv",),
        "first half, or as its description says",
    ),
    DatasetInfo(
        "simulated",
        "a pump station",
        "ships with wheeltapper",
        "docs/datasets.md",
        "this project's",
        "machine",
        "wheeltapper.training.datasets.simulated",
        "a pump, pump-1",
        (),
        "two weeks of normal operation",
    ),
)
CATALOGUE: dict[str, DatasetInfo] = {info.name: info for info in (*_ALL, *SOUND)}
