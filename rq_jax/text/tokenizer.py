"""Converts texts to the token ids that a model was trained with."""

from collections.abc import Sequence
import copy
import dataclasses
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files

_NAME = 'text_tokenizer.json'  # The file in the folder of a model.
_PAD, _UNKNOWN = '[PAD]', '[UNK]'
_END_OF_WORD = '</w>'
_QUOTED = 40  # Errors quote this many characters of a prompt.


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTokenizer:
  """Turns texts into token ids.

  Attributes:
    tokenizer: A `tokenizers.Tokenizer` that neither pads nor truncates.
    pad_id: Token id that fills the condition after the end of a text.
  """

  tokenizer: Any
  pad_id: int

  @classmethod
  def load(
      cls, path: epath.PathLike, *, pad: str | None = None
  ) -> 'TextTokenizer':
    """Reads a `text_tokenizer.json`, a file of the tokenizers library.

    Padding, truncation and dropout that the file configures are switched off,
    but its padding token is kept.

    Args:
      path: The file.
      pad: Name of the padding token if the file defines none; None to refuse
        such files.

    Raises:
      ValueError: If the file is missing, is not a text tokenizer, or defines no
        padding token.
      ImportError: If the package tokenizers is not installed.
    """
    path = files.path(path, 'path')
    file = epath.Path(path)
    if not file.is_file():
      raise ValueError(
          f'{path} is not a file, but should be a text tokenizer in the format'
          ' of the tokenizers library. Check the path.'
      )
    library = _library(path)
    try:
      tokenizer = library.Tokenizer.from_buffer(file.read_bytes())
    except Exception as error:  # The library raises nothing narrower.
      raise ValueError(
          f'{path} is not a file of the tokenizers library: {error}. Write it'
          ' with the method `save` of a tokenizer.'
      ) from error
    pad_id = _pad_id(tokenizer, path, pad)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if getattr(tokenizer.model, 'dropout', None):
      # With dropout, a prompt would give different tokens every time.
      tokenizer.model.dropout = None
    return cls(tokenizer=tokenizer, pad_id=pad_id)

  def save(self, path: epath.PathLike) -> None:
    """Writes a file that `load` reads; it appears whole or not at all."""
    path = files.path(path, 'path')
    padding = copy.deepcopy(self.tokenizer)
    # Stores the padding id. The name is only there for readers of the file.
    padding.enable_padding(
        pad_id=self.pad_id,
        pad_token=self.tokenizer.id_to_token(self.pad_id) or _PAD,
    )
    with files.whole(path) as file:
      file.write(padding.to_str(pretty=True).encode())

  def encode(
      self, prompts: Sequence[str], length: int, vocab_size: int
  ) -> np.ndarray:
    """Converts texts to token ids, padded on the right: -> int32[B, length].

    Adds neither start nor end tokens, and truncates nothing.

    Args:
      prompts: B texts.
      length: Number of tokens of the model's condition.
      vocab_size: Number of tokens that the model knows.

    Raises:
      ValueError: If the prompts are not texts or are too long, or if the model
        knows fewer tokens than this tokenizer uses.
    """
    rows = self.ids(prompts)
    for i, row in enumerate(rows):
      if len(row) > length:
        raise ValueError(
            f'{_name(i, prompts[i])} has {len(row)} tokens, but this model'
            f' reads at most {length}. Shorten the prompt.'
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

  def ids(self, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without start, end and padding tokens.

    Raises:
      ValueError: If the prompts are not texts.
    """
    return [self._ids(i, text) for i, text in enumerate(checked(prompts))]

  def _ids(self, i: int, prompt: str) -> list[int]:
    try:
      return self.tokenizer.encode(prompt, add_special_tokens=False).ids
    except Exception as error:  # The library raises nothing narrower.
      raise ValueError(
          f'{_name(i, prompt)} cannot be turned into tokens: {error}. Reword'
          ' the prompt, or give another text tokenizer.'
      ) from error


def find(folder: epath.Path, given: epath.PathLike | None) -> epath.Path | None:
  """Finds the text tokenizer of a model; returns None if there is none.

  Args:
    folder: Folder of the model, which may contain `text_tokenizer.json`.
    given: A file to use instead.

  Raises:
    ValueError: If `given` is an empty path.
  """
  if given is not None:
    return epath.Path(files.path(given, 'text_tokenizer'))
  beside = folder / _NAME
  return beside if beside.exists() else None


def char_bpe(vocab: epath.PathLike, merges: epath.PathLike) -> TextTokenizer:
  """Builds a text tokenizer from the two files of the official tokenizer.

  It converts texts to lower case, splits them at whitespace and punctuation,
  and merges characters within words (byte-pair encoding). Unknown characters
  become [UNK].

  Args:
    vocab: Local file of the vocabulary, `bpe-16k-vocab.json` for CC3M.
    merges: Local file of the merges, `bpe-16k-merges.txt` for CC3M.

  Raises:
    ValueError: If a file is missing or has other contents.
    ImportError: If the package tokenizers is not installed.
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
        f'{vocab} and {merges} are not the vocabulary and the merges of a'
        f' byte-pair encoding: {error}. Check the paths.'
    ) from error
  tokenizer = library.Tokenizer(model)
  special = [_UNKNOWN, _PAD]
  if missing := [s for s in special if tokenizer.token_to_id(s) is None]:
    raise ValueError(
        f'{vocab} has no token {" and no ".join(missing)}, so it is not a'
        ' vocabulary of the official code. Check the path.'
    )
  tokenizer.add_special_tokens(special)
  normalizers = library.normalizers
  tokenizer.normalizer = normalizers.Sequence(
      # A separate step converts to lower case: BertNormalizer would then strip
      # accents, too.
      [normalizers.BertNormalizer(lowercase=False), normalizers.Lowercase()]
  )
  tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = library.decoders.BPEDecoder(suffix=_END_OF_WORD)
  return TextTokenizer(tokenizer=tokenizer, pad_id=tokenizer.token_to_id(_PAD))


def _library(path: epath.PathLike) -> Any:
  """Imports the optional package tokenizers."""
  try:
    import tokenizers
  except ImportError as error:
    raise ImportError(
        f'The text tokenizer {path} needs the package tokenizers. Install it'
        " with `pip install 'rq_jax[text]'`."
    ) from error
  return tokenizers


def _pad_id(tokenizer: Any, path: epath.PathLike, pad: str | None) -> int:
  if tokenizer.padding:
    return tokenizer.padding['pad_id']
  for name in (_PAD, '<pad>', pad):
    pad_id = tokenizer.token_to_id(name) if name else None
    if pad_id is not None:
      return pad_id
  raise ValueError(
      f'{path} does not define a padding token: it has no section'
      " 'padding' and neither a token [PAD] nor <pad>. Call `enable_padding` of"
      ' its tokenizer with the pad_id of the model, and save it again.'
  )


def checked(prompts: Sequence[str]) -> list[str]:
  """The prompts as a list; raises a ValueError if they are not texts."""
  if isinstance(prompts, np.ndarray):
    prompts = prompts.tolist()
  got = None
  if isinstance(prompts, str) or not isinstance(prompts, Sequence):
    got = _quote(prompts)
  elif not prompts:
    got = 'an empty list'
  else:
    wrong = [i for i, text in enumerate(prompts) if not isinstance(text, str)]
    if wrong:
      got = _name(wrong[0], prompts[wrong[0]])
  if got is not None:
    raise ValueError(
        "prompts must be a list of texts, such as prompts=['a cat'], but got"
        f' {got}.'
    )
  return list(prompts)


def _name(i: int, prompt: Any) -> str:
  """A prompt as errors call it."""
  return f'prompts[{i}]={_quote(prompt)}'


def _quote(value: Any) -> str:
  """A value as errors show it: only the beginning of a long one."""
  if isinstance(value, str) and len(value) > _QUOTED:
    return f'{value[:_QUOTED]!r}...'
  text = repr(value)
  return text if len(text) <= 2 * _QUOTED else f'{text[:2 * _QUOTED]}...'
