"""Builds files of PyTorch instruction by instruction, valid or not."""

import pickle
import struct
import warnings
import zipfile

from rq_jax.conversion.torch_format import reading

EMPTY = pickle.EMPTY_TUPLE + pickle.REDUCE
VALUES = struct.pack('<4f', 1, 2, 3, 4)


def name(module, attribute):
  return pickle.GLOBAL + f'{module}\n{attribute}\n'.encode()


def text(value):
  data = value.encode()
  return pickle.BINUNICODE + struct.pack('<I', len(data)) + data


def number(value):
  if -(2**31) <= value < 2**31:
    return pickle.BININT + struct.pack('<i', value)
  data = pickle.encode_long(value)
  return pickle.LONG1 + bytes([len(data)]) + data


def together(*values):
  return pickle.MARK + b''.join(values) + pickle.TUPLE


def numbers(values):
  return together(*map(number, values))


def storage(kind='FloatStorage', key='0', numel=4, *, tag='storage', more=()):
  identity = (name('torch', kind), text(key), text('cpu'), number(numel))
  return together(text(tag), *identity, *more) + pickle.BINPERSID


def tensor(view=None, *, offset=0, shape=(4,), stride=(1,), more=()):
  arguments = together(
      storage() if view is None else view,
      number(offset),
      numbers(shape),
      numbers(stride),
      pickle.NEWFALSE,
      name('collections', 'OrderedDict') + EMPTY,
      *more,
  )
  function = name('torch._utils', '_rebuild_tensor_v2')
  return function + arguments + pickle.REDUCE


def old_text(value):
  """A text as Python 2 wrote it."""
  if len(value) < 256:
    return pickle.SHORT_BINSTRING + bytes([len(value)]) + value
  return pickle.BINSTRING + struct.pack('<i', len(value)) + value


def whole(*instructions):
  """A pickle of protocol 2."""
  return pickle.PROTO + b'\2' + b''.join(instructions) + pickle.STOP


def ordered_dict(*items):
  """An OrderedDict as Python 2 wrote it: called with a list of pairs."""
  pairs = pickle.EMPTY_LIST + pickle.MARK + b''.join(items) + pickle.APPENDS
  function = name('collections', 'OrderedDict')
  return function + pairs + pickle.TUPLE1 + pickle.REDUCE


def two_dicts_of_one_list():
  function = name('collections', 'OrderedDict')
  pairs = pickle.EMPTY_LIST + pickle.TUPLE1 + pickle.BINPUT + b'\0'
  again = function + pickle.BINGET + b'\0' + pickle.REDUCE
  return function + pairs + pickle.REDUCE + again


def state_of_python_2(key):
  """A state dict as PyTorch 0.4 wrote it under Python 2."""
  identity = [
      old_text(b'storage'),
      name('torch', 'FloatStorage'),
      old_text(b'0'),
      old_text(b'cuda:0'),
      number(4),
      pickle.NONE,
  ]
  tensor = [
      together(*identity) + pickle.BINPERSID,
      number(1),
      numbers([2]),
      numbers([1]),
      pickle.NEWFALSE,
      pickle.NONE,
  ]
  made = name('torch._utils', '_rebuild_tensor_v2')
  made += together(*tensor) + pickle.REDUCE
  pair = pickle.EMPTY_LIST + pickle.MARK + old_text(key) + made
  pairs = pickle.EMPTY_LIST + pair + pickle.APPENDS + pickle.APPEND
  function = name('collections', 'OrderedDict')
  metadata = pickle.EMPTY_DICT + old_text(b'_metadata') + function
  return whole(
      function + pairs + pickle.TUPLE1 + pickle.REDUCE,
      metadata + EMPTY + pickle.SETITEM + pickle.BUILD,
  )


def state_of_parameters():
  """A state dict with a parameter as PyTorch wrote it before 0.4."""
  tensor = name('torch._utils', '_rebuild_tensor') + together(
      storage(more=(pickle.NONE,)),
      number(0),
      numbers([2, 2]),
      numbers([2, 1]),
  )
  parameter = name('torch.nn.parameter', 'Parameter')
  parameter += tensor + pickle.REDUCE + pickle.TUPLE1 + pickle.REDUCE
  attributes = together(pickle.NEWTRUE, pickle.NEWFALSE, pickle.NONE)
  item = text('weight') + parameter + attributes + pickle.BUILD
  state = name('collections', 'OrderedDict') + EMPTY + item
  return whole(state + pickle.SETITEM)


def write(path, pickled, storages=None, *, files=(), compress=False):
  """Writes an archive like PyTorch, by default with one storage of 1 to 4.

  `files` are more members, (name, data); they replace members of that name.
  """
  storages = {'0': VALUES} if storages is None else storages
  members = [('archive/data.pkl', pickled), ('archive/byteorder', b'little')]
  members += [(f'archive/data/{k}', data) for k, data in storages.items()]
  members += [('archive/version', b'3\n')]
  replaced = {member for member, _ in files}
  members = [m for m in members if m[0] not in replaced] + list(files)
  method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
  with zipfile.ZipFile(path, 'w', method) as archive:
    for member, data in members:
      with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Duplicate name')
        archive.writestr(zipfile.ZipInfo(member), data, method)
  return path


MAGIC = whole(pickle.LONG1 + b'\12' + bytes.fromhex('6cfc9c46f9206aa85019'))
VERSION = whole(pickle.BININT2 + struct.pack('<H', 1001))
ENDIAN = pickle.EMPTY_DICT + text('little_endian')
SYSTEM = whole(ENDIAN + pickle.NEWTRUE + pickle.SETITEM)


def write_legacy(
    path, pickled, storages=None, *, keys=None, head=(MAGIC, VERSION, SYSTEM)
):
  """Writes a file like PyTorch before 1.6, by default with one storage.

  `storages` maps keys to the number of elements that the file states, and the
  bytes. `keys` is the pickle of the list of keys, if it is not the usual one.
  """
  storages = {'0': (4, VALUES)} if storages is None else storages
  items = pickle.MARK + b''.join(map(text, storages)) + pickle.APPENDS
  listed = whole(pickle.EMPTY_LIST + items) if keys is None else keys
  data = [*head, pickled, listed]
  for numel, values in storages.values():
    data += [struct.pack('<q', numel), values]
  path.write_bytes(b''.join(data))
  return path


def read(path):
  """The tree of a file, with the values of its tensors."""

  def visit(value):
    if isinstance(value, dict):
      return {key: visit(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
      return [visit(item) for item in value]
    if isinstance(value, reading.LazyTensor):
      return file.read(value)
    return value

  with reading.TorchFile(path) as file:
    return visit(file.tree)
