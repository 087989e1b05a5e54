r"""Computes metrics of images, such as FID, Inception Score and PSNR.

  python -m rq_jax evaluate --samples=samples/ --reference=reference.npz \
      --inception=checkpoints/inception --out=report/samples
  python -m rq_jax evaluate --checkpoint=runs/digits/rqtransformer \
      --reference=test --inception=checkpoints/inception --out=report/digits
  python -m rq_jax evaluate --tokenizer=runs/digits/rqvae --reference=rfid \
      --out=report/rqvae

Give one of --samples, --checkpoint (its images are judged while they are drawn,
and no image file is written) and --tokenizer (judges reconstructions). A
--dialect sets how images are resized, scaled and compared, as the tool of that
name does. Writes results.json, and report.html with tables and images.

To resume after an interruption, run the same command again. Exit codes: 0
finished; 75 interrupted and resumable; 1 an error.
"""

from typing import TYPE_CHECKING, Any

from absl import flags

from rq_jax import config
from rq_jax.cli import classifier_flags
from rq_jax.cli import command
from rq_jax.cli import distributed_flags
from rq_jax.cli import drawing_flags

if TYPE_CHECKING:  # Parsing flags does not need JAX.
  from rq_jax.jobs.evaluate import request as request_lib

# Networks that `convert --from` names.
_CONVERTED = ('inception', 'vgg16', 'clip', 'lpips')
_NETWORKS = (*_CONVERTED, 'classifier')
_SOURCES = ('samples', 'checkpoint', 'tokenizer')
# Flags that have a meaning only for one source of images.
_ONLY = {
    'checkpoint': (
        'labels', 'tokens', 'num_images', 'seed', 'temperature', 'top_k',
        'top_p', 'guidance', 'guidance_schedule', 'step', 'ema', 'dtype',
        'model_parallel', 'text_tokenizer', 'verify',
    ),
    'tokenizer': ('data', 'split'),
}  # fmt: skip
_DRAWN = 50_000  # Images that are drawn by default.


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  _define_images(values)
  _define_metrics(values)
  drawing_flags.define_conditions(values)
  drawing_flags.define(values)
  drawing_flags.define_model(values)
  distributed_flags.define(values)
  return values


def _define_images(values: flags.FlagValues) -> None:
  """Defines the flags for samples and reference."""
  forms = (
      'a .npz file with arr_0, a folder that `sample` wrote, a folder of'
      ' images, a .tar file, or FOLDER:SPLIT for the split train or test of a'
      ' dataset'
  )
  command.define_path('samples', None, f'Images to judge: {forms}.', values)
  command.define_path(
      'checkpoint', None, 'Model whose images are drawn and judged.', values
  )
  command.define_path(
      'tokenizer', None, 'RQ-VAE whose reconstructions are judged.', values
  )
  command.define_path(
      'reference',
      None,
      f'What images are compared with: {forms}; a file of statistics (.npz or'
      ' .pt) of any of the tools; train or test, for a split of the images that'
      ' the model was trained on; or rfid, for the originals of'
      ' reconstructions.',
      values,
  )
  command.define_path(
      'data',
      None,
      'With --tokenizer: folder of a dataset, instead of the one that it was'
      ' trained on.',
      values,
  )
  flags.DEFINE_enum(
      'split',
      'test',
      ['train', 'test'],
      'With --tokenizer: the split that is reconstructed.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'image_size',
      None,
      'Resizes and crops the images of --samples and --reference to squares of'
      ' this size, as training does. By default, all must have one size, and'
      ' keep it.',
      lower_bound=1,
      flag_values=values,
  )
  command.define_path('out', None, 'Folder for the results.', values)


def _define_metrics(values: flags.FlagValues) -> None:
  """Defines the flags for metrics and their networks."""
  flags.DEFINE_list(
      'metrics',
      None,
      'fid, sfid, is, precision_recall, kid, psnr, ssim, lpips, clip_score,'
      ' clip_fid, class_accuracy, classifier_fid; by default all that the'
      ' dialects and the given networks allow.',
      flag_values=values,
  )
  flags.DEFINE_list(
      'dialect',
      ['adm'],
      'Tools whose numbers are computed, in one pass: adm, pytorch-fid,'
      ' torch-fidelity, clean-fid, rq.',
      flag_values=values,
  )
  for name in _CONVERTED:
    command.define_path(
        name, None, f'Folder that `convert --from={name}` wrote.', values
    )
  classifier_flags.define(
      values, use='Needed by class_accuracy and classifier_fid.'
  )
  flags.DEFINE_bool(
      'intervals',
      True,
      'Whether to compute 95 % intervals, and distances against N.',
      flag_values=values,
  )
  command.define_path(
      'save_reference',
      None,
      'File (.npz) for the statistics of a reference that is given as images,'
      ' and for its features if precision_recall or kid are computed.',
      values,
  )
  flags.DEFINE_integer(
      'chunk_size',
      128,
      'Number of images that are drawn or read, and judged, together.',
      lower_bound=1,
      flag_values=values,
  )


