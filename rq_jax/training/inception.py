"""The network in whose features evaluations of a run compare images."""

from rq_jax.config import sections
from rq_jax.evaluation import dialects
from rq_jax.evaluation import extractors


def restore(train: sections.Train) -> extractors.Extractor:
  """Restores `train.eval_inception`, as `train.eval_dialect` reads it.

  It runs on the first device of each process. Every process computes the
  features of all images there, so that no process has to send features.

  Raises:
    ValueError: If the folder holds no Inception network, or is damaged.
  """
  assert train.eval_inception is not None  # `config.check` requires it.
  dialect = dialects.find(train.eval_dialect)
  return extractors.inception(
      dialect, train.eval_inception, flag='--config.train.eval_inception'
  )
