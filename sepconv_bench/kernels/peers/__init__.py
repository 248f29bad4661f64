"""Other people's convolutions behind one small adapter each: numpy (BLAS), torch (oneDNN, MKL), onnxruntime (MLAS)."""
