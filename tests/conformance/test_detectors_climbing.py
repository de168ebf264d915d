"""The ladder of adaptation for every detector, on a machine whose sensors are replaced: a child, or a reason; never half of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.trained import is_network
from tests.helpers.machines import make_series, normal_rows
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.stream.golden import check_golden
from wheeltapper.training.adaptation.ladder import LadderOptions, climb
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.steps import steps_for
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
