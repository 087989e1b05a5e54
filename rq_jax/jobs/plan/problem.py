"""Training steps and their arguments as shapes; no data need to exist."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.config import RQTransformerExperiment
from rq_jax.config import RQVAEConfig
from rq_jax.config import RQVAEExperiment
from rq_jax.config import sizes
from rq_jax.config import source_table
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqvae
from rq_jax.training import stage1
from rq_jax.training import stage2
from rq_jax.training import temperature
from rq_jax.training.stage1 import perceptual
from rq_jax.typing import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """A training step and its arguments, as shapes of arrays.

  Attributes:
    task: Everything that stays fixed over a run.
    state: The initial state; parameters are boxed with their logical axes.
    batch: A training batch.
    init_state: (task, rng) -> the initial state, boxed.
    train_step: (task, unboxed state, batch) -> (state, metrics).
    forward: (task, unboxed state) -> the model's output for one example.
    notes: Sentences about missing parts.
  """

  task: Any
  state: PyTree
  batch: Mapping[str, jax.ShapeDtypeStruct]
  init_state: Callable[..., PyTree]
  train_step: Callable[..., Any]
  forward: Callable[..., jax.Array]
  notes: tuple[str, ...] = ()


def problem(
    config: Experiment, mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh
) -> Problem:
  """The training step of a checked experiment and its arguments on a mesh."""
  if isinstance(config, RQVAEExperiment):
    return _stage1(config, mesh)
  return _stage2(config, mesh)


def _problem(stage: Any, task: Any, **fields: Any) -> Problem:
  rng = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(stage.init_state, task, rng)
  return Problem(
      task=task,
      state=state,
      init_state=stage.init_state,
      train_step=stage.train_step,
      **fields,
  )


def _stage1(config: RQVAEExperiment, mesh) -> Problem:
  task = stage1.build(
      config,
      mesh,
      total_steps=config.train.steps or 1,
      perceptual=perceptual.abstract(dtype=config.model.dtype),
  )
  shape = (*sizes.pair(config.model.image_size), 3)

  def forward(task, state):
    return task.model.apply(
        {'params': state.params, 'codebook': state.codebook},
        jnp.zeros((1, *shape), jnp.float32),
    ).images

  return _problem(
      stage1,
      task,
      batch={'image': _floats(config.data.batch_size, *shape)},
      forward=forward,
  )


def _stage2(config: RQTransformerExperiment, mesh) -> Problem:
  model, known = _tokenizer(config)
  variables = partitioning.unbox(build.rqvae_variables(model))
  notes = []
  if not known:  # The networks of a stand-in are not counted.
    variables = {'params': {}, 'codebook': variables['codebook']}
    notes += ['The tokenizer does not exist yet: its networks are not counted.']
  task = stage2.build(
      temperature.assumed(config),
      mesh,
      total_steps=config.train.steps or 1,
      tokenizer=tokenizer_lib.Tokenizer(model=model, variables={}),
  )
  task = dataclasses.replace(task, tokenizer_variables=variables)
  prior = task.model
  if prior.text_vocab_size and not _provided('tokens'):
    notes += ['No data source provides texts: this cannot be trained yet.']

  def forward(task, state):
    return prior.apply(
        {'params': state.params},
        jnp.zeros((1, *prior.code_shape), jnp.int32),
        jnp.zeros((1, prior.condition_length), jnp.int32),
        task.codebooks,
    )

  return _problem(
      stage2,
      task,
      batch=_prior_batch(config, model, known),
      forward=forward,
      notes=tuple(notes),
  )


def _prior_batch(
    config: RQTransformerExperiment, model: rqvae.RQVAE, known: bool
) -> dict[str, jax.ShapeDtypeStruct]:
  """A batch of stage 2; has images only if the tokenizer exists."""
  size, prior = config.data.batch_size, config.model
  if prior.text_vocab_size:
    batch = {'tokens': _integers(size, prior.text_length)}
  else:
    batch = {'label': _integers(size)}
  if known and 'image' in source_table.SOURCES[config.data.source].provides:
    batch['image'] = _floats(size, *sizes.pair(model.image_size), 3)
  else:
    batch['features'] = _floats(size, *model.features_shape)
  return batch


def _provided(name: str) -> bool:
  return any(name in row.provides for row in source_table.SOURCES.values())


def known_tokenizer(config: RQTransformerExperiment) -> RQVAEConfig | None:
  """Description of the tokenizer of a prior; None if it does not exist yet."""
  folder = config.tokenizer
  if folder and (epath.Path(folder) / 'config.json').exists():
    return stored.read_rqvae(folder)
  return None


def _tokenizer(config: RQTransformerExperiment) -> tuple[rqvae.RQVAE, bool]:
  """The RQ-VAE of a prior, and whether it is the real one or a stand-in.

  A stand-in has the right codes, but a network of only one level.
  """
  if (known := known_tokenizer(config)) is not None:
    return build.rqvae(known), True
  model = config.model
  height, width, _ = model.code_shape
  return (
      rqvae.RQVAE(
          image_size=(height, width),
          channel_multipliers=(1,),
          res_blocks=0,
          attention_resolutions=(),
          embed_dim=model.embed_dim,
          code_shape=model.code_shape,
          codebook_size=model.codebook_size,
          shared_codebook=isinstance(model.codebook_size, int),
      ),
      False,
  )


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _integers(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.int32)
