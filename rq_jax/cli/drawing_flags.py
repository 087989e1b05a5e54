"""Flags that say how codes are drawn: those of `rq_jax.Sampling`."""

from typing import Any

from absl import flags


def define(values: flags.FlagValues) -> None:
  """Defines them among the flags of a command."""
  flags.DEFINE_multi_float(
      'temperature',
      [1.0],
      'Divides the logits; repeat it for one value for each depth.',
      flag_values=values,
  )
  flags.DEFINE_multi_integer(
      'top_k',
      None,
      'Keeps the k most likely codes; repeat it for each depth.',
      flag_values=values,
  )
  flags.DEFINE_multi_float(
      'top_p',
      [1.0],
      'Keeps the most likely codes of that mass; repeat it for each depth.',
      flag_values=values,
  )
  flags.DEFINE_multi_float(
      'guidance',
      None,
      'Scale of classifier-free guidance, 1 is none; repeat it for each depth.',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'guidance_schedule',
      None,
      ['constant', 'linear', 'cosine'],
      'How the guidance grows over the positions; constant by default.',
      flag_values=values,
  )


def options(values: flags.FlagValues) -> dict[str, Any]:
  """Arguments of `Sampling`, of those flags that are set."""
  names = ('temperature', 'top_k', 'top_p', 'guidance')
  found = {name: _one_or_many(values[name].value) for name in names}
  found['guidance_schedule'] = values['guidance_schedule'].value
  return {name: x for name, x in found.items() if x is not None}


def _one_or_many(given: list | None) -> Any:
  return given[0] if given and len(given) == 1 else given
