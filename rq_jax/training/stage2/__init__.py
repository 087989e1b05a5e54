"""Stage 2: trains the RQ-Transformer on the codes of a frozen RQ-VAE."""

from rq_jax.training.stage2.step import State
from rq_jax.training.stage2.step import Task
from rq_jax.training.stage2.step import build
from rq_jax.training.stage2.step import condition_of
from rq_jax.training.stage2.step import inference_variables
from rq_jax.training.stage2.step import init_state
from rq_jax.training.stage2.step import losses_by_code
from rq_jax.training.stage2.step import train_step

__all__ = [
    'State',
    'Task',
    'build',
    'condition_of',
    'inference_variables',
    'init_state',
    'losses_by_code',
    'train_step',
]
