"""The programs of an experiment, lowered for devices, from shapes alone.

Each is the program that `train`, `sample` or `encode` runs: the same function,
shardings and donated arguments.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import Experiment
from rq_jax.config import RQTransformerExperiment
from rq_jax.config import RQVAEExperiment
from rq_jax.config import sizes
from rq_jax.distributed import partitioning
from rq_jax.jobs import stand_in
from rq_jax.jobs.plan import problem as problem_lib
from rq_jax.jobs.sample import drawing
from rq_jax.models import build
from rq_jax.sampling import Sampling
from rq_jax.sampling import programs as programs_lib
from rq_jax.sampling import requests
from rq_jax.sampling import weights as weights_lib
from rq_jax.sampling.kernels import choice
from rq_jax.training import stepping
from rq_jax.typing import Device, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """A program that can be compiled.

  Attributes:
    lowered: The program before the compiler optimizes it.
    mesh: The mesh of its devices; None for one device.
    images: Number of images that one execution handles.
    dtype: Type in which the model computes.
    notes: Sentences about missing parts.
  """

  lowered: jax.stages.Lowered
  mesh: jax.sharding.Mesh | None
  images: int
  dtype: str
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How `sample`, `encode` and `decode` run.

  Attributes:
    batch: Number of images, on all devices together; None for the default of
      the command.
    sampling: Options of the draws.
    dtype: Type of parameters and computation; None for that of training.
    model_parallel: Devices that share the weights of one model.
    kernels: What computes the steps of the sampler, see
      `sampling.kernels.choice`.
    weights: What holds the weights of the sampler, see the same.
    path: Configuration file of the RQ-Transformer, beside which the RQ-VAE is
      looked for.
  """

  batch: int | None = None
  sampling: Sampling = Sampling()
  dtype: str | None = None
  model_parallel: int = 1
  kernels: str = 'xla'
  weights: str = 'float'
  path: str | None = None


def train(config: Experiment, devices: Sequence[Device]) -> Program:
  """The training step of a checked experiment.

  Raises:
    ValueError: If the mesh or the batch does not fit the devices.
  """
  mesh = partitioning.make_mesh(vars(config.mesh), devices=list(devices))
  partitioning.check_batch(
      config.data.batch_size, mesh, pieces=config.train.accumulate
  )
  problem = problem_lib.problem(config, mesh)
  with partitioning.activate(mesh):
    shardings = partitioning.state_sharding(problem.state, mesh)
    everywhere = partitioning.replicated(mesh)
    step = stepping.jitted(
        problem.train_step, config.train, mesh=mesh, shardings=shardings
    )
    state = jax.tree.map(_placed, partitioning.unbox(problem.state), shardings)
    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    lowered = step.lower(
        _all_placed(problem.task, everywhere),
        state,
        _all_placed(dict(problem.batch), partitioning.batch_sharding(mesh)),
        *([(count, count)] if config.train.max_skipped else []),
    )
  return Program(
      lowered=lowered,
      mesh=mesh,
      images=config.data.batch_size,
      dtype=config.model.dtype,
      notes=problem.notes,
  )


def sample(
    config: RQTransformerExperiment,
    devices: Sequence[Device],
    options: Options,
) -> Program:
  """The program that draws the codes of a chunk of images.

  Raises:
    ValueError: If the model cannot draw in this way, or the chunk does not fit
      the devices.
  """
  prior = build.rqtransformer(config.model, options.dtype)
  batch, mesh = _chunk(devices, options)
  choice.check_devices(options.kernels, devices)
  choice.check_model(options.kernels, prior)
  choice.check_weights(options.weights, options.kernels)
  asked = requests.Asked(**stand_in.condition_of(prior, batch))
  request = requests.ask(prior, asked, sampling=options.sampling)
  numbers = jax.ShapeDtypeStruct(request.given.shape, jnp.float32)
  by_image = _by_image(mesh, devices)
  draw_maps = programs_lib.draw_maps.on(devices[0].platform)
  weights = _weights(config, prior, devices, mesh, options)
  with _kernels_for(devices[0], options.kernels):
    lowered = draw_maps.lower(
        prior,
        weights,
        request.map_images(lambda x: _placed(x, by_image)),
        _placed(numbers, by_image),
        mesh=mesh,
    )
  return Program(lowered=lowered, mesh=mesh, images=batch, dtype=prior.dtype)


