"""Inputs of the recordings of CLIP, drawn again instead of stored."""

import re

import numpy as np

from tests import recipe

SEED = 7
CROP = 32  # Height and width of the recorded crops.
# Heights and widths of pictures. At 32 pixels, they leave no margin, an even
# one, and the odd ones that libraries round differently.
SHAPES = (
    (32, 32),
    (37, 53),
    (53, 37),
    (64, 70),
    (40, 101),
    (17, 20),
    (300, 200),
    (8, 19),
)
SENTENCES = (
    'a photo of a cat',
    'A photo of  a\tCAT.\n',
    "it's the dog's 3rd walk; they've 12 miles to go!",
    'a cherry blossom tree',
    'an illustration of an avocado in a beanie riding a motorcycle.',
    'café, naïve, Zürich, São Paulo',
    '北京 и Москва',
    'emoji 😀 and symbols ™ © €100',
    'antidisestablishmentarianism',
    '',
    '   ',
    'http://example.com/a_b-c?d=e&f',
    'half-open (parentheses [brackets] {braces}) "quotes" \'single\'',
    'x' * 90,
    'a very long sentence ' * 30,
    'fish &amp; chips, 5 &amp;lt; 6',
    '“the dog’s” bowl',
    'a cafÃ© in Paris',  # Broken, and repaired only by OpenAI's code.
)


def weights(shapes):
  """A state dict by the recipe, with scales of normalizations around 1."""
  return {
      name: np.asarray(array + bool(re.search(r'norm\d?\.weight$', name)))
      for name, array in recipe.weights(SEED, shapes).items()
  }


def images(count, size):
  """Normally distributed images, float32[count, size, size, 3]."""
  rng = np.random.default_rng([SEED, size])
  return rng.standard_normal((count, size, size, 3)).astype(np.float32)


def tokens(vocab_size, length):
  """Texts that end at four places; the rest is filled in several ways.

  The end token is 50 in a vocabulary of 99, which has larger tokens, and the
  last one in others.
  """
  end = 50 if vocab_size == 99 else vocab_size - 1
  rng = np.random.default_rng([SEED, vocab_size])
  ids = rng.integers(51, vocab_size - 1, (4, length))
  ids[0, 3:] = end
  ids[1, length - 1] = end
  ids[2, 1], ids[2, 2:] = end, 0
  ids[3, 5] = end
  return ids


def picture(height, width):
  """A picture with gradients and edges, uint8[height, width, 3]."""
  rng = np.random.default_rng([SEED, height, width])
  y, x = np.mgrid[:height, :width]
  waves = np.stack([np.sin(x / 3 + y / 7), np.cos(y / 2), x % 5 > 2], axis=-1)
  noise = rng.random((height, width, 3))
  return np.clip(128 + 90 * waves + 80 * (noise - 0.5), 0, 255).astype(np.uint8)
