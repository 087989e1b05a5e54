"""Drawing code maps from an RQ-Transformer, and images from those."""

from rq_jax.sampling.building import abstract_variables
from rq_jax.sampling.building import build_prior
from rq_jax.sampling.building import check_pair
from rq_jax.sampling.likelihood import LogProb
from rq_jax.sampling.options import Sampling
from rq_jax.sampling.sampler import Sampler
from rq_jax.sampling.selection import Selection

__all__ = [
    'LogProb',
    'Sampler',
    'Sampling',
    'Selection',
    'abstract_variables',
    'build_prior',
    'check_pair',
]
