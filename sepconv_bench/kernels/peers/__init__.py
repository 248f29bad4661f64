"""Other people's convolutions behind one small adapter each: numpy (BLAS)."""