def main(argv: list[str]) -> int:
  """Parses the flags and evaluates; returns the exit code."""
  return command.run(_define_flags(), argv, __doc__, _evaluate, resumable=True)


def _evaluate(values: flags.FlagValues) -> None:
  given = [name for name in _SOURCES if values[name].value is not None]
  if len(given) != 1:
    named = ', '.join(f'--{name}' for name in given) or 'none'
    raise ValueError(
        f'Give one of --samples, --checkpoint and --tokenizer, not {named}.'
    )
  command.require(values, 'out')
  _refuse(values, given[0])
  config.check_seed(values.seed)
  from rq_jax.distributed import console
  from rq_jax.jobs.evaluate import setup
  from rq_jax.jobs.evaluate import text

  asked = drawing_flags.given(values)
  distributed_flags.join(values)
  found, sentence = setup.evaluate(_request(values, given[0], asked))
  console.tell(text.table(found))
  console.tell(sentence)
  console.tell(f'Open {values.out}/report.html in a browser.')


def _refuse(values: flags.FlagValues, source: str) -> None:
  """Refuses flags that have no meaning for this source of images."""
  others = {n for key in _ONLY if key != source for n in _ONLY[key]}
  if source == 'tokenizer':
    others.add('image_size')
  for name in sorted(others):
    command.refuse(values, name, unless=not values[name].present)
  command.refuse(
      values, 'classifier_classes', unless=values.classifier is not None
  )
  if values.reference == 'rfid' and source != 'tokenizer':
    raise ValueError(
        '--reference=rfid compares reconstructions with their originals, so it'
        ' needs --tokenizer.'
    )


def _request(
    values: flags.FlagValues, source: str, asked: Any
) -> 'request_lib.Request':
  """Opens the images; refuses what is impossible before restoring a model."""
  from rq_jax.jobs.evaluate import request as request_lib
  from rq_jax.jobs.evaluate import setup

  _, kind, texts = asked
  fields = dict(
      out=values.out,
      save_reference=values.save_reference,
      metrics=values.metrics,
      dialects=values.dialect,
      networks={
          name: path
          for name in _NETWORKS
          if (path := values[name].value) is not None
      },
      prompts=texts if kind == 'prompts' else None,
      **_reference(values, source),
  )
  setup.check(**fields)
  return request_lib.Request(
      **(fields | _samples(values, source, asked)),
      classes=values.classifier_classes,
      intervals=values.intervals,
      chunk_size=values.chunk_size,
  )


def _reference(values: flags.FlagValues, source: str) -> dict[str, Any]:
  """What the samples are compared with, as arguments of `request.Request`."""
  from rq_jax.jobs.evaluate import opening
  from rq_jax.jobs.evaluate import own_images

  given = values.reference
  if source == 'tokenizer' and given in (None, 'rfid'):
    return dict(compares_pairs=True)  # `_samples` adds the originals.
  if given is None:
    return {}
  if given in ('train', 'test') and source != 'samples':
    model = values.checkpoint or values.tokenizer
    return dict(reference=own_images.split_of(model, given))
  return opening.open_reference(given, image_size=values.image_size)


def _samples(
    values: flags.FlagValues, source: str, asked: Any
) -> dict[str, Any]:
  """The images to judge, as arguments of `request.Request`."""
  from rq_jax.jobs.evaluate import opening
  from rq_jax.jobs.evaluate import own_images

  if source == 'samples':
    return dict(
        samples=opening.open_images(
            values.samples, flag='--samples', image_size=values.image_size
        )
    )
  if source == 'checkpoint':
    drawing, origin = drawing_flags.restore(
        values,
        asked,
        chunk_size=values.chunk_size,
        num_images=None if values.prompts else _DRAWN,
    )
    return dict(samples=own_images.drawn(drawing, origin))
  originals, samples = own_images.reconstructed(
      values.tokenizer, values.split, data=values.data
  )
  if values.reference in (None, 'rfid'):
    return dict(samples=samples, reference=originals)
  return dict(samples=samples)
