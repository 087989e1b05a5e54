"""Inspects a dataset or an RQ-VAE: measures, prints, and writes a page."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from etils import epath
import jax.numpy as jnp
import numpy as np

from rq_jax import compilation
from rq_jax import files
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.checkpoints import stored
from rq_jax.config import rules
from rq_jax.config import sections
from rq_jax.data import sources
from rq_jax.data import subset
from rq_jax.data import transforms
from rq_jax.data.sources import splits
from rq_jax.distributed import console
from rq_jax.jobs import reconstructions
from rq_jax.jobs.inspect import data as data_lib
from rq_jax.jobs.inspect import data_advice
from rq_jax.jobs.inspect import page
from rq_jax.jobs.inspect import reading
from rq_jax.jobs.inspect import text
from rq_jax.jobs.inspect import tokenizer as measuring
from rq_jax.jobs.inspect import tokenizer_advice
from rq_jax.tokenizer import Tokenizer

_ENCODED = 1000  # Images of each split that an RQ-VAE encodes by default.
_SHOWN = 10  # Images in a strip, classes, and groups of copies.
_STRIP_PIXELS = 64  # Side of an image in a strip.


def inspect_data(
    data: sections.Data, *, num_images: int | None, out: str | None
) -> None:
  """Describes a dataset.

  Args:
    data: The section `data` of an experiment.
    num_images: Largest number of images that are read of each split; None for
      all.
    out: Folder for the page and `report.json`; None to write nothing.

  Raises:
    ValueError: If there is no image, or none that can be read, or if the folder
      cannot be written.
  """
  _check_folder(out)
  found = reading.read(data, num_images=num_images)
  _check_readable(found)
  report = {
      'path': data.path,
      'source': data.source,
      **data_lib.describe(found),
  }
  size, reason = data_advice.image_size(report)
  report |= {
      'suggested_size': size,
      'reason': reason,
      'warnings': data_advice.warnings(report),
      'next': data_advice.command(report, size),
  }
  console.tell(text.of_data(report))
  if out is not None:
    files.write_json(epath.Path(out) / 'report.json', report)
    page.write_data(
        epath.Path(out) / 'report.html',
        report,
        _class_strips(found, report),
        _copies(found, report),
    )
  _tell_next(out, report)


def inspect_tokenizer(
    tokenizer: str,
    data: sections.Data,
    *,
    num_images: int | None,
    out: str | None,
) -> None:
  """Describes a trained RQ-VAE.

  Args:
    tokenizer: Workdir of the RQ-VAE, or a converted checkpoint.
    data: The section `data` of an experiment: images to encode.
    num_images: Largest number of images that are encoded of each split; None
      for 1,000.
    out: Folder for the page and `report.json`; None to write nothing.

  Raises:
    ValueError: If there is no RQ-VAE, or no image, or if the folder cannot be
      written.
  """
  compilation.keep()
  rules.check_images(data)
  _check_folder(out)
  opened = {name: sources.open_source(data, name) for name in splits.SPLITS}
  restored = Tokenizer.restore(tokenizer)
  data = dataclasses.replace(data, image_size=restored.model.image_size)
  samples = {
      name: subset.Subset(
          source, reading.spaced(len(source), num_images or _ENCODED)
      )
      for name, source in opened.items()
  }
  report, hits = _measure(restored, data, samples)
  trained_on = stored.read_config(tokenizer).data
  report = {
      'tokenizer': str(tokenizer),
      'other_images': trained_on.path != data.path,
      **report,
  }
  report['warnings'] = tokenizer_advice.warnings(report)
  report['next'] = tokenizer_advice.commands(report)
  console.tell(text.of_tokenizer(report))
  if out is not None:
    files.write_json(epath.Path(out) / 'report.json', report)
    images = measuring.examples(data, samples['test'], _SHOWN)
    page.write_tokenizer(
        epath.Path(out) / 'report.html',
        report,
        _by_depth(restored, images),
        hits.sum(axis=0),
    )
  _tell_next(out, report)


def _measure(
    tokenizer: Tokenizer,
    data: sections.Data,
    samples: Mapping[str, subset.Subset],
) -> tuple[dict[str, Any], np.ndarray]:
  """Figures of an RQ-VAE, and how often each code was used: int64[D, K]."""
  console.tell('Encoding images. The first batch compiles, so it takes longer.')
  described, hits = {}, []
  for name, sample in samples.items():
    described[name], used = measuring.describe_split(
        tokenizer, data, sample, f'{name} images'
    )
    hits.append(used)
  total = np.sum(hits, axis=0)
  return {
      'path': data.path or data.source,
      'source': data.source,
      'code_shape': tokenizer.model.code_shape,
      'codewords': sum(len(words) for words in tokenizer.codebooks),
      'used': measuring.codebook_use(tokenizer, total),
      'splits': described,
      'temperature': measuring.temperatures(
          tokenizer, data, samples['train'].source
      ),
  }, total


def _check_folder(out: str | None) -> None:
  """Makes the folder first, so that a wrong path is an early error."""
  if out is None:
    return
  try:
    epath.Path(out).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
        f'--out={out} cannot be written: {error.strerror}. Choose another'
        ' folder, or change its permissions.'
    ) from error


def _check_readable(found: Mapping[str, reading.Split]) -> None:
  if any(len(split.rows) for split in found.values()):
    return
  broken = [b for split in found.values() for b in split.broken]
  raise ValueError(
      f'None of the {len(broken):,} inspected images can be read. The first:'
      f' {broken[0].reason}'
  )


def _tell_next(out: str | None, report: Mapping[str, Any]) -> None:
  if out is None:
    console.tell('--out=FOLDER writes this report as a page with pictures.')
  else:
    console.tell(f'Open {epath.Path(out) / "report.html"} in a browser.')
  console.tell(f'Next:\n\n{report["next"]}')


def _class_strips(
    found: Mapping[str, reading.Split], report: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Training images of the first classes by name, uint8[n, Y, X, 3]."""
  split = found['train'] if len(found['train'].rows) else found['test']
  strips = {}
  for label, described in enumerate(report['classes'][:_SHOWN]):
    members = split.rows['index'][split.rows['label'] == label]
    chosen = members[reading.spaced(len(members), _SHOWN)]
    if len(chosen):
      # A source without classes has one label and no name for it.
      name = described['name'] if len(report['classes']) > 1 else 'images'
      strips[name] = _strip([(split, int(i)) for i in chosen])
  return strips


def _copies(
    found: Mapping[str, reading.Split], report: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Some groups of equal or similar images, by the names of their files."""
  strips = {}
  for key in ('duplicates', 'similar'):
    for group in report[key]['groups'][:_SHOWN]:
      members = group[:_SHOWN]
      names = ', '.join(f'{m["name"]} ({m["split"]})' for m in members)
      strips[names] = _strip([(found[m['split']], m['index']) for m in members])
  return strips


def _strip(members: list[tuple[reading.Split, int]]) -> np.ndarray:
  """Images cropped to the same size: uint8[n, Y, X, 3]."""
  images = [
      transforms.evaluate(
          split.source[index]['image'], image_size=_STRIP_PIXELS
      )
      for split, index in members
  ]
  return np.asarray(tokenizer_lib.to_uint8(jnp.asarray(np.stack(images))))


def _by_depth(tokenizer: Tokenizer, images: np.ndarray) -> np.ndarray:
  codes = np.asarray(tokenizer.encode(images))
  return reconstructions.by_depth(tokenizer, codes, images)
