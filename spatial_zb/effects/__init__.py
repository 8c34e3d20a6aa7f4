"""Direct, indirect and total effects: functions of a fit, whatever its kind.

No estimation, and no words of a table: fits come from :mod:`spatial_zb.models`.
"""