def _kernels_for(
    device: Device, kernels: str
) -> contextlib.AbstractContextManager[Any]:
  """A context in which Pallas knows the device that its kernels are for."""
  if kernels != 'pallas':
    return contextlib.nullcontext()
  # Since JAX 0.11, Pallas refuses to assume one where there is no GPU.
  described = jax.sharding.AbstractDevice(
      device_kind=device.device_kind, num_cores=None, platform='gpu'
  )
  return jax.sharding.use_abstract_mesh(
      jax.sharding.AbstractMesh((), (), abstract_device=described)
  )


def _weights(config, prior, devices, mesh, options: Options) -> PyTree:
  """Shapes of the weights that a sampler lays out, with their shardings."""
  boxed = build.rqtransformer_variables(prior)['params']
  params = partitioning.unbox(boxed)
  if options.dtype:
    params = stand_in.in_dtype(params, options.dtype)
  model = build.rqvae(stand_in.find_tokenizer(config.model, options.path))
  books = jax.eval_shape(
      lambda variables: model.apply(variables, method='codebooks'),
      partitioning.unbox(build.rqvae_variables(model)),
  )
  prepare = functools.partial(
      weights_lib.prepare,
      prior,
      platform=devices[0].platform,
      kernels=options.kernels,
      weights=options.weights,
  )
  if mesh is None:
    only = jax.sharding.SingleDeviceSharding(devices[0])
    laid_out = jax.eval_shape(prepare, params, books)
    return _all_placed(laid_out, only)
  shardings = partitioning.state_sharding(boxed, mesh)
  params = jax.tree.map(_placed, params, shardings)
  books = _all_placed(books, partitioning.replicated(mesh))
  # The compiler chooses how to split what it lays out.
  lowered = jax.jit(prepare).lower(params, books)
  laid_out = lowered.out_info
  return jax.tree.map(_placed, laid_out, lowered.compile().output_shardings)


def _chunk(
    devices: Sequence[Device], options: Options
) -> tuple[int, jax.sharding.Mesh | None]:
  """The number of images in a chunk, and the mesh that `sample` uses."""
  batch = options.batch or drawing.default_chunk_size(
      options.model_parallel, devices=len(devices)
  )
  return batch, drawing.mesh_of(devices, batch, options.model_parallel)


def encode(
    config: RQVAEExperiment, devices: Sequence[Device], options: Options
) -> Program:
  """The program that encodes a batch of images, by default that of training."""
  mesh = partitioning.make_mesh({'data': -1}, devices=list(devices))
  batch = options.batch or config.data.batch_size
  batch = -(-batch // len(devices)) * len(devices)
  model = build.rqvae(config.model, options.dtype)
  images = jax.ShapeDtypeStruct(
      (batch, *sizes.pair(model.image_size), 3),
      jnp.float32,
      sharding=partitioning.batch_sharding(mesh),
  )
  variables = _all_placed(
      _rqvae_variables(model, options.dtype), partitioning.replicated(mesh)
  )
  lowered = tokenizer_lib.lower_features(model, variables, images)
  return Program(lowered=lowered, mesh=mesh, images=batch, dtype=model.dtype)


def decode(
    config: RQVAEExperiment, devices: Sequence[Device], options: Options
) -> Program:
  """The program that decodes the codes of a chunk of images.

  Raises:
    ValueError: If the chunk does not fit the devices.
  """
  batch, mesh = _chunk(devices, options)
  model = build.rqvae(config.model, options.dtype)
  by_image = _by_image(mesh, devices)
  variables = _rqvae_variables(model, options.dtype)
  if mesh is None:
    variables = _all_placed(variables, by_image)
  else:
    shardings = partitioning.state_sharding(build.rqvae_variables(model), mesh)
    variables = jax.tree.map(_placed, variables, dict(shardings))
  codes = jax.ShapeDtypeStruct(
      (batch, *model.code_shape), jnp.int32, sharding=by_image
  )
  lowered = tokenizer_lib.lower_decode(model, variables, codes)
  return Program(lowered=lowered, mesh=mesh, images=batch, dtype=model.dtype)


def _rqvae_variables(model, dtype: str | None) -> PyTree:
  """Shapes of a restored tokenizer's variables; codebooks stay float32."""
  variables = partitioning.unbox(dict(build.rqvae_variables(model)))
  if dtype:
    variables['params'] = stand_in.in_dtype(variables['params'], dtype)
  return variables


def _by_image(mesh, devices: Sequence[Device]) -> jax.sharding.Sharding:
  """Where the rows of a batch are."""
  if mesh is None:
    return jax.sharding.SingleDeviceSharding(devices[0])
  return partitioning.batch_sharding(mesh)


def _placed(leaf, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _all_placed(tree: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
  return jax.tree.map(lambda leaf: _placed(leaf, sharding), tree)
