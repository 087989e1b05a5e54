"""Stage 2: trains the RQ-Transformer on the codes of a frozen RQ-VAE.

Section 3.2 of the paper. Every step draws new codes and computes soft targets,
from features that come from a cache or from the frozen encoder.
"""

from collections.abc import Mapping
from typing import Any

import flax.core
import flax.struct
import jax
import jax.numpy as jnp
import optax

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import RQTransformerExperiment
from rq_jax.distributed import partitioning
from rq_jax.models import build as build_lib
from rq_jax.models import code_layers
from rq_jax.models import losses
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae
from rq_jax.training import accumulation
from rq_jax.training import optim
from rq_jax.training import update
from rq_jax.training.stage2 import codes as codes_lib
from rq_jax.typing import Batch, Metrics, PyTree, Variables


@flax.struct.dataclass
class State:
  """Everything a training step reads and writes; checkpointed as a whole."""

  step: jax.Array  # int32[]
  failed_step: jax.Array  # int32[], the step that was not finite, or -1.
  rng: jax.Array  # Never replaced: each step folds its number in.
  params: PyTree
  opt_state: optax.OptState
  ema_params: PyTree | None


@flax.struct.dataclass
class Task:
  """Everything that stays fixed over a run.

  Attributes:
    model: The RQ-Transformer.
    tokenizer: The frozen RQ-VAE.
    tokenizer_variables: Parameters and codebook of the RQ-VAE.
    optimizer: Optimizer of the RQ-Transformer.
    schedule: Learning rate by step.
    loss: The section `loss` of the experiment.
    ema_decay: Decay of the averaged parameters; 0 to keep no averages.
    accumulate: Number of pieces that the batch is split into.
    chunks: Number of chunks of positions that the loss of a piece is computed
      in.
  """

  model: rqtransformer.RQTransformer = flax.struct.field(pytree_node=False)
  tokenizer: rqvae.RQVAE = flax.struct.field(pytree_node=False)
  tokenizer_variables: Variables
  optimizer: optax.GradientTransformation = flax.struct.field(pytree_node=False)
  schedule: optax.Schedule = flax.struct.field(pytree_node=False)
  loss: Mapping[str, Any] = flax.struct.field(pytree_node=False)
  ema_decay: float = flax.struct.field(pytree_node=False)
  accumulate: int = flax.struct.field(pytree_node=False)
  chunks: int = flax.struct.field(pytree_node=False)

  @property
  def codebooks(self) -> tuple[jax.Array, ...]:
    """Codewords that are inputs of the RQ-Transformer."""
    return self.tokenizer.apply(self.tokenizer_variables, method='codebooks')


def build(
    config: RQTransformerExperiment,
    mesh: jax.sharding.Mesh,
    *,
    total_steps: int,
    tokenizer: tokenizer_lib.Tokenizer,
) -> Task:
  """Builds everything that stays fixed over a run.

  Args:
    config: A checked stage-2 experiment.
    mesh: Mesh of the devices to train on.
    total_steps: Length of the run in steps, for the learning rate.
    tokenizer: The tokenizer whose codes to model.

  Raises:
    ValueError: If the tokenizer makes other codes than the model predicts.
  """
  build_lib.check_pair(config.model, tokenizer.model)
  model = build_lib.rqtransformer(config.model)
  return Task(
      model=model,
      tokenizer=tokenizer.model,
      # Via the host, because each process has a copy on a device of its own.
      tokenizer_variables=jax.device_put(
          jax.device_get(tokenizer.variables), partitioning.replicated(mesh)
      ),
      optimizer=optim.make_optimizer(config.optimizer, total_steps),
      schedule=optim.make_schedule(config.optimizer, total_steps),
      loss=flax.core.FrozenDict(vars(config.loss)),
      ema_decay=config.optimizer.ema_decay,
      accumulate=config.train.accumulate,
      chunks=losses.num_position_chunks(
          config.data.batch_size
          // (config.train.accumulate * partitioning.batch_parallelism(mesh)),
          model.positions,
          model.depth,
          max(model.sizes),
      ),
  )


def init_state(task: Task, rng: jax.Array) -> State:
  """Initial state; parameters are boxed with their logical axes."""
  rng_model, rng_run = jax.random.split(rng)
  model = task.model
  params = model.init(
      rng_model,
      jnp.zeros((1, *model.code_shape), jnp.int32),
      jnp.zeros((1, model.condition_length), jnp.int32),
      task.codebooks,
  )['params']
  return State(**update.initial(task, rng_run, params))


