"""Conditions of images: classes or texts, used in turn, or none."""

from collections.abc import Sequence
import dataclasses
import hashlib
from typing import Any

from etils import epath
import numpy as np

from rq_jax.checkpoints import class_names
from rq_jax.distributed import console
from rq_jax.models import rqtransformer
from rq_jax.sampling import labels as labels_lib

_DEFAULT_NUM_IMAGES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
  """The conditions of N images; image i gets entry i % M of M.

  Attributes:
    num_images: Number of images, N.
    kind: Name of the sampler's argument: 'labels', 'prompts' or 'tokens'; None
      for a model without conditions.
    values: int32[M] labels, M prompts, or int[M, L] tokens; None for a model
      without conditions.
  """

  num_images: int
  kind: str | None = None
  values: Any = None

  def rows(self, start: int, count: int) -> dict[str, Any]:
    """Arguments of the sampler for images start, ..., start + count - 1.

    Images after the last one repeat its condition.
    """
    if self.kind is None:
      return {'num_images': count}
    images = np.minimum(start + np.arange(count), self.num_images - 1)
    rows = images % len(self.values)
    if self.kind == 'prompts':
      return {self.kind: [self.values[row] for row in rows]}
    return {self.kind: self.values[rows]}

  @property
  def labels(self) -> np.ndarray | None:
    """Classes of all images, int32[N]; None if they have no classes."""
    if self.kind != 'labels':
      return None
    return np.resize(self.values, self.num_images)

  def described(self) -> dict[str, Any]:
    """A description for JSON that differs for different conditions."""
    if self.kind is None:
      return {'kind': None}
    if self.kind == 'labels':
      labels = ','.join(map(str, self.values.tolist()))
      return {'kind': self.kind, 'in_turn': labels}
    if self.kind == 'prompts':
      contents = '\n'.join(self.values).encode()
    else:
      contents = np.ascontiguousarray(self.values, '<i8').tobytes()
    return {
        'kind': self.kind,
        'in_turn': len(self.values),
        'sha256': hashlib.sha256(contents).hexdigest(),
    }


def choose(
    prior: rqtransformer.RQTransformer,
    *,
    kind: str | None = None,
    values: Any = None,
    num_images: int | None = None,
) -> Conditions:
  """The given conditions, or by default all classes in turn.

  Args:
    prior: The model that draws the images.
    kind: Kind of the conditions, 'labels', 'prompts' or 'tokens'; None for the
      default.
    values: The conditions: M labels, M prompts, or tokens int[M, L].
    num_images: Number of images; None for one per prompt or row of tokens, and
      for 16 otherwise.

  Raises:
    ValueError: If the model does not take these conditions.
  """
  kinds, takes = _taken(prior)
  if kind is not None and kind not in kinds:
    raise ValueError(f'--{kind} has no meaning here: this model {takes}.')
  if kind is None and prior.num_classes:
    kind, values = 'labels', range(prior.num_classes)
  if kind is None and kinds:
    raise ValueError(f'This model {takes}.')
  if kind is None:
    return Conditions(num_images=num_images or _DEFAULT_NUM_IMAGES)
  if not len(values):
    raise ValueError(
        f'--{kind} is empty. Give at least one entry, or leave it out.'
    )
  if kind == 'labels':
    limit = prior.num_classes
    if bad := [label for label in values if not 0 <= label < limit]:
      raise ValueError(
          f'--labels={bad[0]} is out of range: the classes of this model are 0'
          f' to {limit - 1}. Change --labels.'
      )
    values = np.asarray(values, np.int32)
  default = _DEFAULT_NUM_IMAGES if kind == 'labels' else len(values)
  return Conditions(num_images=num_images or default, kind=kind, values=values)


def _taken(prior: rqtransformer.RQTransformer) -> tuple[tuple[str, ...], str]:
  """Kinds of conditions that a model takes, and a predicate for errors."""
  if prior.num_classes:
    return ('labels',), 'draws classes. Give --labels, or none for all classes'
  if prior.text_vocab_size:
    return ('prompts', 'tokens'), 'draws from texts. Give --prompts or --tokens'
  return (), 'is unconditional. Leave out --labels, --prompts and --tokens'


def read_labels(texts: Sequence[str], checkpoint: str) -> list[int]:
  """Reads labels that are given by number or by the name of the class.

  Whole numbers are always labels, even if a class has the number as its name.

  Args:
    texts: The labels.
    checkpoint: Folder of the model, which may know the names of its classes.

  Raises:
    ValueError: If there is no class of a name.
  """
  given = [int(t) if t.removeprefix('-').isdecimal() else t for t in texts]
  names = class_names.read(checkpoint)
  by_name = {name: number for number, name in enumerate(names or ())}
  for text, label in zip(texts, given, strict=True):
    if isinstance(label, int) and by_name.get(text, label) != label:
      console.tell(
          f'Note: --labels={text} is the class with the number {text}, not the'
          f' class with this name, whose number is {by_name[text]}.'
      )
  return labels_lib.numbers(given, names, argument='--labels')


def read_prompts(path: str) -> list[str]:
  """Reads texts from a UTF-8 file, one per line.

  Raises:
    ValueError: If there is no such file, or a line is blank.
  """
  try:
    text = _existing('prompts', path).read_text()
  except UnicodeDecodeError as error:
    raise ValueError(
        f'--prompts={path} is not text in UTF-8: {error}. Convert the file to'
        ' UTF-8.'
    ) from error
  lines = text.replace('\r\n', '\n').removesuffix('\n').split('\n')
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      raise ValueError(
          f'--prompts={path}: line {number} is blank, but every line is a'
          ' prompt. Remove that line.'
      )
  return lines


def read_tokens(path: str) -> np.ndarray:
  """Reads token ids of texts, int[M, L], from a .npy file.

  Raises:
    ValueError: If there is no such file, or it holds no such array.
  """
  with _existing('tokens', path).open('rb') as file:
    try:
      tokens = np.load(file)
    except (ValueError, EOFError):
      tokens = None
  found = 'something else'
  if isinstance(tokens, np.ndarray):
    if tokens.ndim == 2 and np.issubdtype(tokens.dtype, np.integer):
      return tokens
    found = f'{tokens.dtype}{list(tokens.shape)}'
  raise ValueError(
      f'--tokens={path} must be a .npy file of token ids,'
      f' int[texts, text_length], but it holds {found}. Give such a file.'
  )


def _existing(flag: str, path: str) -> epath.Path:
  file = epath.Path(path)
  if not file.is_file():
    raise ValueError(f'--{flag}={path}: there is no such file. Check the path.')
  return file
