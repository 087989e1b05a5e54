"""Decodes the instructions in the bytes of a pickle."""

import io
import pickletools
from typing import Any

OPCODES = {op.code.encode('latin-1'): op for op in pickletools.opcodes}

# Instructions by which Python 2 wrote its texts, which are bytes.
BYTES = {'BINSTRING', 'SHORT_BINSTRING'}


def argument(opcode: pickletools.OpcodeInfo, stream: io.BytesIO) -> Any:
  """Reads the argument of an instruction; None if it has no argument.

  No argument needs more memory than the bytes from which it is read.

  Args:
    opcode: The instruction, one of `OPCODES`.
    stream: The pickle, already read up to the end of this instruction.

  Raises:
    ValueError: If the argument is cut off, or is not text where it must be.
  """
  if opcode.name == 'GLOBAL':
    return _name(stream)
  if opcode.arg is None:
    return None
  value = opcode.arg.reader(stream)
  return value.encode('latin-1').decode() if opcode.name in BYTES else value


def _name(stream: io.BytesIO) -> str:
  """Module and name, one per line; unlike pickletools, does not unescape."""
  lines = [stream.readline(), stream.readline()]
  if not lines[1].endswith(b'\n'):
    raise ValueError('no end of line')
  return ' '.join(line[:-1].decode('ascii') for line in lines)
