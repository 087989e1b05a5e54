"""What sampling should do, in NumPy and float64, by sorting."""

import numpy as np


def top_k(logits, k):
  """Keeps the k largest and what equals the last of them."""
  edge = np.sort(logits, axis=-1)[:, ::-1][:, min(k, logits.shape[-1]) - 1]
  return np.where(logits >= edge[:, None], logits, -np.inf)


def top_p(logits, p):
  """Keeps the largest whose mass first reaches p, and ties of the last."""
  mass = np.sort(softmax(logits), axis=-1)[:, ::-1]
  needed = np.argmax(mass.cumsum(axis=-1) >= p, axis=-1) if p < 1 else -1
  edge = np.sort(logits, axis=-1)[:, ::-1][np.arange(len(logits)), needed]
  return np.where(logits >= edge[:, None], logits, -np.inf)


def softmax(logits):
  logits = np.asarray(logits, np.float64)
  mass = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return mass / mass.sum(axis=-1, keepdims=True)


def probabilities(logits, temperature=1.0, k=None, p=1.0):
  """Of drawing each code: float[B, K] -> float64[B, K]."""
  logits = np.asarray(logits) / np.float32(temperature)
  logits = top_k(logits, logits.shape[-1] if k is None else k)
  return softmax(top_p(logits, p))
