"""The instructions of a pickle, as they stand in its bytes."""

import io
import pickletools
from typing import Any

OPCODES = {op.code.encode('latin-1'): op for op in pickletools.opcodes}

# Python 2 wrote its texts, which are bytes, by these.
BYTES = {'BINSTRING', 'SHORT_BINSTRING'}


def argument(opcode: pickletools.OpcodeInfo, stream: io.BytesIO) -> Any:
  """What follows an instruction; None if it takes nothing.

  No argument takes more memory than the bytes that it is read from.

  Args:
    opcode: The instruction, one of `OPCODES`.
    stream: The pickle, read up to this instruction.

  Raises:
    ValueError: If the argument is cut off, or is no text where it should be.
  """
  if opcode.name == 'GLOBAL':
    return _name(stream)
  if opcode.arg is None:
    return None
  value = opcode.arg.reader(stream)
  return value.encode('latin-1').decode() if opcode.name in BYTES else value


def _name(stream: io.BytesIO) -> str:
  """Module and name, each a line, which pickletools would unescape."""
  lines = [stream.readline(), stream.readline()]
  if not lines[1].endswith(b'\n'):
    raise ValueError('no end of line')
  return ' '.join(line[:-1].decode('ascii') for line in lines)
