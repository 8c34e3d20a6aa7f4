"""Finite-sample laws on arrays: many panels of one model, drawn and estimated at once.

Labels, words and p-values of named tests live in ``inference`` and ``hypotheses``.
"""
