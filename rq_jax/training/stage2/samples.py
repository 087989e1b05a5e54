"""FID and Inception Score of images that evaluations of stage 2 draw."""

from collections.abc import Callable

import jax
import numpy as np

from rq_jax import sampling
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import RQTransformerExperiment
from rq_jax.distributed import partitioning
from rq_jax.evaluation import dialects
from rq_jax.evaluation import frechet
from rq_jax.evaluation import inception_score
from rq_jax.evaluation import moments
from rq_jax.evaluation import references
from rq_jax.sampling import engine as engine_lib
from rq_jax.sampling import requests
from rq_jax.training import inception
from rq_jax.training import stage2
from rq_jax.training.stage2 import State
from rq_jax.training.stage2 import Task

_BATCH = 64  # Images that are drawn together, before rounding up.


def judge(
    task: Task, config: RQTransformerExperiment, mesh: jax.sharding.Mesh
) -> Callable[[State], dict[str, float]]:
  """A function from a state to metrics of images that it draws, if any.

  Image i has the class i % num_classes and the random numbers of
  `fold_in(key(0), i)`, so all evaluations compare the same draws. They are
  drawn without filters and guidance. The devices of all processes share the
  draws. Every process judges all images, so that none has to send features.

  Args:
    task: Everything that stays fixed over the run.
    config: A checked experiment.
    mesh: Mesh of the devices to draw on.

  Raises:
    ValueError: If the network or the statistics cannot be read, or do not fit.
  """
  train = config.train
  if not train.eval_samples:
    return lambda _: {}
  assert train.eval_reference is not None  # `config.check` requires it.
  reference = references.read(train.eval_reference)
  mean, covariance = reference.mean, reference.covariance
  if mean is None or covariance is None:
    raise ValueError(
        f'config.train.eval_reference={train.eval_reference} holds images, but'
        ' no statistics. Write them with `python -m rq_jax evaluate'
        ' --save_reference`, and set --config.train.eval_reference to that'
        ' file.'
    )
  dialect = dialects.find(train.eval_dialect)
  extractor = inception.restore(train)
  gather = jax.jit(lambda x: x, out_shardings=partitioning.replicated(mesh))
  parallel = partitioning.batch_parallelism(mesh)
  size = -(-min(_BATCH, train.eval_samples) // parallel) * parallel
  tokenizer = tokenizer_lib.Tokenizer(
      model=task.tokenizer, variables=task.tokenizer_variables
  )

  def judged(state: State) -> dict[str, float]:
    params = stage2.inference_variables(state)['params']
    engine = engine_lib.prepare(task.model, params, task.codebooks, mesh=mesh)
    pool = moments.Moments()
    score = _score(dialect, train.eval_samples)
    for start in range(0, train.eval_samples, size):
      request = _request(task, np.arange(start, start + size, dtype=np.uint32))
      codes = engine.codes(jax.random.key(0), request)
      images = gather(tokenizer_lib.decode_known(tokenizer, codes))
      count = min(size, train.eval_samples - start)
      found = extractor(partitioning.local_copy(images)[:count])
      pool.add(found['pool'])
      if score is not None:
        score.add(found['logits'])
    distance = frechet.distance(pool.mean, pool.covariance, mean, covariance)
    metrics = {'fid': distance}
    return metrics if score is None else metrics | {'is': score.score()[0]}

  return judged


def _request(task: Task, indices: np.ndarray) -> requests.Request:
  """The request for images, by their indices: uint32[B]."""
  classes = max(1, task.model.num_classes)
  condition = (indices % classes).astype(np.int32)[:, None]
  request = requests.make(task.model, condition, sampling.Sampling())
  return request.replace(indices=indices)


def _score(
    dialect: dialects.Dialect, count: int
) -> inception_score.InceptionScore | None:
  """The Inception Score, if the dialect has one and there are enough images."""
  settings = dialect.inception_score
  if settings is None or count < (settings.splits or 1):
    return None
  return inception_score.InceptionScore(
      count,
      splits=settings.splits,
      split_size=settings.split_size,
      seed=settings.seed,
  )
