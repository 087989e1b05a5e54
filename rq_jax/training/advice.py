"""Warnings about common mistakes, each a sentence or None.

They look only at numbers that the host has anyway. A warning never stops a run.
"""

from collections.abc import Mapping, Sequence
import math

from rq_jax.config import Experiment
from rq_jax.distributed import console

_LEAST_USED = 0.1  # Share of the codewords.
_CODES_PER_WORD = 10  # Fewer codes do not show which codewords are used.
_WORST_RATIO = 2.0  # Held-out loss over training loss.
# Metrics of training and of evaluations that measure the same.
_COMPARABLE = (
    ('train/reconstruction', 'eval/mse'),
    ('train/loss', 'eval/loss'),
)
_ONE_HOT = 1.1  # Perplexity of the targets.
_UNIFORM = 0.5  # Perplexity of the targets, as a share of the codewords.


def batch(num_examples: int, batch_size: int) -> str | None:
  """Warns if a batch holds some images several times."""
  if num_examples >= batch_size:
    return None
  return (
      f'The data has {num_examples} training images, fewer than a batch of'
      f' {batch_size}: every batch repeats images. Reduce'
      ' --config.data.batch_size, or add images.'
  )


def codebook_use(share: float, codes: int, words: int) -> str | None:
  """Warns if most codewords are never used.

  Args:
    share: Share of the codewords that at least one code uses.
    codes: Number of codes that were counted.
    words: Number of codewords.
  """
  if share >= _LEAST_USED or codes < _CODES_PER_WORD * words:
    return None
  return (
      f'Only {share:.1%} of the {words} codewords are in use, so images have'
      ' less detail than their codes could hold. Train for longer, reduce'
      ' --config.model.codebook_size, or leave --config.model.restart on.'
  )


def held_out(training: float, evaluation: float) -> str | None:
  """Warns if the loss on held-out images is far above the training loss."""
  if not (math.isfinite(training) and math.isfinite(evaluation)):
    return None
  if training <= 0 or evaluation <= _WORST_RATIO * training:
    return None
  return (
      f'The loss on held-out images, {evaluation:.3g}, is'
      f' {evaluation / training:.1f} times the loss on training images,'
      f' {training:.3g}: the model learns the training images by heart. Add'
      ' images, train for fewer steps, or choose a smaller model.'
  )


def targets(perplexity: Sequence[float], sizes: Sequence[int]) -> str | None:
  """Warns if the soft targets of all depths are nearly one-hot, or uniform.

  Args:
    perplexity: Perplexity of the targets by depth, see `models.soft_targets`.
    sizes: Number of codewords by depth.
  """
  shown = ', '.join(f'{x:.1f}' for x in perplexity)
  advice = (
      "Set --config.loss.temperature='auto' to measure a temperature for these"
      ' features.'
  )
  if max(perplexity) < _ONE_HOT:
    return (
        'The soft targets are nearly one-hot: their perplexity by depth is'
        f' {shown}. The temperature is too low. {advice}'
    )
  if all(p > _UNIFORM * k for p, k in zip(perplexity, sizes, strict=True)):
    return (
        'The soft targets are nearly uniform: their perplexity by depth is'
        f' {shown} of {max(sizes)} codewords. The temperature is too high.'
        f' {advice}'
    )
  return None


def evaluation(
    config: Experiment,
    training: Sequence[Mapping[str, float]],
    results: Mapping[str, float],
    count: int,
) -> dict[str, str]:
  """Warnings after an evaluation, by kind.

  Args:
    config: The experiment.
    training: Logged steps since the last evaluation, each with its metrics by
      the names in `metrics.jsonl`. Their mean is less noisy than one batch.
    results: Metrics of the evaluation, by the names in `metrics.jsonl`.
    count: Number of examples that were evaluated.
  """
  found: dict[str, str | None] = {}
  if (used := results.get('eval/codebook_used')) is not None:
    sizes = config.model.codebook_size
    found['codebook'] = codebook_use(
        used,
        count * math.prod(config.model.code_shape),
        sizes if isinstance(sizes, int) else max(sizes),
    )
  for before, after in _COMPARABLE:
    # The absolute error of training is not compared with the squared one.
    absolute = getattr(config.loss, 'reconstruction', '') == 'l1'
    logged = [line[before] for line in training if before in line]
    if logged and after in results and not absolute:
      found['held out'] = held_out(sum(logged) / len(logged), results[after])
  return {kind: sentence for kind, sentence in found.items() if sentence}


def tell(sentence: str | None) -> None:
  """Prints a warning, if there is one, in the first process."""
  if sentence is not None:
    console.tell(f'Warning: {sentence}')