def train_step(task: Task, state: State, batch: Batch) -> tuple[State, Metrics]:
  """Takes one optimizer step.

  Args:
    task: Everything that stays fixed over the run.
    state: The state to advance.
    batch: 'features', float32[B, H, W, C], the encoder's outputs before
      quantization, or 'image', float32[B, Y, X, 3] in [-1, 1]; and 'label',
      int32[B], or 'tokens', int32[B, text_length], if the model takes them.

  Returns:
    The next state, and scalar metrics of this step.
  """
  rng_codes, rng_dropout, rng_drop = jax.random.split(
      jax.random.fold_in(state.rng, state.step), 3
  )
  # Drawn for the whole batch, so they do not depend on the pieces.
  condition = _drop_labels(task, condition_of(task, batch), rng_drop)
  examples = (
      batch,
      condition,
      codes_lib.uniforms(task, len(condition), rng_codes),
  )

  def of_piece(examples, rng):
    return *_gradients(task, state.params, examples, rng), ()

  if task.accumulate == 1:
    grads, metrics, _ = of_piece(examples, rng_dropout)
  else:
    pieces = accumulation.split(examples, task.accumulate)
    grads, metrics, _ = accumulation.mean_gradients(
        of_piece, state.params, pieces, rng_dropout
    )
  return update.finish(task, state, grads, metrics)


def _gradients(
    task: Task, params: PyTree, examples: tuple, rng: jax.Array
) -> tuple[PyTree, Metrics]:
  """Gradients of the loss of a batch, and its metrics."""
  batch, condition, uniforms = examples
  codes, residuals = codes_lib.of_batch(task, batch, uniforms)

  def loss_fn(params):
    by_code, condition_loss = losses_by_code(
        task, params, codes, residuals, condition, rng
    )
    by_depth = jnp.mean(by_code['loss'], axis=(0, 1))
    loss = jnp.mean(by_depth)
    weight = task.loss['condition_weight']
    if weight:
      loss = (1 - weight) * loss + weight * condition_loss
    return loss, (by_depth, condition_loss)

  (loss, (by_depth, condition_loss)), grads = jax.value_and_grad(
      loss_fn, has_aux=True
  )(params)
  metrics = {
      'loss': loss,
      **{f'loss_depth{d}': x for d, x in enumerate(by_depth, 1)},
  }
  if task.loss['condition_weight']:
    metrics['loss_condition'] = condition_loss
  return grads, metrics


def losses_by_code(
    task: Task,
    params: PyTree,
    codes: jax.Array,
    residuals: jax.Array,
    condition: jax.Array,
    rng_dropout: jax.Array | None = None,
) -> tuple[dict[str, jax.Array], jax.Array]:
  """Loss and hit of every code, each [B, T, D], and the loss of the condition.

  A code is a hit if its logit is the highest. Soft targets and logits exist
  only for a few positions at a time.
  """
  train = rng_dropout is not None
  hidden, spatial = task.model.apply(
      {'params': params},
      codes.reshape(-1, *task.model.code_shape),
      condition,
      task.codebooks,
      train=train,
      rngs={'dropout': rng_dropout} if train else None,
      method='hidden',
  )
  quantizer = task.tokenizer.make_quantizer()
  variables = {'codebook': task.tokenizer_variables['codebook']['quantizer']}
  classifier = code_layers.gathered(params['classifier'])
  params = {**params, 'classifier': classifier}

  def of_positions(hidden, codes, residuals):
    logits = task.model.apply({'params': params}, hidden, method='classify')
    if task.loss['soft_targets']:
      targets = quantizer.apply(
          variables,
          residuals,
          temperature=task.loss['temperature'],
          method='target_logits',
      )
      loss = losses.soft_target_cross_entropy(logits, jax.nn.softmax(targets))
    else:
      loss = losses.cross_entropy(logits, codes)
    best = jax.lax.argmax(logits, 3, jnp.int32)
    return {'loss': loss, 'hit': best == codes}

  by_code = losses.chunked_over_positions(
      of_positions, hidden, codes, residuals, num_chunks=task.chunks
  )
  condition_loss = jnp.zeros((), jnp.float32)
  if task.loss['condition_weight']:
    logits = task.model.apply(
        {'params': params}, spatial, method='condition_logits'
    )
    condition_loss = jnp.mean(losses.cross_entropy(logits, condition[:, 1:]))
  return by_code, condition_loss


def condition_of(task: Task, batch: Batch) -> jax.Array:
  """The condition of a batch, int32[B, condition_length]."""
  if task.model.num_classes:
    return batch['label'][:, None]
  if task.model.text_vocab_size:
    return batch['tokens']
  first = batch['features'] if 'features' in batch else batch['image']
  return jnp.zeros((len(first), 1), jnp.int32)


def _drop_labels(task: Task, condition, rng: jax.Array) -> jax.Array:
  """Replaces whole conditions with the null class, at random."""
  rate = task.loss['label_dropout']
  if not rate:
    return condition
  dropped = jax.random.bernoulli(rng, jnp.float32(rate), (len(condition), 1))
  return jnp.where(dropped, task.model.condition_size, condition)


def inference_variables(state: State) -> dict[str, Any]:
  """Variables of a sampler, with averaged parameters if there are any."""
  return {'params': update.averaged(state)}
