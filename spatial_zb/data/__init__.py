"""Tables in: polygons, the panel, derived variables, agglomeration indices, blank cells."""
