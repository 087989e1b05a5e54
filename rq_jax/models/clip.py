"""CLIP with a ViT: images and texts as points of one space.

Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", ICML 2021. The defaults are those of ViT-B/32. Both towers are
those of Hugging Face's `CLIPModel`, from which weights are converted.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import layer_norm
from rq_jax.models import module
from rq_jax.models import transformer

# Mean and deviation of the training pixels, in [0, 1].
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class CLIP(module.Module):
  """Embeds images and texts.

  All computations are float32 on every device.

  Attributes:
    embed_dim: Width of the shared space.
    image_size: Height and width of the images.
    patch_size: Height and width of the patches that an image is cut into.
    image_width: Width of the transformer over patches, E.
    image_layers: Its number of layers.
    image_heads: Its number of attention heads.
    image_mlp: Width of its MLPs.
    text_width: Width of the causal transformer over tokens, E.
    text_layers: Its number of layers.
    text_heads: Its number of attention heads.
    text_mlp: Width of its MLPs.
    text_length: Number of token positions, T.
    vocab_size: Number of tokens.
    gelu: 'sigmoid' in the original models, or 'exact'; see
      `transformer.Block`.
    end_id: Token that ends a text; the features at its first position represent
      the text. None for the token with the largest id in the text, as in the
      original models, whose last token ends texts.
  """

  embed_dim: int = 512
  image_size: int = 224
  patch_size: int = 32
  image_width: int = 768
  image_layers: int = 12
  image_heads: int = 12
  image_mlp: int = 3072
  text_width: int = 512
  text_layers: int = 12
  text_heads: int = 8
  text_mlp: int = 2048
  text_length: int = 77
  vocab_size: int = 49408
  gelu: str = 'sigmoid'
  end_id: int | None = None

  def setup(self) -> None:
    """Builds both towers."""
    self._build_image_tower()
    self._build_text_tower()
    self.logit_scale = self.param(
        'logit_scale', nn.initializers.constant(2.6592), (), jnp.float32
    )

  def _build_image_tower(self) -> None:
    patch = (self.patch_size, self.patch_size)
    self.patches = nn.Conv(
        self.image_width,
        patch,
        strides=patch,
        padding='VALID',
        use_bias=False,
    )
    positions = (self.image_size // self.patch_size) ** 2 + 1
    self.class_embedding = self._table('class_embedding', self.image_width)
    self.image_position = self._table(
        'image_position', positions, self.image_width
    )
    self.image_norm_in = layer_norm.LayerNorm('float32')
    self.image_stack = transformer.Stack(
        self.image_layers,
        (
            ('width', self.image_width),
            ('heads', self.image_heads),
            ('mlp_width', self.image_mlp),
            ('causal', False),
            ('gelu', self.gelu),
        ),
    )
    self.image_norm_out = layer_norm.LayerNorm('float32')
    self.image_projection = nn.Dense(self.embed_dim, use_bias=False)

  def _build_text_tower(self) -> None:
    self.token_embedding = self._table(
        'token_embedding', self.vocab_size, self.text_width
    )
    self.text_position = self._table(
        'text_position', self.text_length, self.text_width
    )
    self.text_stack = transformer.Stack(
        self.text_layers,
        (
            ('width', self.text_width),
            ('heads', self.text_heads),
            ('mlp_width', self.text_mlp),
            ('gelu', self.gelu),
        ),
    )
    self.text_norm = layer_norm.LayerNorm('float32')
    self.text_projection = nn.Dense(self.embed_dim, use_bias=False)

  def _table(self, name: str, *shape: int) -> jax.Array:
    return self.param(name, nn.initializers.normal(0.02), shape, jnp.float32)

  def __call__(self, images: jax.Array, tokens: jax.Array) -> jax.Array:
    """Logits of each text for each image: [B, ...], [B', T] -> float32[B, B'].

    They are scaled cosines. Arguments are those of `image` and `text`.
    """
    image, text = _unit(self.image(images)), _unit(self.text(tokens))
    cosines = jnp.matmul(image, text.T, precision='highest')
    return jnp.exp(self.logit_scale) * cosines

  def image(self, images: jax.Array) -> jax.Array:
    """Embeds images: float32[B, S, S, 3] -> float32[B, embed_dim].

    Args:
      images: Pixels in [0, 1], after subtracting `MEAN` and dividing by
        `DEVIATION`; S is `image_size`.
    """
    with jax.default_matmul_precision('highest'):
      x = self.patches(images)  # [B, S/P, S/P, E]
      b, *_, width = x.shape
      first = jnp.broadcast_to(self.class_embedding, (b, 1, width))
      x = jnp.concatenate([first, x.reshape(b, -1, width)], axis=1)
      x = self.image_norm_in(x + self.image_position[None])
      x = self.image_stack(x)
      return self.image_projection(self.image_norm_out(x[:, 0]))

  def text(self, tokens: jax.Array) -> jax.Array:
    """Embeds texts: int32[B, T] -> float32[B, embed_dim].

    Args:
      tokens: Each text with its start and end tokens. Values after the end have
        no effect, but must not be larger than it if `end_id` is None.
    """
    found = tokens if self.end_id is None else tokens == self.end_id
    end = jnp.argmax(found, axis=1)[:, None, None]  # The first of several.
    with jax.default_matmul_precision('highest'):
      x = self.token_embedding[tokens]
      x = self.text_stack(x + self.text_position[None, : tokens.shape[1]])
      x = jnp.take_along_axis(x, end, axis=1)[:, 0]
      return self.text_projection(self.text_norm(x))


def inputs(model: CLIP) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes of one image and one text, the arguments of a model."""
  image = (1, model.image_size, model.image_size, 3)
  return (
      jax.ShapeDtypeStruct(image, jnp.float32),
      jax.ShapeDtypeStruct((1, model.text_length), jnp.int32),
  )


def _unit(x: jax.Array) -> jax.Array:
  return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
