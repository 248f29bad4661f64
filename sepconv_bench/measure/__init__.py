"""How long it takes: clocks, the paired sampler, statistics, the machine and its ceilings. Knows nothing of convolutions."""
