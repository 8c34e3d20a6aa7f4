"""What a study knows of its units: polygons, tables, codes, blank cells, and the balanced :class:`Panel` at the gate.

Nothing spatial is computed here: weights and statistics live above.
"""
