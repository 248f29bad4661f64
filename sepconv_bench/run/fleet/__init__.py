"""A grid over many hosts: its cells go to Dask workers, one at a time to each host, and come back as they are done.

A Dask worker only carries a cell to and fro. The kernels run in a process of their own beside it, with the environment, the
limits and the second chances of a run on one machine.
"""
