"""Certainty that needs no large sample: the bootstrap, median-unbiased estimates, intervals by inversion.

Tests of hypotheses live in :mod:`spatial_zb.hypotheses`, their array laws in :mod:`spatial_zb.core.laws`.
"""
