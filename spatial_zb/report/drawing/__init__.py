"""What maps and figures share: style, frame and pen, sheet, places, words that do not lie on each other.

No picture of its own.
"""
