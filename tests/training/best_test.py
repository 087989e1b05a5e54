"""A run keeps the checkpoint that it evaluated best, also over restarts."""

import dataclasses

from tests.training import toy


def run(folder, values, *, steps):
  """A run whose evaluations have these values, in order."""
  values = iter(values)
  stage = dataclasses.replace(
      toy.STAGE, summarize=lambda task, sums: {'mse': next(values)}
  )
  config = toy.experiment(
      checkpoint_steps=1,
      eval_steps=1,
      eval_images=8,
      keep_checkpoints=1,
      keep_best='eval/mse',
      keep_every=3,
  )
  toy.run(folder, config=config, stage=stage, steps=steps)
  return toy.saved(folder)


def test_the_best_checkpoint_stays(tmp_path, capsys):
  # The last evaluation follows the last checkpoint, and counts for it.
  assert run(tmp_path, [5.0, 1.0, 4.0, 3.0, 0.5], steps=5) == [2, 3, 5]
  assert run(tmp_path, [2.0, 0.7, 3.0], steps=8) == [3, 5, 6, 8]
  (tmp_path / 'metrics.jsonl').unlink()
  capsys.readouterr()
  assert run(tmp_path, [0.1], steps=9) == [3, 5, 6, 9]
  # Those of steps 3 and 6 stay anyway.
  assert capsys.readouterr().out.count('it may be the best') == 1
