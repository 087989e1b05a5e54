"""A restored CLIP: embeddings of images and of texts, on plain arrays."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

from etils import epath
import jax
import numpy as np
from PIL import Image

from rq_jax.checkpoints import networks
from rq_jax.data import transforms
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.evaluation import batches
from rq_jax.models import build
from rq_jax.models import clip
from rq_jax.text import clip_tokenizer
from rq_jax.typing import Variables

# The tokenizer beside the network, under the name that it was released with.
TOKENIZER = 'tokenizer.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """Embeds images and texts in one space.

  Attributes:
    model: The module.
    variables: Its 'params', on every device of the mesh.
    described: Its description in `network.json`.
    mesh: The devices; batches are split over them.
    tokenizer_file: File of the text tokenizer; None if the folder has none.
  """

  model: clip.CLIP
  variables: Variables
  described: networks.Description
  mesh: jax.sharding.Mesh
  tokenizer_file: epath.Path | None

  @property
  def fingerprint(self) -> str:
    """Hash of the weights."""
    return self.described.fingerprint

  @property
  def description(self) -> dict[str, Any]:
    """What the embeddings depend on: the network, its files, how it resizes."""
    return {
        'network': self.described.kind,
        **self.described.fields,
        'fingerprint': self.fingerprint,
        'sources': [dict(source) for source in self.described.sources],
        'preprocessing': f'pillow bicubic {self.model.image_size}, center crop',
    }

  @functools.cached_property
  def tokenizer(self) -> clip_tokenizer.ClipTokenizer:
    """The text tokenizer.

    Raises:
      ValueError: If there is none, or it does not fit the weights.
      ImportError: If the package tokenizers is not installed.
    """
    file = self.tokenizer_file
    if file is None:
      raise ValueError(
          f'This CLIP has no {TOKENIZER}, so it can embed images, but no texts.'
          f' Put {TOKENIZER} into the folder of the CLIP that you convert, and'
          ' convert it again.'
      )
    found = clip_tokenizer.ClipTokenizer.load(file)
    end = found.largest_id if self.model.end_id is None else self.model.end_id
    if found.largest_id >= self.model.vocab_size or found.end_id != end:
      raise ValueError(
          f'{file} has tokens up to {found.largest_id} and ends texts with'
          f' {found.end_id}, but this CLIP knows {self.model.vocab_size} tokens'
          f' and looks for {end}: they do not belong together. Convert the CLIP'
          f' with its own {TOKENIZER}.'
      )
    return found

  def image(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Embeds images: uint8[B, Y, X, 3] -> float32[B, embed_dim].

    Args:
      images: Images of any size, as one array or as a list of images of
        different sizes; see `crop`.

    Raises:
      ValueError: If the images have another type or shape.
    """
    size = self.model.image_size
    return self._rows(
        'image',
        images,
        lambda some: scaled(np.stack([crop(x, size=size) for x in some])),
    )

  def text(self, prompts: Sequence[str]) -> np.ndarray:
    """Embeds texts: B texts -> float32[B, embed_dim].

    Texts that are too long are cut, as in OpenAI's code, and a warning counts
    them.

    Raises:
      ValueError: If the prompts are not texts, there is no tokenizer, or it
        does not fit the weights.
      ImportError: If the package tokenizers is not installed.
    """
    length = self.model.text_length
    tokens, cut = self.tokenizer.encode(prompts, length)
    if cut.any():
      console.warn(
          f'{cut.sum()} of {len(cut)} texts have more than {length - 2} tokens.'
          ' CLIP reads only the first ones.'
      )
    return self._rows('text', tokens, np.asarray)

  def _rows(
      self,
      method: str,
      values: Sequence[np.ndarray] | np.ndarray,
      prepare: Callable[..., np.ndarray],
  ) -> np.ndarray:
    """Embeds rows, which `prepare` makes one array of on the host."""
    if not len(values):
      return np.zeros((0, self.model.embed_dim), np.float32)
    embed = functools.partial(_embed, self.model, method, self.variables)
    return batches.run(embed, values, self.mesh, prepare=prepare)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed(
    model: Any, method: str, variables: Variables, rows: jax.Array
) -> jax.Array:
  return model.apply(variables, rows, method=method)


def restore(
    path: epath.PathLike, mesh: jax.sharding.Mesh | None = None
) -> Clip:
  """Restores a converted CLIP, with a copy of its weights on every device.

  Args:
    path: Folder that `convert --from=clip` wrote.
    mesh: Devices to use; one device if None.

  Raises:
    ValueError: If the folder holds no CLIP, or a damaged one.
  """
  described = networks.describe(path, kinds=['clip'], flag='--clip')
  model = clip.CLIP(**described.fields)
  mesh = batches.mesh_or_one_device(mesh)
  abstract = build.network_variables(model, *clip.inputs(model))
  variables = networks.restore(
      path,
      described,
      partitioning.unbox(abstract),
      sharding=partitioning.replicated(mesh),
  )
  file = epath.Path(path).expanduser() / TOKENIZER
  return Clip(
      model=model,
      variables=variables,
      described=described,
      mesh=mesh,
      tokenizer_file=file if file.exists() else None,
  )


def crop(image: np.ndarray, *, size: int) -> np.ndarray:
  """The center of an image as CLIP sees it: -> uint8[size, size, 3].

  The shorter side is resized to `size` pixels, bicubic with antialiasing, by
  Pillow. Then the center is cropped as torchvision does it. These are the
  pixels of OpenAI's code and of CLIP-FID in clean-fid. Those of Hugging Face
  are the same, unless a margin is 3 pixels longer than a multiple of 4: then it
  crops one pixel earlier.

  Args:
    image: uint8[Y, X, 3].
    size: Height and width of the result.

  Raises:
    ValueError: If the image has another type or shape.
  """
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
    raise ValueError(
        f'The image is {image.dtype}{list(image.shape)}, but must be'
        ' uint8[Y, X, 3]. Convert it.'
    )
  height, width = transforms.covering_size(image.shape[:2], (size, size))
  resized = Image.fromarray(image).resize(
      (width, height), Image.Resampling.BICUBIC
  )
  return transforms.center_crop(np.asarray(resized), (size, size))


def scaled(pixels: np.ndarray) -> np.ndarray:
  """The input of the module: uint8[..., 3] -> float32[..., 3]."""
  mean, deviation = np.array([clip.MEAN, clip.DEVIATION], np.float32)
  return (pixels.astype(np.float32) / np.float32(255) - mean) / deviation
