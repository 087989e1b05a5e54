"""Each Pallas kernel of the sampler against its plain form."""

from collections.abc import Callable, Iterator
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import measured
from rq_jax.jobs.benchmark.device import agreement
from rq_jax.jobs.benchmark.device import cases as cases_lib
from rq_jax.jobs.benchmark.device import report as report_lib
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.sampling.kernels import attention
from rq_jax.sampling.kernels import choice
from rq_jax.sampling.kernels import depth_attention
from rq_jax.sampling.kernels import draws
from rq_jax.sampling.kernels import heads as heads_lib
from rq_jax.sampling.kernels import norms
from rq_jax.sampling.kernels import products
from rq_jax.typing import PyTree

_CASE_S = 20  # Seconds that a case may take.


class Compared(NamedTuple):
  """A kernel and its plain form, functions of the same three arguments.

  Attributes:
    kernel: (x, weights, state) -> (results, state).
    plain: The same.
    x: Rows, the same for all copies.
    weights: Arrays that each copy has for itself.
    state: Arrays of which it changes some numbers in place; () if none.
  """

  kernel: Callable[..., Any]
  plain: Callable[..., Any]
  x: PyTree
  weights: PyTree
  state: PyTree = ()


def run(
    check: cases_lib.Cases, report: report_lib.Report
) -> Iterator[report_lib.Case]:
  """Yields the comparison of each kernel for each number of rows."""
  prior = build.rqtransformer(check.rqtransformer.model, check.dtype)
  kind = check.compared_kernels
  for name, make in _KERNELS.items():
    for rows in check.rows:

      def work(make=make, rows=rows):
        try:
          choice.check_devices(kind, jax.local_devices()[:1])
          choice.check_model(kind, prior)
        except ValueError as error:
          raise report_lib.SkippedError(str(error)) from error
        report.require(_CASE_S)
        return compare(make(prior, rows, kind == 'interpret'), check)

      yield f'{name}, {rows} rows', work


def compare(compared: Compared, check: cases_lib.Cases) -> dict[str, Any]:
  """Differences and times of a kernel and its plain form.

  A timed program holds copies with weights of their own, so that the weights
  come from memory, as they do in the sampler.

  Raises:
    ValueError: If the kernel does not compute its plain form.
  """
  given = compared.x, compared.weights, compared.state
  found = jax.jit(compared.kernel)(*given)
  # By default, GPUs round factors in float32 to TF32; the kernels do not.
  with jax.default_matmul_precision('highest'):
    expected = jax.jit(compared.plain)(*given)
  differences = agreement.check(found, expected, compared.state, check.dtype)
  kernel = _time(compared.kernel, compared, check)
  plain = _time(compared.plain, compared, check)
  return {
      **differences,
      'seconds': {'kernel': kernel, 'plain': plain},
      'ratio': plain['median'] / kernel['median'],
  }


def _time(
    fn: Callable[..., Any], compared: Compared, check: cases_lib.Cases
) -> dict[str, float]:
  """Seconds of one copy of a function."""
  weights = [_copy(compared.weights) for _ in range(check.copies)]
  held = [[_copy(compared.state) for _ in range(check.copies)]]

  @functools.partial(jax.jit, donate_argnums=2)
  def all_copies(x, weights, states):
    pairs = [fn(x, *one) for one in zip(weights, states, strict=True)]
    results, states = zip(*pairs, strict=True)
    return results, list(states)

  def call():
    for _ in range(check.calls):
      results, held[0] = all_copies(compared.x, weights, held[0])
    return results

  times = timing.measure(call, check.repeats)
  each = check.calls * check.copies
  return {name: s / each for name, s in measured.spread(times).items()}


def _copy(tree: PyTree) -> PyTree:
  return jax.tree.map(lambda x: x.copy(), tree)


