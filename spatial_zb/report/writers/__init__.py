"""Writers of one table, a module for each format, all of one shape: ``render(table, style)``.

A writer gets resolved words and numbers from :mod:`spatial_zb.report.tables`, escapes all of them for its
format and decides nothing else. It returns the text or the bytes of the file, the same for the same table.
"""
