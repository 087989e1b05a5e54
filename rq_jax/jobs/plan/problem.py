"""What a training step is given, from shapes alone: nothing needs to exist."""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.checkpoints import stored
from rq_jax.config import Config
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqvae
from rq_jax.training import stage1
from rq_jax.training import stage2
from rq_jax.training.stage1 import perceptual
from rq_jax.typing import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """A task and what it is trained on.

  Attributes:
    task: What stays fixed over a run; arrays are shapes.
    batch: Shapes of a batch.
    forward: (task, state) -> the model's output for one example.
    notes: What is not there, and so cannot be counted.
  """

  task: Any
  batch: Batch
  forward: Callable[..., jax.Array]
  notes: tuple[str, ...]


def problem(config: Config, mesh: jax.sharding.AbstractMesh) -> Problem:
  """What the training step of a checked experiment is given on a mesh."""
  return (_stage1 if config.stage == 1 else _stage2)(config, mesh)


def _stage1(config: Config, mesh) -> Problem:
  task = stage1.build(
      config,
      mesh,
      total_steps=config.train.steps or 1,
      perceptual=perceptual.abstract(dtype=config.model.dtype),
  )
  shape = (config.data.image_size, config.data.image_size, 3)

  def forward(task, state):
    return task.model.apply(
        {'params': state.params, 'codebook': state.codebook},
        jnp.zeros((1, *shape), jnp.float32),
    ).images

  batch = {'image': _floats(config.data.batch_size, *shape)}
  return Problem(
      task=task, batch=batch, forward=forward, notes=('activations',)
  )


def _stage2(config: Config, mesh) -> Problem:
  model, known = _tokenizer(config)
  variables = partitioning.unbox(build.rqvae_variables(model))
  if not known:  # What stands in for the networks is not worth counting.
    variables = {'params': {}, 'codebook': variables['codebook']}
  task = stage2.build(
      config,
      mesh,
      total_steps=config.train.steps or 1,
      tokenizer=tokenizer_lib.Tokenizer(model=model, variables={}),
  ).replace(tokenizer_variables=variables)
  prior = task.model

  def forward(task, state):
    return prior.apply(
        {'params': state.params},
        jnp.zeros((1, *prior.code_shape), jnp.int32),
        jnp.zeros((1, prior.condition_length), jnp.int32),
        task.codebooks,
    )

  size, notes = config.data.batch_size, ('activations',)
  batch = {'label': jax.ShapeDtypeStruct((size,), jnp.int32)}
  if prior.text_vocab_size:
    text = jax.ShapeDtypeStruct((size, prior.text_length), jnp.int32)
    batch = {'tokens': text}
  if config.data.source == 'features' or not known:
    batch['features'] = _floats(size, *model.features_shape)
  else:
    batch['image'] = _floats(size, model.image_size, model.image_size, 3)
  if not known:
    notes += ('the networks of the tokenizer, which is not there yet',)
  return Problem(task=task, batch=batch, forward=forward, notes=notes)


def _tokenizer(config: Config) -> tuple[rqvae.RQVAE, bool]:
  """The RQ-VAE of a prior, and whether it is known or only stands in.

  The stand-in has the right codes and a network of one level.
  """
  folder = config.tokenizer
  if folder and (epath.Path(folder) / 'config.json').exists():
    return build.rqvae(stored.read_model(folder, stage=1)), True
  model = config.model
  high, wide, _ = model.code_shape
  side = math.lcm(high, wide)
  return (
      rqvae.RQVAE(
          image_size=side,
          channel_multipliers=(1,),
          res_blocks=0,
          attention_resolutions=(),
          embed_dim=model.embed_dim * high * wide // side**2,
          code_shape=model.code_shape,
          codebook_size=model.codebook_size,
          shared_codebook=isinstance(model.codebook_size, int),
      ),
      False,
  )


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.float32)
