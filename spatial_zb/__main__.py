"""``python -m spatial_zb``: the command line without its script."""

import os
import sys

from spatial_zb.cli import main

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads only cost
sys.exit(main())
