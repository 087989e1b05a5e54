"""Pickles that must be refused, each with a part of the error."""

import pickle

from tests.conversion import pickles

SENTINEL = 'executed'
CALL = pickles.together(pickles.text(f'touch {SENTINEL}')) + pickle.REDUCE


def _nested(depth):
  return pickle.EMPTY_LIST * depth + pickle.APPEND * (depth - 1)


def _bomb(levels):
  """Nested pairs, each holding one pair twice: 2 ** levels pairs in all."""
  code = pickle.EMPTY_TUPLE
  for level in range(levels):
    put, get = (op + bytes([level]) for op in (pickle.BINPUT, pickle.BINGET))
    code += put + get + pickle.TUPLE2
  return code


def _cycle():
  return pickle.EMPTY_LIST + b'q\0h\0' + pickle.APPEND


GETATTR = pickles.name('__builtin__', 'getattr') + pickles.together(
    pickles.name('os', 'path'), pickles.text('system')
)
DICT = pickles.name('collections', 'OrderedDict') + pickles.EMPTY

# By name: a pickle without its frame, and a part of the error.
HOSTILE = {
    'os.system': (pickles.name('os', 'system') + CALL, 'os.system'),
    'posix.system': (pickles.name('posix', 'system') + CALL, 'posix.system'),
    'eval': (pickles.name('__builtin__', 'eval') + CALL, 'eval'),
    'getattr': (GETATTR + pickle.REDUCE + CALL, 'getattr'),
    'nested reduce': (
        pickles.name('collections', 'OrderedDict')
        + pickles.together(pickles.name('os', 'system') + CALL)
        + pickle.REDUCE,
        "OrderedDict' with unknown arguments",
    ),
    'runpy': (pickles.name('runpy', '_run_code') + CALL, 'runpy'),
    'torch.load': (pickles.name('torch', 'load') + CALL, 'torch.load'),
    'another function of torch': (
        pickles.name('torch._utils', '_rebuild_wrapper_subclass') + CALL,
        '_rebuild_wrapper_subclass',
    ),
    'module with a dot in its name': (
        pickles.name('torch._utils._rebuild_tensor_v2', '__globals__') + CALL,
        '__globals__',
    ),
    'numpy scalar': (pickles.name('numpy', 'scalar') + CALL, 'numpy.scalar'),
    'INST': (pickle.MARK + pickle.INST + b'os\nsystem\n', 'INST'),
    'OBJ': (
        pickle.MARK + pickles.name('torch', 'Size') + pickle.OBJ,
        'instruction OBJ',
    ),
    'NEWOBJ': (
        pickles.name('torch', 'Size') + pickle.EMPTY_TUPLE + pickle.NEWOBJ,
        'NEWOBJ',
    ),
    'NEWOBJ_EX': (
        pickles.name('torch', 'Size')
        + pickle.EMPTY_TUPLE
        + pickle.EMPTY_DICT
        + pickle.NEWOBJ_EX,
        'NEWOBJ_EX',
    ),
    'EXT1': (pickle.EXT1 + b'\1', 'EXT1'),
    'EXT4': (pickle.EXT4 + b'\1\0\0\0', 'EXT4'),
    'STACK_GLOBAL': (
        pickles.text('os') + pickles.text('system') + pickle.STACK_GLOBAL,
        'STACK_GLOBAL',
    ),
    'PERSID': (pickle.PERSID + b'0\n', 'PERSID'),
    'protocol 4': (pickle.PROTO + b'\4' + pickle.NONE, 'protocol 4'),
    'calls a text': (pickles.text('os.system') + CALL, 'calls a str'),
    'calls a class of a storage': (
        pickles.name('torch', 'FloatStorage') + CALL,
        "FloatStorage' with unknown arguments",
    ),
    'tensor of no storage': (pickles.tensor(pickles.text('0')), 'unknown arg'),
    'size that is a text': (
        pickles.name('torch._utils', '_rebuild_tensor_v2')
        + pickles.together(
            pickles.storage(),
            pickles.number(0),
            pickles.together(pickles.text('4')),
            pickles.numbers([1]),
            pickle.NEWFALSE,
            DICT,
        )
        + pickle.REDUCE,
        'sizes are not integers',
    ),
    'class as a value': (pickles.name('torch', 'Size'), 'outside of any'),
    'storage as a value': (pickles.storage(), 'outside of any tensor'),
    'attributes of a list': (
        pickle.EMPTY_LIST + pickle.NONE + pickle.BUILD,
        'attributes of a list',
    ),
    'identity that is a text': (
        pickles.text('0') + pickle.BINPERSID,
        'neither in it nor a storage',
    ),
    'identity of another kind': (
        pickles.storage(tag='module'),
        "a 'module' of 4",
    ),
    'storage of tensors': (pickles.storage('Size'), "times 'torch Size'"),
    'storage of negative size': (pickles.storage(numel=-4), 'of -4 times'),
    'storage of two types': (
        pickles.together(pickles.storage(), pickles.storage('IntStorage')),
        'two different ways',
    ),
    'storage of two sizes': (
        pickles.together(pickles.storage(), pickles.storage(numel=8)),
        'two different ways',
    ),
    'storage that is missing': (
        pickles.tensor(pickles.storage(key='1')),
        "storage '1' should have 16 bytes, but it has none",
    ),
    'storage outside of its folder': (
        pickles.tensor(pickles.storage(key='../../../etc/passwd')),
        'but it has none',
    ),
    'storage larger than its file': (
        pickles.tensor(pickles.storage(numel=2**40)),
        'but it has 16',
    ),
    'tensor larger than its storage': (
        pickles.tensor(shape=(5,)),
        'within its storage of 4',
    ),
    'tensor that starts behind its storage': (
        pickles.tensor(offset=5, shape=(0,)),
        'within its storage of 4',
    ),
    'huge tensor by a stride of 0': (
        pickles.tensor(shape=(2**40,), stride=(0,)),
        'more elements than its storage',
    ),
    'huge tensor without elements': (
        pickles.tensor(shape=(0, 2**62), stride=(1, 1)),
        'more elements',
    ),
    'overlapping rows': (
        pickles.tensor(shape=(3, 2), stride=(1, 1)),
        'more elements than its storage',
    ),
    'negative size': (pickles.tensor(shape=(-1,)), 'negative'),
    'negative stride': (
        pickles.tensor(shape=(2,), stride=(-1,), offset=3),
        'negative',
    ),
    'negative offset': (pickles.tensor(offset=-1, shape=(1,)), 'negative'),
    'fewer strides than sizes': (
        pickles.tensor(shape=(2, 2)),
        'more sizes than strides',
    ),
    'many dimensions': (
        pickles.tensor(shape=(1,) * 33, stride=(1,) * 33),
        '33 dimensions',
    ),
    'storage that is a part of another': (
        pickles.tensor(
            pickles.storage(
                more=(
                    pickles.together(
                        pickles.text('7'), pickles.numbers([0, 4])
                    ),
                )
            )
        ),
        'a storage that is a part of another one',
    ),
    'storage with more than a view': (
        pickles.storage(more=(pickle.NONE, pickle.NONE)),
        'neither in it nor a storage',
    ),
    'parameter of two values': (
        pickles.name('torch.nn.parameter', 'Parameter')
        + pickles.together(pickles.tensor(), pickle.EMPTY_LIST)
        + pickle.REDUCE,
        "Parameter' with unknown arguments",
    ),
    'parameter with attributes of another kind': (
        pickles.name('torch.nn.parameter', 'Parameter')
        + pickles.together(pickles.tensor())
        + pickle.REDUCE
        + pickles.together(pickle.NEWTRUE, pickle.NEWFALSE, pickles.text('a'))
        + pickle.BUILD,
        'attributes of a LazyTensor',
    ),
    'dict of what are no pairs': (
        pickles.ordered_dict(pickle.EMPTY_TUPLE),
        'from items that are not pairs',
    ),
    'dict of texts of two letters': (
        pickles.ordered_dict(pickles.text('ab')),
        'from items that are not pairs',
    ),
    'dict with a list as a key': (
        pickles.ordered_dict(pickle.EMPTY_LIST + pickle.NONE + pickle.TUPLE2),
        'a list as a key',
    ),
    'two dicts of one list': (
        pickles.two_dicts_of_one_list(),
        'two dicts from one list',
    ),
    'device with a long name': (
        pickles.name('torch', 'device')
        + pickles.together(pickles.text('cuda' * 100))
        + pickle.REDUCE,
        'a device with 400 letters',
    ),
    'negated view': (
        pickles.tensor(more=(pickle.EMPTY_DICT,)),
        'unknown arguments',
    ),
    'nested lists': (_nested(100), 'nested too deeply'),
    'very deeply nested lists': (_nested(500_000), 'nested too deeply'),
    'nested tuples': (
        pickle.NONE + pickle.TUPLE1 * 500_000,
        'nested too deeply',
    ),
    'exponential list': (_bomb(60), 'repeats itself'),
    'list that holds itself': (_cycle(), 'nested too deeply'),
    'too many instructions': (
        (pickle.NONE + pickle.TUPLE1) * 1_000_001,
        '2000000 instructions',
    ),
    'nested tuple as a key': (
        pickle.EMPTY_DICT + _bomb(60) + pickle.NONE + pickle.SETITEM,
        'a tuple as a key',
    ),
    'half an item': (
        pickle.EMPTY_DICT + pickle.MARK + pickle.NONE + pickle.SETITEMS,
        'half an item',
    ),
    'item of a list': (
        pickle.EMPTY_LIST + pickle.NONE * 2 + pickle.SETITEM,
        'of a list',
    ),
    'append to a tuple': (
        pickle.EMPTY_TUPLE + pickle.NONE + pickle.APPEND,
        'appends to a tuple',
    ),
    'large integer': (
        pickle.LONG1 + b'\xff' + 255 * b'\x7f',
        'more than 64 bits',
    ),
    'integer of a gigabyte': (
        pickle.LONG4 + b'\0\0\0\x40',
        'instruction LONG4',
    ),
    'text that is cut off': (
        pickle.BINUNICODE + b'\xff\xff\xff\xff',
        'cut off or wrong in an instruction BINUNICODE',
    ),
    # Python's pickletools would warn of these two, and decode the second.
    'name with a backslash': (
        pickles.name('torch', '\\oStorage'),
        'torch.\\\\oStorage',
    ),
    'name that is escaped': (
        pickles.name('torch', '\\x46loatStorage'),
        'torch.\\\\x46loat',
    ),
    'name that is cut off': (
        pickle.GLOBAL + b'torch\nFlo',
        'wrong in an instr',
    ),
    'name of other letters': (
        pickle.GLOBAL + b'torch\n\xc3\x85\n',
        'wrong in an instruction GLOBAL',
    ),
    'memo that was never put': (pickle.BINGET + b'\7', 'never put'),
    'empty stack': (b'', 'exactly one value'),
    'pops from nothing': (pickle.TUPLE2, 'where there is none'),
    'memo of nothing': (pickle.BINPUT + b'\0', 'where there is none'),
    'pops beyond a mark': (
        pickle.NONE + pickle.MARK + pickle.TUPLE1,
        'where there is none',
    ),
    'no mark': (pickle.TUPLE, 'a mark where there is none'),
    'mark that is left': (pickle.NONE + pickle.MARK, 'exactly one value'),
    'two values': (pickle.NONE * 2, 'exactly one value'),
    'bytes after the end': (pickle.NONE + pickle.STOP, 'after its end'),
    'unknown instruction': (b'\xff', 'unknown instruction'),
}
