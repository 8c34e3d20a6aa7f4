"""Single-equation models: the specification, its arrays, the estimators and the fit that they give.

Effects, tests and intervals are functions of a fit and live above; likelihoods are formulas of :mod:`spatial_zb.core`.
"""
