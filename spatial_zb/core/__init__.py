"""Arrays in, frozen results out: the mathematics of the package, without labels, files or plots."""
