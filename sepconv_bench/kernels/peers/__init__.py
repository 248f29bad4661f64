"""Other people's convolutions, a small adapter each: numpy (BLAS), torch (oneDNN, MKL), onnxruntime (MLAS), OpenVINO."""
