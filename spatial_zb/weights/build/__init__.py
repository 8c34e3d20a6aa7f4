"""Builders of weights: from borders, distances and numbers of the units, and what becomes of islands.

Every builder has the same shape; reading and writing files is next door.
"""
