"""Converts texts to token ids, for models that are conditioned on texts."""

from rq_jax.text.tokenizer import TextTokenizer
from rq_jax.text.tokenizer import char_bpe
from rq_jax.text.tokenizer import find

__all__ = ['TextTokenizer', 'char_bpe', 'find']
