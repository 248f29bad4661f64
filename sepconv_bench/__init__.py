"""sepconv-bench: what does depthwise separable convolution really buy on a machine, and why is it not what 1/N + 1/D_K^2 says?"""
