"""Systems of spatial equations on arrays: moments, instruments, likelihood, effects, resampling.

One equation by instruments is a system of one; names of equations live in :mod:`spatial_zb.models.system`.
"""
