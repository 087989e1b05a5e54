"""Trains both stages on digits, generates digits, and writes a report."""

from collections.abc import Iterator
import contextlib
import json
import os
import pathlib
import time
from typing import Any

from etils import epath
import numpy as np

from rq_jax import compilation
from rq_jax import config as config_lib
from rq_jax import files
from rq_jax import sampling
from rq_jax.config import Experiment
from rq_jax.data import sources
from rq_jax.distributed import console
from rq_jax.jobs import reconstructions
from rq_jax.jobs import versions
from rq_jax.jobs.encode import job as encode
from rq_jax.jobs.quickstart import digits
from rq_jax.jobs.quickstart import page
from rq_jax.jobs.sample import conditions
from rq_jax.jobs.sample import drawing
from rq_jax.reports import pictures
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import metrics
from rq_jax.training import run

_CONFIGS = pathlib.Path(__file__).parents[3] / 'configs' / 'digits'
_PER_CLASS = 100
_EVAL_STEPS = 100  # Enough points for a curve of the held-out PSNR.
_VERSIONS = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain')


def quickstart(out: str, *, seed: int = 0) -> dict[str, Any]:
  """Trains both stages, generates digits and writes the report.

  Interrupted trainings resume. Compiled programs are kept on disk, see
  `compilation.keep`.

  Args:
    out: Folder for all files: the workdirs `rqvae/` and `rqtransformer/`, the
      cache `features/`, `samples.npz`, `samples.png`, `report.json` and
      `report.html`.
    seed: Seed of both trainings and of the generated digits, in [0, 2**32).

  Returns:
    The contents of `report.json`.

  Raises:
    ValueError: If the seed is out of range. Nothing is written then.
  """
  config_lib.check_seed(seed)
  compilation.keep()
  folder = epath.Path(files.path(out, 'out'))
  seconds = json.loads(os.environ.get('RQ_JAX_SETUP_SECONDS', '{}'))
  stage1, stage2 = _experiments(folder, seed)
  with _phase(seconds, 'RQ-VAE', 'Stage 1 of 2: training the RQ-VAE.'):
    run.train(stage1, folder / 'rqvae')
  with _phase(seconds, 'encoding', 'Encoding the digits for stage 2.'):
    tokenizer = Tokenizer.restore(str(folder / 'rqvae'))
    encode.encode(tokenizer, stage1.data, str(folder / 'features'))
  with _phase(
      seconds, 'RQ-Transformer', 'Stage 2 of 2: training the RQ-Transformer.'
  ):
    run.train(stage2, folder / 'rqtransformer')
  with _phase(seconds, 'sampling', 'Generating 100 digits of each class.'):
    images, labels = _draw(folder, seed)
  with _phase(seconds, 'evaluation', 'Evaluating the generated digits.'):
    train, test = _split(stage1, 'train'), _split(stage1, 'test')
    figures = digits.figures(images, labels, *train, *test)
    figures |= _tokenizer_figures(folder / 'rqvae', stage1)
  seconds['total'] = sum(seconds.values())
  report = {
      **figures,
      'seed': seed,
      'seconds': {name: round(value, 1) for name, value in seconds.items()},
      'settings': {
          'RQ-VAE': config_lib.flatten(stage1),
          'RQ-Transformer': config_lib.flatten(stage2),
      },
      'versions': versions.of(*_VERSIONS),
  }
  files.write_json(folder / 'report.json', report)
  _write_page(folder, report, tokenizer, train, test, images)
  _tell(folder, report)
  return report


def _experiments(
    folder: epath.Path, seed: int
) -> tuple[Experiment, Experiment]:
  """The experiments of both stages."""
  return (
      _load('rqvae.py', {'seed': seed, 'train.eval_steps': _EVAL_STEPS}),
      _load(
          'rqtransformer.py',
          {
              'seed': seed,
              'tokenizer': str(folder / 'rqvae'),
              'data.path': str(folder / 'features'),
          },
      ),
  )


def _load(name: str, values: dict[str, Any]) -> Experiment:
  path = _CONFIGS / name
  if not path.exists():
    raise ValueError(
        f'{path} does not exist. The quickstart needs a clone of the repository'
        ' that was installed with pip install --editable.'
    )
  return config_lib.load(str(path), overrides=values)


@contextlib.contextmanager
def _phase(seconds: dict[str, float], name: str, title: str) -> Iterator[None]:
  console.tell(f'\n{title}')
  start = time.perf_counter()
  yield
  seconds[name] = time.perf_counter() - start
  console.tell(f'Done in {seconds[name]:.0f} s.')


