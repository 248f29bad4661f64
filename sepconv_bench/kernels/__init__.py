"""How it is done: the kernels of the four operators, by name."""
