"""Optimizers, schedules of learning rates, and averages of parameters."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rq_jax.config import sections
from rq_jax.typing import PyTree


def make_schedule(
    config: sections.Optimizer, total_steps: int
) -> optax.Schedule:
  """Learning rate by step, float32[]: a linear warm-up from 0, then a cosine.

  Step i of the warm-up uses the rate peak_lr * i / warmup_steps, so the first
  step of a run with a warm-up changes nothing, as in the official code. After
  the last planned step the rate stays at its minimum; the official cosine rises
  again.

  Args:
    config: `peak_lr`, `min_lr`, `warmup_steps`, and `schedule`: 'cosine', or
      'constant' to stay at `peak_lr` after the warm-up.
    total_steps: Number of planned steps, including the warm-up.

  Raises:
    ValueError: If the schedule is unknown.
  """
  if config.schedule == 'cosine':
    decay = optax.cosine_decay_schedule(
        config.peak_lr,
        # A run that ends in its warm-up never reaches the cosine.
        max(1, total_steps - config.warmup_steps),
        alpha=config.min_lr / config.peak_lr,
    )
  elif config.schedule == 'constant':
    decay = optax.constant_schedule(config.peak_lr)
  else:
    raise ValueError(
        f"config.optimizer.schedule={config.schedule!r} must be 'cosine' or"
        " 'constant'. Change --config.optimizer.schedule."
    )
  if config.warmup_steps:
    warmup = optax.linear_schedule(0.0, config.peak_lr, config.warmup_steps)
    decay = optax.join_schedules([warmup, decay], [config.warmup_steps])
  return _in_32_bits(lambda step: jnp.asarray(decay(step), jnp.float32))


def make_optimizer(
    config: sections.Optimizer, total_steps: int
) -> optax.GradientTransformation:
  """Adam or AdamW under the schedule of `make_schedule`, as in PyTorch.

  Weight decay applies only to kernels (see `decays`). This is our choice: which
  parameters the authors' stage 2 decays is not published.

  Args:
    config: `name`: 'adam', where weight decay is an L2 term in the gradient, or
      'adamw', where it is separate; `betas`, `eps`, `weight_decay`;
      `clip_norm`, the maximum norm of all gradients together, 0 for no limit;
      and the fields that `make_schedule` reads.
    total_steps: Number of planned steps of the run.

  Raises:
    ValueError: If the optimizer or the schedule is unknown.
  """
  schedule = make_schedule(config, total_steps)
  b1, b2 = config.betas
  if config.name == 'adam':
    adam = optax.adam(schedule, b1=b1, b2=b2, eps=config.eps)
    if config.weight_decay:
      l2 = optax.add_decayed_weights(config.weight_decay, mask=decays)
      adam = optax.chain(l2, adam)
  elif config.name == 'adamw':
    adam = optax.adamw(
        schedule,
        b1=b1,
        b2=b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mask=decays,
    )
  else:
    raise ValueError(
        f"config.optimizer.name={config.name!r} must be 'adam' or 'adamw'."
        ' Change --config.optimizer.name.'
    )
  if config.clip_norm:
    adam = optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)
  return optax.GradientTransformationExtraArgs(
      _in_32_bits(adam.init), _in_32_bits(adam.update)
  )


def decays(params: PyTree) -> PyTree:
  """Selects the parameters that decay: those with 'kernel' in their own name.

  Biases, scales of normalizations, embeddings and positions do not decay. They
  cannot be recognised by their shapes, because `nn.scan` adds an axis to each.

  Args:
    params: Nested dicts of parameters, boxed with their logical axes or not.

  Returns:
    The same tree with a bool for every parameter.
  """

  def is_kernel(path, _):
    # A box adds an attribute to the path, which is not a parameter's name.
    names = [k.key for k in path if isinstance(k, jax.tree_util.DictKey)]
    return 'kernel' in names[-1]

  return jax.tree_util.tree_map_with_path(is_kernel, params)


def update_ema(
    ema: PyTree, params: PyTree, *, decay: float, step: jax.Array | int
) -> PyTree:
  """Moves averaged parameters towards the current ones.

  The official rule: early in a run the decay is only (1 + step) / (10 + step),
  so that the initial values lose their weight quickly.

  Args:
    ema: The averages so far.
    params: The parameters after this step; a tree of the same structure.
    decay: Decay of the averages, once enough steps have been taken.
    step: Number of updates made before this one.

  Returns:
    The new averages.
  """
  step = jnp.asarray(step, jnp.float32)
  kept = jnp.minimum(decay, (1 + step) / (10 + step))
  return jax.tree.map(lambda e, p: p + kept * (e - p), ema, params)


def _in_32_bits(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Calls a function of optax as if JAX_ENABLE_X64 were not set.

  That flag changes the dtype that optax gives to powers and quotients of the
  step. Without this wrapper, Adam and the schedules would compute other numbers
  when the flag is set.
  """

  @functools.wraps(fn)
  def call(*args, **kwargs):
    with jax.enable_x64(False):
      return fn(*args, **kwargs)

  return call