def _draw(folder: epath.Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Generates the digits, at temperature 1 and without filters."""
  sampler = sampling.Sampler.restore(str(folder / 'rqtransformer'))
  count = _PER_CLASS * sampler.prior.num_classes
  chosen = conditions.choose(sampler.prior, num_images=count)
  images = drawing.Drawing(
      sampler=sampler, conditions=chosen, seed=seed
  ).images()
  labels = chosen.rows(0, count)['labels']
  with files.whole(folder / 'samples.npz') as file:
    np.savez_compressed(file, images=images, labels=labels)
  return images, labels


def _split(config: Experiment, split: str) -> tuple[np.ndarray, np.ndarray]:
  source = sources.open_source(config.data, split)
  examples = [source[i] for i in range(len(source))]
  return (
      np.stack([e['image'] for e in examples]),
      np.stack([e['label'] for e in examples]),
  )


def _tokenizer_figures(
    workdir: epath.Path, config: Experiment
) -> dict[str, Any]:
  """Figures of the RQ-VAE, from the metrics that its training logged."""
  lines = metrics.read_metrics(workdir)
  held_out = [line for line in lines if 'eval/mse' in line][-1]
  training = [
      line['train/quantization_error']
      for line in lines
      if 'train/quantization_error' in line
  ]
  depth = config.model.code_shape[2]
  return {
      'psnr_by_depth': [
          held_out[f'eval/psnr_depth{d}'] for d in range(1, depth + 1)
      ],
      # The mean over the last tenth of training: single batches are noisy.
      'quantization_gap': held_out['eval/quantization_error']
      / float(np.mean(training[-max(1, len(training) // 10) :])),
      'codebook_perplexity': held_out['eval/codebook_perplexity']
      / config.model.codebook_size,
  }


def _write_page(folder, report, tokenizer, train, test, images) -> None:
  generated = pictures.grid(images[:100], columns=10)
  pictures.write_png(folder / 'samples.png', generated)
  codes = np.asarray(tokenizer.encode(test[0]))
  first = _by_class(test[1], rows=1)
  page.write_report(
      folder / 'report.html',
      report,
      pictures={
          'generated': generated,
          'real': pictures.grid(
              train[0][_by_class(train[1], rows=10)], columns=10
          ),
      },
      curves=_curves(folder),
      by_depth=reconstructions.by_depth(
          tokenizer, codes[first], test[0][first]
      ),
      code_counts=np.bincount(
          codes.ravel(), minlength=tokenizer.model.codebook_size
      ).tolist(),
  )


def _by_class(labels: np.ndarray, rows: int) -> np.ndarray:
  """Indices of the first images of each class, row by row: int[rows * 10]."""
  columns = [np.flatnonzero(labels == digit)[:rows] for digit in range(10)]
  return np.stack(columns, axis=1).ravel()


def _curves(
    folder: epath.Path,
) -> dict[str, dict[str, list[tuple[int, float]]]]:
  """Series of the charts: chart -> name -> (step, value) pairs."""
  charts = {
      'RQ-VAE: loss': ('rqvae', {'training': 'train/loss'}),
      'RQ-VAE: held-out PSNR by depth, dB': (
          'rqvae',
          {f'depth {d}': f'eval/psnr_depth{d}' for d in range(1, 5)},
      ),
      'RQ-VAE: codebook perplexity': (
          'rqvae',
          {'training': 'codebook/perplexity'},
      ),
      'RQ-Transformer: training loss by depth': (
          'rqtransformer',
          {f'depth {d}': f'train/loss_depth{d}' for d in range(1, 5)},
      ),
  }
  return {
      title: {
          label: [
              (line['step'], line[name])
              for line in metrics.read_metrics(folder / run)
              if line.get(name) is not None
          ]
          for label, name in series.items()
      }
      for title, (run, series) in charts.items()
  }


def _tell(folder: epath.Path, report: dict[str, Any]) -> None:
  """Prints every figure with its verdict, the time, and where the page is."""
  console.tell()
  for key, met in digits.verdicts(report).items():
    value = report[key]
    shown = (
        ' '.join(f'{v:.1f}' for v in value)
        if isinstance(value, list | tuple)
        else f'{value:.3f}'
    )
    mark = 'met' if met else 'MISSED'
    console.tell(f'{digits.TARGETS[key].title:44}{shown:>24}  {mark}')
  seconds = f'{report["seconds"]["total"]:.0f} s'
  console.tell(f'{"Total time":44}{seconds:>24}  typical: {page.TYPICAL_TIME}')
  console.tell(f'\nOpen {folder / "report.html"} in a browser.')
