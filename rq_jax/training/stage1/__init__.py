"""Stage 1: trains the RQ-VAE, against a patch discriminator if wanted."""

from rq_jax.training.stage1.gradients import code_shares
from rq_jax.training.stage1.step import State
from rq_jax.training.stage1.step import Task
from rq_jax.training.stage1.step import build
from rq_jax.training.stage1.step import inference_variables
from rq_jax.training.stage1.step import init_state
from rq_jax.training.stage1.step import train_step

__all__ = [
    'State',
    'Task',
    'build',
    'code_shares',
    'inference_variables',
    'init_state',
    'train_step',
]
