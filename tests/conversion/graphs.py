"""Writes frozen graphs of TensorFlow, field by field."""

import numpy as np

FLOAT32, INT32 = 1, 3


def varint(number):
  """A number in groups of seven bits, the lowest first."""
  groups = bytearray()
  while number > 127:
    groups.append(number & 127 | 128)
    number >>= 7
  return bytes([*groups, number])


def integer(field, value):
  return varint(field << 3) + varint(value)


def data(field, content):
  content = content.encode() if isinstance(content, str) else content
  return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(array=None, *, dtype=FLOAT32, shape=None, content=None, more=b''):
  """A tensor; what is not given follows from the array."""
  shape = array.shape if shape is None else shape
  content = data(4, array.tobytes()) if content is None else content
  sizes = b''.join(data(2, integer(1, size)) for size in shape)
  return integer(1, dtype) + data(2, sizes) + content + more


def constant(name, value, *, operation='Const'):
  """A node with a tensor, as bytes or as an array."""
  value = tensor(value) if isinstance(value, np.ndarray) else value
  return node(name, operation, attribute('value', data(8, value)))


def attribute(key, value):
  return data(5, data(1, key) + data(2, value))


def node(name, operation, *attributes, inputs=()):
  return data(
      1,
      data(1, name)
      + data(2, operation)
      + b''.join(data(3, name) for name in inputs)
      + b''.join(attributes),
  )


def graph(constants):
  """A graph with these arrays and, between them, other nodes."""
  nodes = [node('DecodeJpeg', 'DecodeJpeg', attribute('ratio', integer(3, 1)))]
  size = np.array([299, 299], np.int32)
  nodes.append(constant('ResizeBilinear/size', tensor(size, dtype=INT32)))
  nodes.append(constant('Sub/y', np.array(128, np.float32)))
  for name, array in constants.items():
    dtype = attribute('dtype', integer(6, FLOAT32))
    tail = attribute('value', data(8, tensor(array)))
    nodes.append(node(name, 'Const', dtype, tail))
    nodes.append(node(f'{name}/read', 'Identity', inputs=[name]))
  versions = data(4, integer(1, 8))
  return b''.join(nodes) + versions
