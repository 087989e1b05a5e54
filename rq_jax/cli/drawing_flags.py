"""Flags for the options of draws, which are those of `rq_jax.Sampling`.

Without a flag, `sample` takes the option that the model was released with.
"""

from typing import Any

from absl import flags


def define(values: flags.FlagValues) -> None:
  """Adds these flags to those of a command."""
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
