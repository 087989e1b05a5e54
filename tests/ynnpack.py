"""What the library YNNPACK computes in a program for CPUs."""

from rq_jax.jobs.compile import hlo

_KINDS = {'convolution', 'dot', 'reduce'}


def calls(compiled):
  """Kinds of the calls of YNNPACK, such as 'dot', or 'dot reduce' in one."""
  module = hlo.parse(compiled.as_text() or '')
  return {
      ' '.join(
          sorted(_KINDS & {inner.opcode for _, inner in module.inside(one)})
      )
      for computation in module.computations.values()
      for one in computation
      if '__ynn_fusion' in one.attributes
  }
