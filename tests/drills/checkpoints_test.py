"""No damage of a checkpoint or a copy is silent. Takes about 20 minutes."""

import json
import shutil

import numpy as np
import pytest

from rq_jax.sampling import Sampler
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import stage1
from rq_jax.training import stage2
from tests import tiny
from tests.drills import checkpoint_damage as damage

pytestmark = [
    pytest.mark.drill,
    # If reading fails, tensorstore still ends other reads.
    pytest.mark.filterwarnings(
        'ignore::pytest.PytestUnraisableExceptionWarning'
    ),
]

FLIPS = 250  # In each of four folders.
CONFIG_FLIPS = 1000  # In each of two.
CODES = np.arange(8, dtype=np.int32).reshape(2, 2, 2)[None] % tiny.WORDS


def training(stage):
  experiment = tiny.run_config(stage)
  build, more = stage1.build, {}
  if stage == 2:
    build = stage2.build
    more = dict(tokenizer=Tokenizer.restore(experiment.tokenizer))
  task = build(experiment, tiny.one_device(), total_steps=12, **more)
  return damage.Training(stage=stage, experiment=experiment, task=task)


def tokenizer(folder):
  """A tokenizer and a picture that it decodes."""
  restored = Tokenizer.restore(folder)
  picture = damage.bits(restored.decode(CODES))
  return restored.model, damage.contents(restored.variables), picture


def sampler(folder):
  """All that decides what a generator draws."""
  restored = Sampler.restore(folder)
  return (
      restored.prior,
      damage.contents(restored.prior_variables),
      restored.tokenizer.model,
      damage.contents(restored.tokenizer.variables),
      damage.bits(restored.tokenizer.decode(CODES)),
      restored.sampling,
      restored.class_names,
  )


def folders():
  """How to restore what, and folders in it that this does not read."""
  first, second = tiny.finished_run(1), tiny.finished_run(2)
  return {
      'training, stage 1': (first, training(1), ['10']),
      'training, stage 2': (second, training(2), ['10']),
      'copy': (second / 'tokenizer', tokenizer, []),
      'sampler': (second, sampler, ['10']),
  }


@pytest.fixture(
    params=['training, stage 1', 'training, stage 2', 'copy', 'sampler']
)
def drill(request, tmp_path):
  sound, restore, without = folders()[request.param]
  drill = damage.Drill(sound, tmp_path, restore)
  drill.without = without
  yield drill
  print(f'{request.node.name}: {dict(drill.counts)}')
  assert not drill.wrong, drill.wrong


def test_flipped_bits(drill):
  rng = np.random.default_rng(0)
  for _ in range(FLIPS):
    drill(
        lambda copy: damage.flip(
            rng, damage.files_of(copy, without=drill.without)
        )
    )
  assert drill.counts['back'] + drill.counts['refused'] > FLIPS / 8


def test_flipped_bits_of_config_json(drill):
  if isinstance(drill._restore, damage.Training):
    pytest.skip('The experiment that is passed decides.')
  rng = np.random.default_rng(1)
  for _ in range(CONFIG_FLIPS):
    drill(lambda copy: damage.flip(rng, [copy / 'config.json']))
  assert drill.counts['refused'] > CONFIG_FLIPS / 2


def test_truncated_empty_and_missing_files(drill):
  names = [
      file.relative_to(drill._fresh())
      for file in damage.files_of(drill._fresh(), without=drill.without)
  ]

  def cut(name, share):
    def apply(copy):
      content = (copy / name).read_bytes()
      (copy / name).write_bytes(content[: int(len(content) * share)])
      return f'{name} cut to {share}'

    return apply

  def remove(name):
    def apply(copy):
      (copy / name).unlink()
      return f'{name} removed'

    return apply

  for name in names:
    for share in (0, 0.5, 0.99):
      drill(cut(name, share))
    drill(remove(name))


def test_swapped_files(drill):
  """Every file and folder of the newest step takes the place of another."""
  if drill.without != ['10']:
    pytest.skip('It has one step.')
  steps = drill._fresh() / 'checkpoints'
  inside = sorted((steps / '12').iterdir())
  names = ['', *(path.name for path in inside)]
  names += ['state/_METADATA', 'state/manifest.ocdbt', 'state/ocdbt.process_0']

  def exchange(name):
    def apply(copy):
      a, b = (copy / 'checkpoints' / step / name for step in ('10', '12'))
      kept = a.with_name('kept')
      a.rename(kept)
      b.rename(a)
      kept.rename(b)
      return f'{name or "all"} of two steps exchanged'

    return apply

  def overwrite(name):
    def apply(copy):
      a, b = (copy / 'checkpoints' / step / name for step in ('10', '12'))
      (shutil.copytree if a.is_dir() else shutil.copy)(
          a, b, **(dict(dirs_exist_ok=True) if a.is_dir() else {})
      )
      return f'{name or "all"} of an older step'

    return apply

  for name in names:
    drill(exchange(name))
    drill(overwrite(name))
  # At least the whole step and its state, meta and manifest.
  assert drill.counts['back'] >= 4


def test_the_config_of_another_run(drill):
  if isinstance(drill._restore, damage.Training):
    pytest.skip('The experiment that is passed decides.')
  for field, value in [('norm_groups', 2), ('dropout', 0.25), ('seed', 1)]:

    def change(copy, field=field, value=value):
      file = copy / 'config.json'
      raw = json.loads(file.read_text())
      (raw['model'] if field in raw['model'] else raw)[field] = value
      file.write_text(json.dumps(raw))
      return field

    raw = json.loads((drill._fresh() / 'config.json').read_text())
    if field not in raw and field not in raw['model']:
      continue
    before = drill.counts['refused']
    assert field in drill(change)
    assert drill.counts['refused'] == before + 1
