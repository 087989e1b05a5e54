"""Calls of the public API, for a type checker; see `api_test.py`.

Nothing here is run. A comment names the rule that a wrong call breaks; a line
without one is right.
"""

import pathlib

import jax
import numpy as np

import rq_jax


def right(images: np.ndarray, mesh: jax.sharding.Mesh) -> np.ndarray:
  """Calls that must be accepted."""
  tokenizer = rq_jax.Tokenizer.restore('runs/digits/rqvae', dtype='bfloat16')
  codes: jax.Array = tokenizer.encode(images)
  decoded: jax.Array = tokenizer.decode(codes, depth=2)
  tokenizer.features(jax.numpy.asarray(images))
  path = pathlib.Path('runs/digits/rqtransformer')
  sampler = rq_jax.Sampler.restore(path, mesh=mesh)
  key = jax.random.key(0)
  drawn: jax.Array = sampler(key, labels=[3, 7])
  sampler(key, labels=np.array([3, 7]), first_index=2)
  sampler(key, num_images=4, sampling=rq_jax.Sampling(top_p=[0.9, 1.0]))
  sampler(key, prompts=['a cat'], sampling=None)
  sampler.complete(key, codes, np.ones((4, 4), bool), labels=[3, 7])
  edited = sampler.edit(key, images, np.ones((32, 32), bool), labels=[3, 7])
  for partial in sampler.stream(key, tokens=np.zeros((1, 32), np.int32)):
    tokenizer.decode(partial)

  def score(images: jax.Array) -> np.ndarray:
    return np.asarray(images).mean((1, 2, 3))

  best = sampler.best_of(key, 16, score, labels=[3, 7])
  kept = sampler.rejection_sample(key, 0.05, score, labels=[3, 7])
  bits: jax.Array = sampler.log_prob(codes, labels=[3, 7]).bits_per_code
  sampler.logits(best.codes, labels=[3, 7]).block_until_ready()
  rq_jax.grid(kept.images, columns=4).save('grid.png')
  rq_jax.grid(edited)
  model = rq_jax.RQTransformer(num_classes=10, dtype='bfloat16')
  rq_jax.RQVAE(image_size=32, code_shape=(4, 4, 4))
  return np.asarray([model.depth, decoded, drawn, bits])


def wrong(sampler: rq_jax.Sampler, tokenizer: rq_jax.Tokenizer) -> None:
  """Calls that must be reported."""
  key = jax.random.key(0)
  images = sampler(key, label=[3])  # wrong: reportCallIssue
  sampler.codes(key, labels=[[3]])  # wrong: reportArgumentType
  sampler.codes(0, labels=[3])  # wrong: reportArgumentType
  sampler.codes(labels=[3])  # wrong: reportCallIssue
  sampler.logits(images, first_index=1)  # wrong: reportCallIssue
  sampler.best_of(key, 4, labels=[3])  # wrong: reportCallIssue
  sampler.sample(key)  # wrong: reportAttributeAccessIssue
  sampler(key, num_images='4')  # wrong: reportArgumentType
  tokenizer.encode('a.png')  # wrong: reportArgumentType
  tokenizer.decode(images, 2)  # wrong: reportCallIssue
  rq_jax.Sampling(topk=3)  # wrong: reportCallIssue
  rq_jax.Sampling(temperature='hot')  # wrong: reportArgumentType
  rq_jax.Sampler.restore(3)  # wrong: reportArgumentType
  rq_jax.RQVAE(image_sizes=3)  # wrong: reportCallIssue
  rq_jax.grid(images, 3)  # wrong: reportCallIssue
  rq_jax.Tokeniser  # noqa: B018 (for the checker)  # wrong: reportAttributeAccessIssue
