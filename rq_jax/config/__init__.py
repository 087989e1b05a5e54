"""Experiments: what a configuration file sets, checked and described once."""

from rq_jax.config.experiment import Config
from rq_jax.config.experiment import check
from rq_jax.config.experiment import check_resumable
from rq_jax.config.experiment import defaults
from rq_jax.config.experiment import flatten
from rq_jax.config.experiment import load
from rq_jax.config.experiment import template
from rq_jax.config.experiment import to_dict
from rq_jax.config.experiment import to_json
from rq_jax.config.experiment import total_steps
from rq_jax.config.rules import check_seed

__all__ = [
    'Config',
    'check',
    'check_resumable',
    'check_seed',
    'defaults',
    'flatten',
    'load',
    'template',
    'to_dict',
    'to_json',
    'total_steps',
]
