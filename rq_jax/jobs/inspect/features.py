"""The scale and the range of the features of an RQ-VAE."""

from typing import Any

import numpy as np

_BINS = 24
_SPREAD = 4  # The histogram covers this many times the rms of the first batch.


class Features:
  """Sums over batches of features, in float64."""

  def __init__(self):
    """Starts without any features."""
    self.values = 0
    self.positions = 0
    self.sums: Any = 0.0  # By channel, float64[C].
    self.squares: Any = 0.0
    self.rounding = 0.0
    self.smallest, self.largest = np.inf, -np.inf
    self.edges, self.counts = np.zeros(0), np.zeros(_BINS, np.int64)

  def add(self, batch: np.ndarray) -> None:
    """Adds the features of a batch, float32[B, H, W, C]."""
    flat = batch.reshape(-1, batch.shape[-1]).astype(np.float64)
    if not self.values:
      limit = _SPREAD * float(np.sqrt(np.mean(flat**2))) or 1.0
      self.edges = np.linspace(-limit, limit, _BINS + 1)
    self.values += flat.size
    self.positions += len(flat)
    self.sums += flat.sum(axis=0)
    self.squares += np.sum(flat**2, axis=0)
    with np.errstate(over='ignore'):
      rounded = batch.astype(np.float16).astype(np.float64)
    error = np.square(rounded.reshape(flat.shape) - flat)
    self.rounding += float(np.sum(error))
    self.smallest = min(self.smallest, float(flat.min()))
    self.largest = max(self.largest, float(flat.max()))
    inside = np.clip(flat, self.edges[0], self.edges[-1])
    self.counts += np.histogram(inside, self.edges)[0]

  @property
  def deviation(self) -> float:
    """Squared deviation from the mean of each channel, summed over all."""
    return float(np.sum(self.squares - self.sums**2 / self.positions))

  def figures(self) -> dict[str, Any]:
    """Scale and range of the features, as values that JSON can hold."""
    error = self.rounding / self.deviation
    return {
        'mean': float(np.sum(self.sums) / self.values),
        'rms': float(np.sqrt(np.sum(self.squares) / self.values)),
        # Of the vector at a position of the feature map.
        'variance': self.deviation / self.positions,
        'smallest': self.smallest,
        'largest': self.largest,
        'float16_error': error if np.isfinite(error) else None,
        'histogram': {
            'edges': self.edges.tolist(),
            'counts': self.counts.tolist(),
        },
    }
