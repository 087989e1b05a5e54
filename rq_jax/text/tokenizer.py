"""Texts as the token ids that a model was trained with."""

from collections.abc import Sequence
import copy
import dataclasses
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files

_NAME = 'text_tokenizer.json'  # In the folder of a model.
_PAD, _UNKNOWN = '[PAD]', '[UNK]'
_END_OF_WORD = '</w>'
_QUOTED = 40  # characters of a prompt, in an error


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTokenizer:
  """Turns texts into token ids.

  Attributes:
    tokenizer: A `tokenizers.Tokenizer` that neither pads nor truncates.
    pad_id: Fills the condition behind a text.
  """

  tokenizer: Any
  pad_id: int

  @classmethod
  def load(cls, path: str | epath.Path) -> 'TextTokenizer':
    """Reads a `text_tokenizer.json`, a file of the tokenizers library.

    The padding, truncation and dropout that it sets up are switched off; which
    token pads is kept.

    Args:
      path: The file.

    Raises:
      ValueError: If it is missing, something else, or knows no padding token.
      ImportError: If tokenizers is not installed.
    """
    path = files.path(path, 'path')
    file = epath.Path(path)
    if not file.is_file():
      raise ValueError(
          f'{path} is no file, but should be a text tokenizer, in the format of'
          ' the tokenizers library. Check the path.'
      )
    library = _library(path)
    try:
      tokenizer = library.Tokenizer.from_buffer(file.read_bytes())
    except Exception as error:  # The library raises nothing narrower.
      raise ValueError(
          f'{path} is no file of the tokenizers library: {error}. Write it with'
          ' the method `save` of a tokenizer.'
      ) from error
    pad_id = _pad_id(tokenizer, path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if getattr(tokenizer.model, 'dropout', None):
      # Else a prompt would become other tokens every time.
      tokenizer.model.dropout = None
    return cls(tokenizer=tokenizer, pad_id=pad_id)

  def save(self, path: str | epath.Path) -> None:
    """Writes a file that `load` reads, so that it is there whole or not."""
    path = files.path(path, 'path')
    padding = copy.deepcopy(self.tokenizer)
    # Keeps the id; the name stands beside it for readers.
    padding.enable_padding(
        pad_id=self.pad_id,
        pad_token=self.tokenizer.id_to_token(self.pad_id) or _PAD,
    )
    with files.whole(path) as file:
      file.write(padding.to_str(pretty=True).encode())

  def encode(
      self, prompts: Sequence[str], length: int, vocab_size: int
  ) -> np.ndarray:
    """Token ids of texts, padded on the right: -> int32[B, length].

    Neither start nor end tokens are added, and nothing is cut off.

    Args:
      prompts: B texts.
      length: Tokens of the condition of the model.
      vocab_size: How many tokens the model knows.

    Raises:
      ValueError: If the prompts are something else or do not fit the condition,
        or the model knows fewer tokens.
    """
    rows = []
    for i, prompt in enumerate(_checked(prompts)):
      name = f'prompts[{i}]={_quote(prompt)}'
      rows.append(row := self._ids(prompt, name))
      if len(row) > length:
        raise ValueError(
            f'{name} has {len(row)} tokens, but this model reads at most'
            f' {length}. Shorten it.'
        )
    largest = max([self.pad_id, *(token for row in rows for token in row)])
    if largest >= vocab_size:
      raise ValueError(
          f'The text tokenizer has {self.tokenizer.get_vocab_size()} tokens'
          f' and uses the id {largest}, but this model knows {vocab_size}'
          ' tokens: they do not belong together. Give the text tokenizer that'
          ' the model was trained with.'
      )
    ids = np.full((len(rows), length), self.pad_id, np.int32)
    for padded, row in zip(ids, rows):
      padded[: len(row)] = row
    return ids

  def _ids(self, prompt: str, name: str) -> list[int]:
    try:
      return self.tokenizer.encode(prompt, add_special_tokens=False).ids
    except Exception as error:  # The library raises nothing narrower.
      raise ValueError(
          f'{name} cannot be turned into tokens: {error}. Write it differently,'
          ' or give another text tokenizer.'
      ) from error


def find(
    folder: epath.Path, given: str | epath.Path | None
) -> epath.Path | None:
  """The file that turns prompts of a model into tokens, if there is one.

  Args:
    folder: Of the model, in which it may lie as `text_tokenizer.json`.
    given: A file to take instead.

  Raises:
    ValueError: If the path that is given is empty.
  """
  if given is not None:
    return epath.Path(files.path(given, 'text_tokenizer'))
  beside = folder / _NAME
  return beside if beside.exists() else None


def char_bpe(
    vocab: str | epath.Path, merges: str | epath.Path
) -> TextTokenizer:
  """Builds a text tokenizer from the two files of the official one.

  Lower case, split at whitespace and punctuation; then characters are merged
  within words (byte-pair encoding). Unknown characters become [UNK].

  Args:
    vocab: A local file, `bpe-16k-vocab.json` for CC3M.
    merges: A local file, `bpe-16k-merges.txt` for CC3M.

  Raises:
    ValueError: If they are missing or something else.
    ImportError: If tokenizers is not installed.
  """
  vocab = files.path(vocab, 'vocab')
  merges = files.path(merges, 'merges')
  library = _library(vocab)
  try:
    model = library.models.BPE.from_file(
        vocab,
        merges,
        unk_token=_UNKNOWN,
        end_of_word_suffix=_END_OF_WORD,
    )
  except Exception as error:  # The library raises nothing narrower.
    raise ValueError(
        f'{vocab} and {merges} are no vocabulary and merges of a byte-pair'
        f' encoding: {error}. Check the paths.'
    ) from error
  tokenizer = library.Tokenizer(model)
  special = [_UNKNOWN, _PAD]
  if missing := [s for s in special if tokenizer.token_to_id(s) is None]:
    raise ValueError(
        f'{vocab} has no token {" and no ".join(missing)}: it is no vocabulary'
        ' of the official code. Check the path.'
    )
  tokenizer.add_special_tokens(special)
  normalizers = library.normalizers
  tokenizer.normalizer = normalizers.Sequence(
      # Lower case on its own: within the first it would strip accents, too.
      [normalizers.BertNormalizer(lowercase=False), normalizers.Lowercase()]
  )
  tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = library.decoders.BPEDecoder(suffix=_END_OF_WORD)
  return TextTokenizer(tokenizer=tokenizer, pad_id=tokenizer.token_to_id(_PAD))


def _library(path: str | epath.Path) -> Any:
  """The package tokenizers, which not everybody needs."""
  try:
    import tokenizers
  except ImportError as error:
    raise ImportError(
        f'The text tokenizer {path} needs tokenizers; install it with'
        " `pip install 'rq_jax[text]'`"
    ) from error
  return tokenizers


def _pad_id(tokenizer: Any, path: str | epath.Path) -> int:
  if tokenizer.padding:
    return tokenizer.padding['pad_id']
  for name in (_PAD, '<pad>'):
    pad_id = tokenizer.token_to_id(name)
    if pad_id is not None:
      return pad_id
  raise ValueError(
      f'{path} does not say which token pads a text: it has no section'
      " 'padding' and neither a token [PAD] nor <pad>. Call `enable_padding` of"
      ' its tokenizer with the pad_id of the model, and save it again.'
  )


def _checked(prompts: Sequence[str]) -> list[str]:
  if isinstance(prompts, np.ndarray):
    prompts = prompts.tolist()
  got = None
  if isinstance(prompts, str) or not isinstance(prompts, Sequence):
    got = _quote(prompts)
  elif not prompts:
    got = 'none'
  else:
    wrong = [i for i, text in enumerate(prompts) if not isinstance(text, str)]
    if wrong:
      got = f'prompts[{wrong[0]}]={_quote(prompts[wrong[0]])}'
  if got is not None:
    raise ValueError(
        "prompts must be a list of texts, such as prompts=['a cat']; got"
        f' {got}.'
    )
  return list(prompts)


def _quote(value: Any) -> str:
  """How an error shows a value: its beginning, if it is long."""
  if isinstance(value, str) and len(value) > _QUOTED:
    return f'{value[:_QUOTED]!r}...'
  text = repr(value)
  return text if len(text) <= 2 * _QUOTED else f'{text[:2 * _QUOTED]}...'
