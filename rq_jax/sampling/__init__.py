"""Drawing code maps from an RQ-Transformer, and images from those."""

from rq_jax.sampling.likelihood import LogProb
from rq_jax.sampling.options import Sampling
from rq_jax.sampling.sampler import Sampler
from rq_jax.sampling.selection import Selection

__all__ = [
    'LogProb',
    'Sampler',
    'Sampling',
    'Selection',
]
