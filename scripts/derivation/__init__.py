"""How the layers, the table and the font that are delivered were made from their sources."""
