"""SMD, the Server Machine Dataset of OmniAnomaly: servers with 38 metrics, one row a minute, no timestamps.

Two layouts are read. The original, one folder a part:

    train/machine-1-1.txt   test/machine-1-1.txt   test_label/machine-1-1.txt   interpretation_label/machine-1-1.txt

(values: 38 comma-separated numbers a row; labels: one 0 or 1 a row; also when it lies in a folder
`ServerMachineDataset`), and a compact one, one file a machine:

    machine-1-1.npz {train [T, 38], test [T, 38], test_label [T]}   machine-1-1.interpretation.txt

A line `15849-16368:1,9,10` of an interpretation file names the channels, counted from 1, of the anomalous rows
15849 up to but not including 16368.

Values are as published: every channel min-max scaled over train and test together. What is fitted must rescale on
the train part first.
"""

from __future__ import annotations

from wheeltapper.training.datasets.clock import MADE_UP_INTERVAL_S
from wheeltapper.training.datasets.machine_folders import MachineFolders

# Not in the source itself; these are the names in common use, in column order.
CHANNELS = (
    "cpu_r", "load_1", "load_5", "load_15", "mem_shmem", "mem_u", "mem_u_e", "total_mem",
    "disk_q", "disk_r", "disk_rb", "disk_svc", "disk_u", "disk_w", "disk_wa", "disk_wb",
    "si", "so", "eth1_fi", "eth1_fo", "eth1_pi", "eth1_po", "tcp_tw", "tcp_use",
    "active_opens", "curr_estab", "in_errs", "in_segs", "listen_overflows", "out_rsts", "out_segs", "passive_opens",
    "retransegs", "tcp_timeouts", "udp_in_dg", "udp_out_dg", "udp_rcv_buf_errs", "udp_snd_buf_errs",
)  # fmt: skip
ORIGINAL_FOLDER = "ServerMachineDataset"

_LAYOUT = MachineFolders(
    dataset="smd",
    title="SMD",
    prefix="machine-",
    example="machine-1-1",
    channels=CHANNELS,
    interval_s=MADE_UP_INTERVAL_S,
    # True for 264 of the 268 lines of the machines in the source; the labels decide about the others.
    end_is_inside=False,
    nested=(ORIGINAL_FOLDER,),
    hinted=("smd", "SMD"),
)
entities = _LAYOUT.entities
load = _LAYOUT.load
