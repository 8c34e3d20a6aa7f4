"""Tables: one neutral table (``table``, ``text``), what stands in it (``layouts``), its files (``writers``).

Nothing is estimated here: layouts take tidy frames.
"""
