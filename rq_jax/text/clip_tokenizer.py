"""Converts texts to the tokens of CLIP."""

from collections.abc import Sequence
import dataclasses
import html

from etils import epath
import numpy as np

from rq_jax.text import tokenizer

START, END = '<|startoftext|>', '<|endoftext|>'
# OpenAI's code replaces curly quotes.
_STRAIGHT = str.maketrans(
    dict.fromkeys('ʼ‘’‚‛', "'") | dict.fromkeys('“”„‟', '"')
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipTokenizer:
  """Turns texts into the tokens of CLIP, with a start and an end token.

  Tokens are those of `clip.tokenize` in OpenAI's code: entities of HTML, such
  as `&amp;`, become characters, and curly quotes become straight. However,
  OpenAI's code also repairs texts that were decoded wrongly ('cafÃ©').

  Attributes:
    texts: The text tokenizer, from Hugging Face's `tokenizer.json`.
    start_id: Token before each text.
    end_id: Token after each text.
  """

  texts: tokenizer.TextTokenizer
  start_id: int
  end_id: int

  @classmethod
  def load(cls, path: epath.PathLike) -> 'ClipTokenizer':
    """Reads a `tokenizer.json`.

    Raises:
      ValueError: If the file is missing, or is no tokenizer of CLIP.
      ImportError: If the package tokenizers is not installed.
    """
    texts = tokenizer.TextTokenizer.load(path, pad=END)
    ends = [texts.tokenizer.token_to_id(name) for name in (START, END)]
    if None in ends:
      raise ValueError(
          f'{path} is not a tokenizer of CLIP: it must have the tokens {START}'
          f' and {END}. Take the tokenizer.json of the released CLIP.'
      )
    return cls(texts=texts, start_id=ends[0], end_id=ends[1])

  @property
  def largest_id(self) -> int:
    """The largest token id, which a model must know."""
    return max(self.texts.tokenizer.get_vocab().values())

  def encode(
      self, prompts: Sequence[str], length: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Converts texts to tokens, padded with end tokens on the right.

    A text that is too long loses its last tokens, but still gets an end token,
    as in OpenAI's code with `truncate=True`.

    Args:
      prompts: B texts.
      length: Number of tokens of the model.

    Returns:
      Tokens, int32[B, length], and whether each text was cut, bool[B].

    Raises:
      ValueError: If the prompts are not texts.
    """
    found = self.texts.ids(
        [_clean(text) for text in tokenizer.checked(prompts)]
    )
    cut = np.array([len(row) > length - 2 for row in found])
    tokens = np.full((len(found), length), self.end_id, np.int32)
    tokens[:, 0] = self.start_id
    for padded, row in zip(tokens, found):
      kept = row[: length - 2]
      padded[1 : len(kept) + 1] = kept
    return tokens, cut


def _clean(text: str) -> str:
  # Twice, as OpenAI's code, because captions from the web may be escaped twice.
  return html.unescape(html.unescape(text.translate(_STRAIGHT)))
