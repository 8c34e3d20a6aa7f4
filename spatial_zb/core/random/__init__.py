"""Random unit effects on arrays: the likelihood, its maximum and information, and tests.

Fixed effects live in :mod:`spatial_zb.core.likelihood`.
"""
