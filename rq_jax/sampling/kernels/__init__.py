"""Pallas kernels of the decode loop, for NVIDIA GPUs.

Each module holds one kernel and its plain form, a function of the same
arguments. `steps` joins them to the decode loop.
"""
