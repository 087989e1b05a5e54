"""The official RQ-VAE in NumPy, from its state dict, for images of any shape.

Feature maps are float64[B, C, height, width], as in PyTorch. Levels have
attention where the state dict has its weights.
"""

import numpy as np


class OfficialRQVAE:
  """Encodes, quantizes and decodes one batch, in float64."""

  def __init__(self, state):
    self._state = {name: a.astype('f8') for name, a in state.items()}
    levels = {n.split('.')[2] for n in state if n.startswith('encoder.down.')}
    self._last = len(levels) - 1

  def features(self, images):
    """Features of images [B, 3, Y, X]: -> [B, C, H, W]."""
    x = self._conv(images, 'encoder.conv_in')
    for level in range(self._last + 1):
      x = self._level(x, f'encoder.down.{level}')
      if level < self._last:
        # One row and one column of zeros, at the bottom and on the right.
        x = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
        x = self._conv(x, f'encoder.down.{level}.downsample.conv', 0)
        x = x[..., ::2, ::2]
    return self._conv(self._ends(x, 'encoder'), 'quant_conv', 0)

  def codes(self, features, depth):
    """Codes of features [B, C, H, W], depth by depth: -> [B, H, W, D]."""
    left = features.transpose(0, 2, 3, 1)
    found = []
    for d in range(depth):
      words = self._state[f'quantizer.codebooks.{d}.weight'][:-1]
      distances = np.square(left[..., None, :] - words).sum(axis=-1)
      found.append(distances.argmin(axis=-1))
      left = left - words[found[-1]]
    return np.stack(found, axis=-1)

  def images(self, codes):
    """Images of codes [B, H, W, D]: -> [B, 3, Y, X]."""
    words = sum(
        self._state[f'quantizer.codebooks.{d}.weight'][codes[..., d]]
        for d in range(codes.shape[-1])
    )
    x = self._conv(words.transpose(0, 3, 1, 2), 'post_quant_conv', 0)
    x = self._middle(self._conv(x, 'decoder.conv_in'), 'decoder')
    for level in range(self._last, -1, -1):
      x = self._level(x, f'decoder.up.{level}')
      if level > 0:
        x = x.repeat(2, axis=2).repeat(2, axis=3)
        x = self._conv(x, f'decoder.up.{level}.upsample.conv')
    return self._out(x, 'decoder')

  def _level(self, x, name):
    block = 0
    while f'{name}.block.{block}.conv1.weight' in self._state:
      x = self._res_block(x, f'{name}.block.{block}')
      if f'{name}.attn.{block}.q.weight' in self._state:
        x = self._attention(x, f'{name}.attn.{block}')
      block += 1
    return x

  def _ends(self, x, name):
    return self._out(self._middle(x, name), name)

  def _middle(self, x, name):
    x = self._res_block(x, f'{name}.mid.block_1')
    x = self._attention(x, f'{name}.mid.attn_1')
    return self._res_block(x, f'{name}.mid.block_2')

  def _out(self, x, name):
    return self._conv(
        _swish(self._norm(x, f'{name}.norm_out')), f'{name}.conv_out'
    )

  def _res_block(self, x, name):
    h = self._conv(_swish(self._norm(x, f'{name}.norm1')), f'{name}.conv1')
    h = self._conv(_swish(self._norm(h, f'{name}.norm2')), f'{name}.conv2')
    if f'{name}.nin_shortcut.weight' in self._state:
      x = self._conv(x, f'{name}.nin_shortcut', 0)
    return x + h

  def _attention(self, x, name):
    h = self._norm(x, f'{name}.norm')
    query, key, value = (
        self._conv(h, f'{name}.{part}', 0).reshape(*x.shape[:2], -1)
        for part in 'qkv'
    )
    scores = np.einsum('bci,bcj->bij', query, key) * x.shape[1] ** -0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    h = np.einsum('bij,bcj->bci', weights, value).reshape(x.shape)
    return x + self._conv(h, f'{name}.proj_out', 0)

  def _norm(self, x, name, groups=32):
    grouped = x.reshape(len(x), groups, -1)
    mean = grouped.mean(axis=-1, keepdims=True)
    var = grouped.var(axis=-1, keepdims=True)
    x = ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(x.shape)
    scale, bias = self._state[f'{name}.weight'], self._state[f'{name}.bias']
    return x * scale[:, None, None] + bias[:, None, None]

  def _conv(self, x, name, padding=1):
    kernel, bias = self._state[f'{name}.weight'], self._state[f'{name}.bias']
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(
        x, kernel.shape[2:], axis=(2, 3)
    )
    out = np.einsum('bchwij,ocij->bohw', windows, kernel, optimize=True)
    return out + bias[:, None, None]


def _swish(x):
  return x / (1 + np.exp(-x))
