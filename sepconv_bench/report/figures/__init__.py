"""The figures, a file each, which `registry` lists. Each takes tidy tables and gives a matplotlib Figure, or None where the
results have nothing for it."""