def _attention(prior, rows, interpret) -> Compared:
  heads, size = prior.heads, prior.width // prior.heads
  x, cache = _draw(
      (rows, prior.width),
      ((rows, heads, prior.positions, size),) * 2,
      dtype=prior.dtype,
  )
  position = jnp.int32(prior.positions // 2)

  def kernel(rows, weights, cache):
    norm, heads = weights
    return attention.attend(
        rows, norm, heads, cache, position, interpret=interpret
    )

  def plain(rows, weights, cache):
    norm, heads = weights
    return attention.plain(rows.x, norm, heads, cache, position)

  return Compared(kernel, plain, norms.measure(x), _heads(prior), tuple(cache))


def _depth_attention(prior, rows, interpret) -> Compared:
  shape = (rows, prior.width)
  x, earlier = _draw(
      shape, ((shape, shape),) * (prior.depth - 1), dtype=prior.dtype
  )

  def kernel(given, weights, state):
    (rows, earlier), (norm, heads) = given, weights
    attended = depth_attention.attend(
        rows, norm, heads, earlier, interpret=interpret
    )
    return attended, state

  def plain(given, weights, state):
    (rows, earlier), (norm, heads) = given, weights
    return depth_attention.plain(rows.x, norm, heads, earlier), state

  given = norms.measure(x), [tuple(pair) for pair in earlier]
  return Compared(kernel, plain, given, _heads(prior))


def _add(prior, rows, interpret, *, inputs: int) -> Compared:
  """A product with `inputs` times the width, and a residual connection."""
  width = prior.width
  x, residual, kernel, bias = _draw(
      (rows, inputs * width),
      (rows, width),
      (inputs * width, width),
      (width,),
      dtype=prior.dtype,
  )

  def fused(given, weights, state):
    (x, residual), (kernel, bias) = given, weights
    added = products.add(x, kernel, bias, residual, interpret=interpret)
    return added.x, state

  def plain(given, weights, state):
    x, residual = given
    return products.plain(x, *weights, residual=residual), state

  return Compared(fused, plain, (x, residual), (_scaled(kernel), bias))


def _project(prior, rows, interpret, *, classifier: bool) -> Compared:
  """A norm and the first layer of the MLP, or the classifier."""
  width = prior.width
  outputs = max(prior.sizes) if classifier else 4 * width
  options = {} if classifier else {'gelu': prior.gelu}
  if classifier:
    options['dtype'] = jnp.float32
  x, kernel, bias = _draw(
      (rows, width), (width, outputs), (outputs,), dtype=prior.dtype
  )

  def fused(rows, weights, state):
    kernel, bias, norm = weights
    projected = products.project(
        rows.x,
        kernel,
        bias,
        norm=norms.of(rows, norm),
        interpret=interpret,
        **options,
    )
    return projected, state

  def plain(rows, weights, state):
    kernel, bias, norm = weights
    return products.plain(rows.x, kernel, bias, norm=norm, **options), state

  weights = _scaled(kernel), bias, _norm(width, prior.dtype)
  return Compared(fused, plain, norms.measure(x), weights)


def _draws(prior, rows, interpret, *, top_p: float | None) -> Compared:
  logits, _ = _draw((rows, max(prior.sizes)), (1,), dtype='float32')
  uniforms = jax.random.uniform(jax.random.key(1), (rows,), jnp.float32)
  options: dict[str, Any] = {'temperature': jnp.ones(prior.depth, jnp.float32)}
  if top_p is not None:
    options['top_p'] = jnp.full(prior.depth, top_p, jnp.float32)

  def fused(uniforms, logits, state):
    codes = draws.draw(
        logits, uniforms, **options, depth=0, interpret=interpret
    )
    return codes, state

  def plain(uniforms, logits, state):
    return draws.plain(logits, uniforms, **options, depth=0), state

  return Compared(fused, plain, uniforms, logits)


_KERNELS: dict[
    str, Callable[[rqtransformer.RQTransformer, int, bool], Compared]
] = {
    'attention': _attention,
    'depth attention': _depth_attention,
    'output projection': functools.partial(_add, inputs=1),
    'first layer of the MLP': functools.partial(_project, classifier=False),
    'second layer of the MLP': functools.partial(_add, inputs=4),
    'classifier': functools.partial(_project, classifier=True),
    'draw': functools.partial(_draws, top_p=None),
    'draw, top_p=0.92': functools.partial(_draws, top_p=0.92),
}


def _heads(prior) -> tuple[dict[str, jax.Array], heads_lib.Heads]:
  """A LayerNorm, and projections to queries, keys and values."""
  width, heads = prior.width, prior.heads
  kernel, bias = _draw(
      (width, 3, heads, width // heads),
      (3, heads, width // heads),
      dtype=prior.dtype,
  )
  return _norm(width, prior.dtype), heads_lib.Heads(_scaled(kernel), bias)


def _norm(width: int, dtype: str) -> dict[str, jax.Array]:
  scale, bias = _draw((width,), (width,), dtype=dtype)
  return {'scale': 1 + scale / 10, 'bias': bias / 10}


def _scaled(kernel: jax.Array) -> jax.Array:
  """A kernel whose products are as large as their inputs."""
  return kernel * kernel.shape[0] ** -0.5


def _draw(*shapes: Any, dtype: str) -> Any:
  """Normal numbers; a shape may be a tuple of shapes."""
  rng = np.random.default_rng(0)

  def draw(shape):
    if shape and not isinstance(shape[0], int):
      return [draw(part) for part in shape]
    return jnp.asarray(rng.normal(size=shape), jnp.dtype(dtype))

  return [draw(shape) for shape in shapes]
