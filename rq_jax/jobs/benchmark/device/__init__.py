"""One check of everything that only a device can show.

job         the parts in their order
report      writes each result as soon as it is known
cases       experiments and sizes
sampling    times of the sampler
kernels     each Pallas kernel against its plain form
agreement   whether a kernel computes its plain form
greedy      codes on the device against those on the CPU
"""
