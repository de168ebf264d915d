"""`python -m wheeltapper`."""

import sys

from wheeltapper.cli import main

sys.exit(main())
