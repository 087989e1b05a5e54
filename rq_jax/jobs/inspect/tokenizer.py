"""Figures of a trained RQ-VAE: codebook, reconstructions, features, targets."""

from collections.abc import Iterator
import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import compiler_options
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.data import loader
from rq_jax.data import sources
from rq_jax.data import subset
from rq_jax.distributed import progress
from rq_jax.evaluation import reconstruction
from rq_jax.jobs.inspect import features as features_lib
from rq_jax.jobs.inspect import reading
from rq_jax.models import soft_targets
from rq_jax.tokenizer import Tokenizer

# Temperatures that are compared, in multiples of the suggested one.
MULTIPLES = (0.1, 0.5, 1.0, 2.0, 10.0)
_BATCH = 32
_SEARCHED = 16  # Images per shown image that are searched for classes.


def describe_split(
    tokenizer: Tokenizer, data: sections.Data, sample: subset.Subset, name: str
) -> tuple[dict[str, Any], np.ndarray]:
  """Figures of a split, as values that JSON can hold, and the use of codes.

  Args:
    tokenizer: The RQ-VAE.
    data: The section `data` of an experiment.
    sample: The examples to encode.
    name: Name of the split, for the progress bar.

  Returns:
    The figures, and how often each code was used at each depth, int64[D, K].
  """
  depth = tokenizer.model.code_shape[2]
  sizes = tokenizer.model.make_quantizer().sizes
  hits = np.zeros((depth, max(sizes)), np.int64)
  pixels, residuals = np.zeros(depth), np.zeros(depth)
  features, images_read = features_lib.Features(), 0
  for images, found, valid in _encoded(tokenizer, data, sample, name):
    codes, squared, residual = jax.device_get(
        _reconstructed(tokenizer.model, tokenizer.variables, images, found)
    )
    pixels += np.sum(squared[:, valid], axis=1, dtype=np.float64)
    residuals += np.sum(residual[:, valid], axis=1, dtype=np.float64)
    for d, code in enumerate(np.moveaxis(codes[valid], -1, 0)):
      hits[d] += np.bincount(code.ravel(), minlength=hits.shape[1])
    features.add(np.asarray(found)[valid])
    images_read += int(valid.sum())
  mse = pixels / images_read
  return {
      'images': images_read,
      'of': len(sample.source),
      'codes': int(hits[0].sum()),  # At each depth.
      'mse': mse.tolist(),
      'psnr': np.asarray(reconstruction.psnr(jnp.asarray(mse))).tolist(),
      'quantization_error': (residuals / features.deviation).tolist(),
      'used': [
          np.count_nonzero(h[:k]) / k for h, k in zip(hits, sizes, strict=True)
      ],
      'perplexity': [perplexity(h) for h in hits],
      'features': features.figures(),
  }, hits


def perplexity(counts: np.ndarray) -> float:
  """Exponential of the entropy of how often each code was used: int[K]."""
  shares = counts[counts > 0] / counts.sum()
  return float(np.exp(-np.sum(shares * np.log(shares))))


def codebook_use(tokenizer: Tokenizer, hits: np.ndarray) -> float:
  """Share of all codewords that were used at any depth.

  Args:
    tokenizer: The RQ-VAE.
    hits: How often each code was used at each depth, int[D, K].
  """
  model = tokenizer.model
  if model.shared_codebook:
    hits = hits.sum(axis=0, keepdims=True)
  sizes = model.make_quantizer().sizes[: len(hits)]
  return float(np.count_nonzero(hits) / sum(sizes))


def temperatures(
    tokenizer: Tokenizer, data: sections.Data, source: sources.Examples
) -> dict[str, Any]:
  """The suggested temperature, and the perplexity of the targets at others.

  Args:
    tokenizer: The RQ-VAE.
    data: The section `data` of an experiment.
    source: The training images.
  """
  chosen = soft_targets.chosen(len(source))
  sample = subset.Subset(source, chosen)
  found = [
      np.asarray(features)[valid]
      for _, features, valid in _encoded(
          tokenizer, data, sample, 'soft targets'
      )
  ]
  vectors, codebooks = soft_targets.of_tokenizer(
      tokenizer.model, tokenizer.variables, np.concatenate(found)
  )
  suggested = soft_targets.suggest_temperature(vectors, codebooks)
  return {
      'suggested': suggested,
      'vectors': len(vectors),
      'codewords': [len(words) for words in codebooks],
      'perplexity': [
          {
              'multiple': multiple,
              'temperature': multiple * suggested,
              'by_depth': soft_targets.target_perplexity(
                  vectors, codebooks, multiple * suggested
              ).tolist(),
          }
          for multiple in MULTIPLES
      ],
  }


def _encoded(
    tokenizer: Tokenizer, data: sections.Data, sample: subset.Subset, name: str
) -> Iterator[tuple[np.ndarray, jax.Array, np.ndarray]]:
  """Batches of images, float32[B, H, W, 3], their features, and bool[B].

  The last batch is filled up with images that are not valid.
  """
  batches = loader.eval_batches(
      sample,
      transform=loader.image_transform(data, train=False),
      batch_size=min(_BATCH, len(sample)),
      max_errors=loader.error_limit(data),
  )
  bar = progress.bar(total=len(sample), unit='image', desc=name)
  with contextlib.closing(batches), bar:
    for batch in batches:
      features = tokenizer_lib.features_known(
          tokenizer, jnp.asarray(batch['image'])
      )
      valid = batch['valid']
      yield batch['image'], features, valid
      bar.update(int(valid.sum()))


@functools.partial(
    compiler_options.Jitted,
    options=compiler_options.convolutions,
    static_argnums=0,
)
def _reconstructed(model, variables, images, features):
  """Codes, and errors by depth: int32[B, h, w, D], float32[D, B] twice.

  The errors are the mean squared error of the pixels, and the squared error of
  the features, summed over an image.
  """
  codes = model.apply(variables, features, method='quantize').codes

  def errors(depth):
    sums = model.apply(variables, codes, depth=depth, method='embed')
    recons = model.apply(variables, sums, method='decode')
    squared = jnp.square(jnp.clip(recons, -1, 1) - images)
    residuals = jnp.square(features - sums)
    return jnp.mean(squared, axis=(1, 2, 3)), jnp.sum(residuals, axis=(1, 2, 3))

  depths = jnp.arange(1, model.code_shape[2] + 1, dtype=jnp.int32)
  return codes, *jax.lax.map(errors, depths)


def examples(
    data: sections.Data, sample: subset.Subset, most: int
) -> np.ndarray:
  """Images to show, one of each class first: uint8[n, H, W, 3].

  Args:
    data: The section `data` of an experiment.
    sample: Held-out examples.
    most: Largest number of images.
  """
  labels = {}
  for index in reading.spaced(len(sample), _SEARCHED * most).tolist():
    with contextlib.suppress(image_files.BrokenImageError):
      labels[index] = int(sample[index]['label'])
  looked_at = np.array(list(labels))
  firsts = np.unique(list(labels.values()), return_index=True)[1]
  rest = np.setdiff1d(np.arange(len(looked_at)), firsts)
  chosen = looked_at[np.concatenate([firsts, rest])[:most]]
  shown = subset.Subset(sample, chosen)
  batches = loader.eval_batches(
      shown,
      transform=loader.image_transform(data, train=False),
      batch_size=len(shown),
      max_errors=loader.error_limit(data),
  )
  with contextlib.closing(batches):
    images = jnp.asarray(next(batches)['image'])
  return np.asarray(tokenizer_lib.to_uint8(images))
