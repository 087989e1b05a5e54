"""The handwritten digits that come with scikit-learn."""

from typing import Any, cast

import numpy as np
from PIL import Image

from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.data.sources import splits


class Digits:
  """The 1797 handwritten digits that come with scikit-learn, upscaled.

  Example i in scikit-learn's order belongs to the test split if i % 5 == 4, and
  to the training split otherwise. The images of 8x8 pixels (0 to 16) are
  enlarged once, bicubically, to the square that covers `image_size`, and stay
  in memory. The transforms cut the square to that size.

  Attributes:
    num_classes: 10.
    class_names: None, as the labels are the digits.
    listing: None, as there are no files.
  """

  num_classes = 10
  class_names = None
  listing = None

  def __init__(self, split: str, image_size: sizes.ImageSize = 32):
    """Loads a split.

    Args:
      split: 'train' (1438 images) or 'test' (359).
      image_size: Size that the images will be cut to.

    Raises:
      ValueError: If there is no such split.
      ImportError: If scikit-learn is not installed.
    """
    splits.check(split)
    try:
      from sklearn import datasets
    except ImportError as error:
      raise ImportError(
          "config.data.source='digits' needs scikit-learn. Install it with"
          " `pip install 'rq_jax[quickstart]'`."
      ) from error
    # scikit-learn declares no types; what pyright infers is wrong.
    digits = cast(Any, datasets.load_digits())
    chosen = splits.members(len(digits.target), split)
    grey = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    side = max(sizes.pair(image_size))
    enlarged = [
        np.asarray(
            Image.fromarray(image).resize(
                (side, side), Image.Resampling.BICUBIC
            )
        )
        for image in grey
    ]
    self._images = np.stack(enlarged)  # [N, side, side]
    self._labels = digits.target[chosen].astype(np.int32)

  def __len__(self) -> int:
    """Number of digits in the split."""
    return len(self._labels)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', uint8[side, side, 3], three equal channels; 'label', int32[]."""
    image = np.repeat(self._images[index][..., None], 3, axis=-1)
    return {"image": image, "label": self._labels[index]}


def open_split(data: sections.Data, split: str) -> Digits:
  """Opens a split for an experiment, given its section `data`."""
  return Digits(split, data.image_size)
