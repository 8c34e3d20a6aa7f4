"""Agglomeration indices as formulas on arrays.

Tables with labels live in :mod:`spatial_zb.indices`.
"""
