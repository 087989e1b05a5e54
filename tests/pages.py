"""Reads the pages that reports write: elements, text and pictures."""

import base64
import html.parser
import io

import numpy as np
from PIL import Image


class Page(html.parser.HTMLParser):
  """Collects the elements and the text; raises where tags do not match."""

  VOID = frozenset(
      ['meta', 'link', 'img', 'line', 'rect', 'circle', 'polyline']
  )

  def __init__(self, text):
    super().__init__()
    self.open, self.elements, self.words = [], [], []
    self.feed(text)
    self.close()
    assert not self.open
    self.text = ' '.join(' '.join(self.words).split())

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.words.append(data)


def images(text):
  """What the pictures of a page show: pixels by their description."""
  found = {}
  for tag, attrs in Page(text).elements:
    if tag == 'img':
      data = base64.b64decode(attrs['src'].split(',')[1])
      pixels = np.asarray(Image.open(io.BytesIO(data)))
      size = tuple(str(side) for side in pixels.shape[:2])
      assert (attrs['height'], attrs['width']) == size
      found[attrs['alt']] = pixels
  return found
