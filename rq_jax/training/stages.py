"""What the loop gets from a stage: its functions, and its data."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import NamedTuple

import jax

from rq_jax.data import sources
from rq_jax.typing import Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """The functions that the loop calls; each takes the task first.

  Attributes:
    init_state: (task, rng) -> state, with parameters boxed with logical axes.
    train_step: (task, state, batch) -> (state, metrics).
    eval_step: (task, state, batch) -> sums over the valid examples.
    summarize: (task, sums of all batches) -> metrics.
    advise: (config, metrics of training, metrics of the evaluation, number of
      evaluated examples) -> warnings by kind; None is no warning.
    preview: (task, state, batch) -> rows of images by name,
      uint8[R, C, Y, X, 3], one column for each of the first examples.
    weights: Fields of the state that `--config.init_from` loads.
    judge: state -> more metrics of an evaluation.
  """

  init_state: Callable[..., PyTree]
  train_step: Callable[..., tuple[PyTree, Metrics]]
  eval_step: Callable[..., Metrics]
  summarize: Callable[..., dict[str, float]]
  advise: Callable[..., Mapping[str, str | None]]
  preview: Callable[..., dict[str, jax.Array]]
  weights: tuple[str, ...]
  judge: Callable[..., dict[str, float]] = lambda _: {}


class Splits(NamedTuple):
  """The data of a run; each split is opened once.

  Attributes:
    train: Examples to train on.
    test: Examples to evaluate on.
  """

  train: sources.Source
  test: sources.Source
