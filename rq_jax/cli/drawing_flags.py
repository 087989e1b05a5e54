"""Flags of draws: their options, conditions and model.

Without a flag for an option, the commands take the one that the model was
released with.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import flags

from rq_jax.cli import command

if TYPE_CHECKING:  # Parsing flags does not need JAX.
  from rq_jax.jobs.sample import drawing


def define(values: flags.FlagValues) -> None:
  """Adds the options of draws, which are those of `rq_jax.Sampling`."""
  flags.DEFINE_multi_float(
      'temperature',
      None,
      'Number that divides the logits, 1 by default, once or once per depth',
      flag_values=values,
  )
  flags.DEFINE_multi_integer(
      'top_k',
      None,
      'Number of most likely codes to keep, once or once per depth',
      flag_values=values,
  )
  flags.DEFINE_multi_float(
      'top_p',
      None,
      'Total probability of the most likely codes to keep, 1 by default, once'
      ' or once per depth',
      flag_values=values,
  )
  flags.DEFINE_multi_float(
      'guidance',
      None,
      'Scale of classifier-free guidance (1 is no guidance), once or once per'
      ' depth',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'guidance_schedule',
      None,
      ['constant', 'linear', 'cosine'],
      'How the guidance scale changes over the positions: constant, which is'
      ' the default, or growing from 1 to --guidance.',
      flag_values=values,
  )


def options(values: flags.FlagValues) -> dict[str, Any]:
  """Arguments of `Sampling`, from the flags that are set."""
  names = ('temperature', 'top_k', 'top_p', 'guidance')
  found = {name: _one_or_many(values[name].value) for name in names}
  found['guidance_schedule'] = values['guidance_schedule'].value
  return {name: x for name, x in found.items() if x is not None}


def _one_or_many(given: list | None) -> Any:
  return given[0] if given and len(given) == 1 else given


def define_conditions(values: flags.FlagValues) -> None:
  """Adds the number of images, their conditions and their seed."""
  flags.DEFINE_integer(
      'num_images',
      None,
      'Number of images; by default 16, or one per text.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_list(
      'labels',
      None,
      'Classes, by number or name, used in turn; by default all classes.',
      flag_values=values,
  )
  command.define_path(
      'prompts', None, 'File of texts, one per line, used in turn.', values
  )
  command.define_path(
      'tokens',
      None,
      'Token ids in a .npy file, int[texts, text_length]; used in turn.',
      values,
  )
  flags.DEFINE_integer('seed', 0, 'Seed of all draws; in [0, 2**32).',
                               flag_values=values)  # fmt: skip


def define_kernels(values: flags.FlagValues) -> None:
  """Adds what computes the steps of the sampler, and with which weights."""
  flags.DEFINE_enum(
      'kernels',
      None,
      ['xla', 'pallas', 'interpret'],
      'xla, the default: kernels that XLA makes. pallas: our own kernels, on'
      ' one NVIDIA GPU. interpret: the programs of these, run slowly on any'
      ' device, to check them.',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'weights',
      None,
      ['float', 'int8'],
      'float, the default: draws with weights of --dtype. int8: with one byte'
      ' for each weight and a scale for each output, so that a device reads'
      ' less for each code; this changes the draws a little.',
      flag_values=values,
  )


def computing(values: flags.FlagValues) -> dict[str, str]:
  """The flags of `define_kernels`, with their defaults.

  Raises:
    ValueError: If they contradict each other.
  """
  from rq_jax.sampling.kernels import choice

  kernels, weights = values.kernels or 'xla', values.weights or 'float'
  choice.check_weights(weights, kernels)
  return {'kernels': kernels, 'weights': weights}


def define_model(values: flags.FlagValues) -> None:
  """Adds how to restore the model of --checkpoint."""
  flags.DEFINE_integer(
      'model_parallel',
      1,
      'Number of devices that share the weights of one model. Such groups of'
      ' devices split the images of a chunk.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_integer(
      'step',
      None,
      'Step of the checkpoint; by default the newest.',
      flag_values=values,
  )
  flags.DEFINE_bool(
      'ema',
      True,
      'Whether to use averaged parameters, if the run has them.',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'dtype',
      None,
      ['float32', 'bfloat16'],
      'Type of parameters and computation; by default the type of training.',
      flag_values=values,
  )
  define_kernels(values)
  flags.DEFINE_bool(
      'verify',
      True,
      'Whether to compare the files and arrays of the model with their stored'
      ' hashes. Without it, a damaged model may be used.',
      flag_values=values,
  )
  command.define_path(
      'text_tokenizer',
      None,
      'File of the tokenizers library that turns --prompts into tokens; by'
      ' default text_tokenizer.json in --checkpoint.',
      values,
  )


def given(
    values: flags.FlagValues,
) -> tuple[dict[str, Any], str | None, Any]:
  """The options of the draws, and the kind and the values of their conditions.

  Raises:
    ValueError: If they contradict each other, or a file cannot be read.
  """
  from rq_jax import sampling
  from rq_jax.jobs.sample import conditions

  kind = _kind(values)
  chosen = options(values)
  sampling.Sampling(**chosen)  # Checks them before anything is restored.
  readers = {
      'labels': lambda texts: conditions.read_labels(texts, values.checkpoint),
      'prompts': conditions.read_prompts,
      'tokens': conditions.read_tokens,
  }
  return chosen, kind, readers[kind](values[kind].value) if kind else None


def restore(
    values: flags.FlagValues,
    given: tuple[dict[str, Any], str | None, Any],
    *,
    chunk_size: int,
    num_images: int | None = None,
    tokenizer: str | None = None,
) -> tuple['drawing.Drawing', dict[str, Any]]:
  """Restores the model, and describes the images to draw.

  Args:
    values: The parsed flags.
    given: What `given` returned.
    chunk_size: Number of images that the devices draw together.
    num_images: Number of images if the flags do not set it.
    tokenizer: Path of another copy of the tokenizer; None for the model's own.

  Returns:
    The images to draw, and the origin of the model for the manifest.
  """
  from rq_jax.jobs.sample import conditions
  from rq_jax.jobs.sample import drawing

  chosen, kind, conditioned_on = given
  sampler, origin = drawing.restore(
      values.checkpoint,
      chunk_size=chunk_size,
      model_parallel=values.model_parallel,
      step=values.step,
      ema=values.ema,
      dtype=values.dtype,
      tokenizer=tokenizer,
      text_tokenizer=values.text_tokenizer,
      verify=values.verify,
      **computing(values),
  )
  drawn = drawing.Drawing(
      sampler=sampler,
      conditions=conditions.choose(
          sampler.prior,
          kind=kind,
          values=conditioned_on,
          num_images=values.num_images or num_images,
      ),
      seed=values.seed,
      sampling=dataclasses.replace(sampler.sampling, **chosen),
      chunk_size=chunk_size,
  )
  return drawn, origin


def _kind(values: flags.FlagValues) -> str | None:
  """The kind of condition that is given, if any."""
  names = ('labels', 'prompts', 'tokens')
  given = [name for name in names if values[name].value is not None]
  if len(given) > 1:
    raise ValueError(
        f'{" and ".join(f"--{name}" for name in given)} exclude each other.'
        ' Give only one of them.'
    )
  return given[0] if given else None
