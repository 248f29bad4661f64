"""MobileNet-V1 end to end: on our kernels, beside other libraries, and from a photograph."""
