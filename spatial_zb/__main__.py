"""``python -m spatial_zb``: the command line without its script."""

import spatial_zb.cli.__main__  # noqa: F401
