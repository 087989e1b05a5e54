"""Drawing code maps from an RQ-Transformer, and images from those."""

from rq_jax.sampling.options import Sampling
from rq_jax.sampling.sampler import Sampler
from rq_jax.sampling.sampler import build_prior
from rq_jax.sampling.sampler import check_pair

__all__ = ['Sampler', 'Sampling', 'build_prior', 'check_pair']
