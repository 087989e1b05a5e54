"""Converts official checkpoints, and checks that no value changed."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from rq_jax import files
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import sampling_options
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.config import sizes
from rq_jax.conversion import archive
from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.distributed import console
from rq_jax.distributed import progress
from rq_jax.jobs.convert import output
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from rq_jax.tokenizer import Tokenizer

_STALE_AVERAGES = (
    'The official training of RQ-VAEs never updates its averaged'
    ' parameters, so these may be the initial ones. Leave out --ema if the'
    ' reconstructions are poor.'
)


def from_official(
    src: str, dst: str, *, ema: bool = False, tokenizer: str | None = None
) -> None:
  """Converts an official checkpoint for `Tokenizer` or `Sampler.restore`.

  The written checkpoint is read back: every array must equal its source bit by
  bit, and the output of the model for a fixed input must be finite.

  Args:
    src: An archive as released, a folder, or a file of `torch.save` or
      safetensors with its `config.yaml`, or our `config.json`, beside it.
    dst: Folder to write; it appears whole or not at all.
    ema: Whether to convert the averaged parameters.
    tokenizer: Folder of the converted RQ-VAE, for an RQ-Transformer whose
      source does not include it.

  Raises:
    ValueError: If anything is missing or damaged, or does not belong together.
    DiskFullError: If there is not enough space on the disk.
  """
  src, dst = files.path(src, 'src'), files.path(dst, 'dst')
  if tokenizer is not None:
    tokenizer = files.path(tokenizer, 'tokenizer')
  with output.written_whole(dst) as partial:
    with (
        progress.bar(
            desc='unpacking', unit='B', unit_scale=True, delay=1
        ) as bar,
        archive.open_source(
            src, partial, progress=functools.partial(_advance, bar)
        ) as source,
    ):
      if source.stage2 is not None:
        _require_tokenizer(source, src, tokenizer)
        _convert(source.stage2, partial, ema)
        _add_tokenizer(source, partial, tokenizer)
      else:
        assert source.stage1 is not None  # An archive holds a stage.
        _refuse_tokenizer(tokenizer)
        _convert(source.stage1, partial, ema)
    if source.stage2 is None:
      _check_tokenizer(Tokenizer.restore(str(partial), verbose=False))
    else:
      _check_prior(Sampler.restore(str(partial), verbose=False))
  console.tell(f'Wrote {dst}.')


def _require_tokenizer(
    source: archive.OfficialFiles, src: str, given: str | None
) -> None:
  if given is not None:
    stored.read_config(given, stage=1)
  elif source.stage1 is None:
    raise ValueError(
        f'--src={src} holds an RQ-Transformer without its RQ-VAE. Convert the'
        ' RQ-VAE first, and give its folder as --tokenizer.'
    )


def _add_tokenizer(
    source: archive.OfficialFiles, partial: pathlib.Path, given: str | None
) -> None:
  """Puts the RQ-VAE into the folder of its RQ-Transformer."""
  copy = partial / 'tokenizer'
  if given is None:
    assert source.stage1 is not None  # `_require_tokenizer` refuses others.
    _convert(source.stage1, copy, ema=False)
  else:
    tokenizer = Tokenizer.restore(given, verbose=False)
    config = stored.read_config(given, stage=1)
    names = class_names.read(given)
    inference_copy.write(copy, config, tokenizer.variables, classes=names)


def _refuse_tokenizer(tokenizer: str | None) -> None:
  if tokenizer is not None:
    raise ValueError(
        f'--tokenizer={tokenizer} is for an RQ-Transformer, but --src holds'
        ' only an RQ-VAE. Leave out --tokenizer.'
    )


def _convert(path: pathlib.Path, target: pathlib.Path, ema: bool) -> None:
  """Converts one checkpoint, and compares the written arrays with it."""
  with official_model.open_model(path, ema=ema) as model:
    console.tell(
        f'{kind(model.config)}: {len(model.state.tensors)} arrays,'
        f' {_size(model)}.'
    )
    if model.state.unwrapped:
      console.tell(model.state.unwrapped)
    if model.unknown:
      names = ', '.join(f'arch.{name}' for name in model.unknown)
      console.tell(
          f'These fields of its config.yaml are unknown and ignored: {names}.'
      )
    if ema and model.config.stage == 1:
      console.warn(_STALE_AVERAGES)
    files.require_space(target, model.nbytes)
    with _bar('reading', model) as bar:
      variables = model.variables(bar.update)
    console.tell('Writing ...')
    names = class_names.read(path.parent)  # `to_official` keeps them there.
    target.mkdir(exist_ok=True)
    sampling_options.write(target, _sampling(model))
    inference_copy.write(target, model.config, variables, classes=names)
    del variables
    _compare(model, target)


def _sampling(model: official_model.OfficialModel) -> dict[str, Any]:
  """The options of `config.yaml` for draws; none if they cannot be used."""
  options = dict(model.sampling)
  try:
    checked = Sampling(**options)
    for name in options:
      checked.by_depth(name, model.config.model.code_shape[2])
  except (TypeError, ValueError) as error:
    console.warn(
        'The section sampling of the config.yaml beside'
        f' {model.state.source} cannot be used: {error} The model samples with'
        ' the default options.'
    )
    return {}
  return options


def _compare(model: official_model.OfficialModel, target: pathlib.Path) -> None:
  """Reads the written arrays, and compares them with the source bit by bit."""
  written = mapping.flatten(stored.restore_variables(target, model.abstract)[0])
  with _bar('comparing', model) as bar:
    arrays = model.arrays(bar.update)
    output.require_same(written, arrays, target, model.state.source)
  console.tell('Every array equals its source, bit by bit.')


def _check_tokenizer(tokenizer: Tokenizer) -> None:
  """Reconstructs a fixed image."""
  height, width = sizes.pair(tokenizer.model.image_size)
  down = jnp.linspace(-1.0, 1.0, height, dtype=jnp.float32)[:, None]
  right = jnp.linspace(-1.0, 1.0, width, dtype=jnp.float32)[None]
  image = jnp.stack(jnp.broadcast_arrays(down, right, down[::-1]), axis=-1)
  made = jax.jit(tokenizer.model.apply)(tokenizer.variables, image[None]).images
  output.require_finite(made, 'the reconstruction of a fixed image')
  error = float(jnp.mean(jnp.square(made[0] - image)))
  console.tell(
      f'RQ-VAE {tokenizer.fingerprint}: reconstructs a color ramp with a mean'
      f' squared error of {error:.6f}.'
  )


def _check_prior(sampler: Sampler) -> None:
  """Checks the tokenizer, and predicts fixed codes for a fixed condition."""
  _check_tokenizer(sampler.tokenizer)
  prior = sampler.prior
  sizes = np.array(prior.sizes)
  codes = np.arange(np.prod(prior.code_shape)).reshape(1, *prior.code_shape)
  codes = (codes * 97 % sizes).astype(np.int32)
  condition = {}
  if prior.num_classes:
    condition['labels'] = [0]
  elif prior.text_length:
    condition['tokens'] = np.zeros((1, prior.text_length), np.int32)
  logits = sampler.logits(codes, **condition)
  output.require_finite(logits, 'the prediction of fixed codes')
  chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), codes[..., None], -1)
  console.tell(
      f'RQ-Transformer {inference_copy.fingerprint(sampler.prior_variables)}:'
      f' predicts fixed codes at {-float(jnp.mean(chosen)):.6f} nats per code.'
  )


def kind(config: Experiment) -> str:
  """Name of the kind of model, 'RQ-VAE' or 'RQ-Transformer'."""
  return {1: 'RQ-VAE', 2: 'RQ-Transformer'}[config.stage]


def _size(model: official_model.OfficialModel) -> str:
  return f'{model.nbytes / 1e6:,.1f} MB'


def _advance(bar: tqdm.tqdm, done: int, total: int) -> None:
  bar.total = total
  bar.update(done - bar.n)


def _bar(what: str, model: official_model.OfficialModel) -> tqdm.tqdm:
  return progress.bar(
      total=model.nbytes, desc=what, unit='B', unit_scale=True, miniters=1
  )
