"""Restores the networks that a plan needs."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rq_jax import compiler_options
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import networks as stored_networks
from rq_jax.distributed import partitioning
from rq_jax.evaluation import classifiers
from rq_jax.evaluation import clip as clip_lib
from rq_jax.evaluation import extractors
from rq_jax.evaluation import similarity
from rq_jax.evaluation.dialects import Dialect
from rq_jax.jobs.evaluate import networks as networks_lib
from rq_jax.jobs.evaluate import plan as plan_lib
from rq_jax.training.stage1 import perceptual

# Numbers in a row of each array of the networks of dialects.
_WIDTHS = {'pool': 2048, 'spatial': 2023, 'logits': 1008, 'fc2': 4096}
_LPIPS_BATCH = 16


class Restored(NamedTuple):
  """The networks of a plan.

  Attributes:
    of_samples: What is computed of the samples.
    of_reference: What is computed of the images of the reference.
    clip: The CLIP, for texts; None if no metric needs it.
  """

  of_samples: Sequence[networks_lib.Network]
  of_reference: Sequence[networks_lib.Network]
  clip: clip_lib.Clip | None


def restore(
    plan: plan_lib.Plan,
    paths: Mapping[str, str],
    from_file: frozenset[str],
) -> Restored:
  """Restores the networks onto all devices of this process.

  Args:
    plan: The metrics.
    paths: Folders of the networks, by their flags.
    from_file: Metrics, by their titles, whose side of the reference comes from
      a file of statistics.

  Raises:
    ValueError: If a folder holds no such network.
  """
  devices = jax.local_devices()
  mesh = partitioning.make_mesh({'data': -1}, devices=devices)
  samples, reference, restored = [], [], {}
  for name in dict.fromkeys(measure.network for measure in plan.measures):
    measures = [m for m in plan.measures if m.network == name]
    network = _network(name, measures, paths, mesh, restored)
    samples.append(network)
    compared = {
        m.array
        for m in measures
        if m.needs_reference and m.title not in from_file
    }
    widths = {a: w for a, w in network.widths.items() if a in compared}
    if widths and not network.of_pairs:
      reference.append(dataclasses.replace(network, widths=widths))
  return Restored(samples, reference, restored.get('clip'))


def check(plan: plan_lib.Plan, paths: Mapping[str, str]) -> None:
  """Raises a ValueError if a folder holds no such network, before any is read.

  The perceptual network has no description, so only `restore` refuses others.
  """
  for kind in {m.network.partition('_')[0] for m in plan.measures}:
    if kind == 'classifier':
      classifiers.describe(paths[kind])
    elif kind not in ('pixels', 'lpips'):
      stored_networks.describe(paths[kind], kinds=(kind,), flag=f'--{kind}')


def _network(
    name: str,
    measures: Sequence[plan_lib.Measure],
    paths: Mapping[str, str],
    mesh: jax.sharding.Mesh,
    restored: dict[str, Any],
) -> networks_lib.Network:
  """One network; keeps a CLIP in `restored`."""
  arrays = dict.fromkeys(measure.array for measure in measures)
  kind = name.partition('_')[0]
  if kind == 'pixels':
    return _pixels(arrays)
  if kind == 'lpips':
    return _lpips(paths['lpips'], mesh)
  if kind == 'clip':
    restored[kind] = clip = clip_lib.restore(paths[kind], mesh)
    return networks_lib.Network(
        name=name,
        widths={'image': clip.model.embed_dim},
        extract=lambda images: {'image': clip.image(images)},
        described={
            'network': 'clip',
            'weights': clip.fingerprint,
            'resize': f'bicubic to {clip.model.image_size}, and cropped',
        },
    )
  if kind == 'classifier':
    classifier = classifiers.restore(paths[kind], mesh)
    return networks_lib.Network(
        name=name,
        widths={array: classifier.widths[array] for array in arrays},
        extract=classifier,
        described={
            **classifier.description,
            'weights': classifier.fingerprint,
            'resize': classifier.description['preprocessing'],
        },
    )
  dialect = _merged([m.dialect for m in measures if m.dialect is not None])
  make = {'inception': extractors.inception, 'vgg16': extractors.vgg16}[kind]
  extractor = make(dialect, paths[kind], mesh)
  return networks_lib.Network(
      name=name,
      widths={array: _WIDTHS[array] for array in arrays},
      extract=extractor,
      described=extractor.description,
  )


def _merged(dialects: Sequence[Dialect]) -> Dialect:
  """A dialect with all features of some that resize in the same way."""
  scores = [d.inception_score for d in dialects if d.inception_score]
  logits = {score.logits for score in scores}
  assert len(logits) <= 1, 'dialects that resize in the same way read the same'
  return dataclasses.replace(
      dialects[0],
      spatial=any(dialect.spatial for dialect in dialects),
      inception_score=scores[0] if scores else None,
  )


def _pixels(arrays: Mapping[str, None]) -> networks_lib.Network:
  functions = {'psnr': similarity.psnr, 'ssim': similarity.ssim}
  return networks_lib.Network(
      name='pixels',
      widths=dict.fromkeys(arrays, 1),
      extract=lambda images, others: {
          array: functions[array](images, others) for array in arrays
      },
      described={'weights': 'none', 'resize': 'unchanged'},
      of_pairs=True,
  )


def _lpips(path: str, mesh: jax.sharding.Mesh) -> networks_lib.Network:
  model, variables = perceptual.restore(path, mesh, flag='--lpips')

  @functools.partial(
      compiler_options.Jitted, options=compiler_options.convolutions
  )
  def distance(images: jax.Array, others: jax.Array) -> jax.Array:
    with jax.default_matmul_precision('highest'):
      pair = (x.astype(jnp.float32) / 127.5 - 1 for x in (images, others))
      return model.apply(variables, *pair)

  return networks_lib.Network(
      name='lpips',
      widths={'distance': 1},
      extract=functools.partial(_distances, distance),
      described={
          'network': 'lpips',
          'weights': inference_copy.fingerprint(variables),
          'resize': 'unchanged',
      },
      of_pairs=True,
  )


def _distances(distance, images, others):
  rows = networks_lib.in_batches(distance, images, others, size=_LPIPS_BATCH)
  return {'distance': rows}
