"""Panels and systems with known truth, and what a planned study can show.

No estimator of its own: power studies call those of :mod:`spatial_zb.models`.
"""
