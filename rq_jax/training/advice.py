"""Warnings about common mistakes, each a sentence or None.

They look only at numbers that the host has anyway. A warning never stops a run.
"""

from collections.abc import Mapping, Sequence
import math
import statistics

from rq_jax.distributed import console

_LEAST_USED = 0.1  # Share of the codewords.
_CODES_PER_WORD = 10  # Fewer codes do not show which codewords are used.
_WORST_RATIO = 2.0  # Held-out loss over training loss.
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
      f'Only {share:.1%} of the {words} codewords are in use, so'
      ' reconstructions have less detail than the codes could hold. Train for'
      ' longer, or reduce --config.model.codebook_size. Do not set'
      ' --config.model.restart=off.'
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
      f' {training:.3g}: the model memorizes the training images. Add images,'
      ' train for fewer steps, or choose a smaller model.'
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


class Advice:
  """Warnings of a run, and the metrics that they are about."""

  def __init__(self):
    """Starts without warnings and metrics."""
    self._given: set[str] = set()
    self._recent: list[Mapping[str, float]] = []

  def add(self, metrics: Mapping[str, float]) -> None:
    """Adds metrics of a training step, by the names in `metrics.jsonl`."""
    self._recent.append(metrics)

  def recent(self) -> dict[str, float]:
    """The means of the metrics that were added since the last call."""
    lines, self._recent = self._recent, []
    names = lines[-1] if lines else ()
    return {
        name: statistics.fmean(line[name] for line in lines) for name in names
    }

  def tell(self, found: Mapping[str, str | None]) -> None:
    """Prints the warnings of kinds that are new; None is no warning."""
    for kind, sentence in found.items():
      if sentence is not None and kind not in self._given:
        tell(sentence)
        self._given.add(kind)


def tell(sentence: str | None) -> None:
  """Prints a warning, if there is one, in the first process."""
  if sentence is not None:
    console.tell(f'Warning: {sentence}')
