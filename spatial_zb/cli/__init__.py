"""The command line: words of the commands, their options, what a terminal is told.

No computing: everything is asked of :mod:`spatial_zb.pipeline`.
"""
