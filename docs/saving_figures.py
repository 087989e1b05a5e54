"""Measures how long a save stalls the training loop, and what hashes cost.

  python docs/saving_figures.py

It saves a state of 200 MB in 240 arrays six times, while no other save is under
way, and restores it four times. The first save compiles. It takes about half a
minute on two CPU cores.
"""

import statistics
import sys
import tempfile
import time

from absl import flags
import jax
import numpy as np

from rq_jax.checkpoints import manifests
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.cli import command

_LAYERS = 6
_SHAPES = {
    'qkv': (512, 1536),
    'out': (512, 512),
    'up': (512, 1024),
    'down': (1024, 512),
    **{f'bias{i}': (512,) for i in range(6)},
}
# Parameters, their averages, and Adam's moments.
_TREES = ('params', 'ema_params', 'mu', 'nu')
_SAVES, _RESTORES = 6, 4


def make_state():
  """A state of random arrays, float32."""
  rng = np.random.default_rng(0)
  return jax.device_put(
      {
          tree: {
              f'layer{i}': {
                  name: rng.standard_normal(shape, np.float32)
                  for name, shape in _SHAPES.items()
              }
              for i in range(_LAYERS)
          }
          for tree in _TREES
      }
  )


def timed(function) -> float:
  """Seconds that a call takes, until the devices have finished."""
  start = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - start


def measure(values: flags.FlagValues) -> None:
  """Prints the seconds of saving, restoring and comparing."""
  del values
  state = jax.block_until_ready(make_state())
  leaves = jax.tree.leaves(state)
  size = sum(leaf.nbytes for leaf in leaves)
  print(f'{size / 1e6:.0f} MB in {len(leaves)} arrays')
  abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state
  )
  shardings = jax.tree.map(lambda x: x.sharding, state)
  with tempfile.TemporaryDirectory() as folder:
    with runs.Checkpoints(folder, keep=2) as checkpoints:
      stalls = []
      for step in range(1, _SAVES + 1):
        stalls.append(
            timed(lambda s=step: checkpoints.save(s, state, {'step': s}))
        )
        checkpoints.wait()
      print(
          f'stall of the first save: {stalls[0]:.3f} s; median of the others:'
          f' {statistics.median(stalls[1:]):.3f} s'
      )
      restoring = [
          timed(lambda: checkpoints.restore(_SAVES, abstract, shardings)[0])
          for _ in range(_RESTORES)
      ]
    manifest = steps.described(folder, _SAVES).manifest
    arrays = manifests.flat(state)
    comparing = [
        timed(lambda: manifests.check_arrays(manifest, arrays))
        for _ in range(_RESTORES)
    ]
  print(
      f'restoring: {statistics.median(restoring):.3f} s, of which comparing'
      f' hashes takes {statistics.median(comparing):.3f} s'
  )


if __name__ == '__main__':
  sys.exit(command.run(command.new_flags(), sys.argv, __doc__, measure))
