"""Statistics of spatial association and dispersion on arrays, with their permutation laws.

Nothing here is estimated by a model; labelled results live in :mod:`spatial_zb.explore`.
"""
