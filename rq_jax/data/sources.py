"""Where examples come from: random access to images, one dict per example.

Every source has a length and answers `source[i]` with

  image   uint8[h, w, 3]
  label   int32[]

and is cheap to copy into the loader's worker processes. `features.Features`
is the same for the cache that stage 2 reads.
"""

from typing import Any, Protocol

from etils import epath
import numpy as np
from PIL import Image

from rq_jax import config_fields
from rq_jax.data import features
from rq_jax.data import image_files

SPLITS = ('train', 'test')
SOURCES = ('digits', 'image_folder', 'features')

# Without folders of its own, the test split is every fifth example.
_FOLD, _HELD_OUT = 5, 4


class Source(Protocol):
  """Random access to examples."""

  @property
  def num_classes(self) -> int:
    """Classes of the data; labels lie in [0, num_classes)."""
    ...

  def __len__(self) -> int:
    """Number of examples."""
    ...

  def __getitem__(self, index: int) -> dict[str, Any]:
    """One example, by name."""
    ...


class Digits:
  """The 1797 handwritten digits that come with scikit-learn, upscaled.

  Example i of scikit-learn's order is in the test split if i % 5 == 4, else in
  the training split. The 8x8 pixels (0 to 16) are enlarged once, bicubically,
  and all images stay in memory.

  Attributes:
    num_classes: 10.
  """

  num_classes = 10

  def __init__(self, split: str, image_size: int = 32):
    """Loads a split.

    Args:
      split: 'train' (1438 images) or 'test' (359).
      image_size: Side of the images, S.

    Raises:
      ValueError: If there is no such split.
      ImportError: If scikit-learn is not installed.
    """
    _check_split(split)
    try:
      from sklearn import datasets
    except ImportError as error:
      raise ImportError(
          "config.data.source='digits' needs scikit-learn; install it with"
          " `pip install 'rq_jax[quickstart]'`"
      ) from error
    digits = datasets.load_digits()
    chosen = _in_split(len(digits.target), split)
    grey = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    size = (image_size, image_size)
    enlarged = [
        np.asarray(Image.fromarray(image).resize(size, Image.BICUBIC))
        for image in grey
    ]
    self._images = np.stack(enlarged)  # [N, S, S]
    self._labels = digits.target[chosen].astype(np.int32)

  def __len__(self) -> int:
    """Number of digits in the split."""
    return len(self._labels)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', uint8[S, S, 3] with three equal channels, and 'label'."""
    image = np.repeat(self._images[index][..., None], 3, axis=-1)
    return {'image': image, 'label': self._labels[index]}


class ImageFolder:
  """Images in folders: JPEG, PNG and WebP files of any size.

  Two layouts of the two splits:

    path/train/..., path/test/... (or val/)   each split in its folder;
    path/...                                  every fifth file, counted in
                                              order, is the test split.

  In either, `...` is CLASS/FILE, or FILE alone for images without classes,
  which all get label 0. Labels number the class names in alphabetical order,
  the names of both splits together. Other files, deeper folders and folders
  whose name begins with a dot are ignored. The rotation that a camera notes in
  a file is ignored too, as in torchvision.

  Attributes:
    classes: Names of the classes; empty if there are none.
    num_classes: Their number; 1 if there are none.
  """

  def __init__(
      self,
      path: epath.PathLike | None,
      split: str = 'train',
      *,
      max_pixels: int = config_fields.DEFAULT_MAX_PIXELS,
  ):
    """Lists the files of a split; none is opened yet.

    Args:
      path: The folder, local or remote.
      split: 'train' or 'test'.
      max_pixels: Larger images are refused when they are read.

    Raises:
      ValueError: If there is no such split or folder, or no image in it.
    """
    _check_split(split)
    if path is None or not epath.Path(path).is_dir():
      raise ValueError(
          f'config.data.path is {str(path)!r}, which is no folder;'
          " source 'image_folder' needs a folder of images; set"
          ' --config.data.path to it'
      )
    root = epath.Path(path)
    folders = _split_folders(root)
    roots = tuple(folders.values()) or (root,)
    names = {folder.name for each in roots for folder in _subfolders(each)}
    self.classes = tuple(sorted(names))
    self.num_classes = len(self.classes) or 1
    files, labels = _list_images(folders.get(split, root), self.classes)
    if not folders:
      chosen = _in_split(len(files), split)
      files, labels = [files[i] for i in chosen], labels[chosen]
    self._files, self._labels = files, labels
    self._max_pixels = max_pixels
    if not files:
      raise ValueError(
          f'config.data.path is {str(path)!r}, where the {split} split has no'
          f' image; it needs {", ".join(sorted(image_files.EXTENSIONS))} files'
          ' in class folders or side by side, and, unless there are folders'
          ' train/ and test/, at least 5 of them; set --config.data.path to'
          ' such a folder'
      )

  def __len__(self) -> int:
    """Number of images in the split."""
    return len(self._files)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', uint8[h, w, 3], and 'label'.

    Raises:
      ValueError: If the file cannot be read, see `image_files.read`.
    """
    path = self._files[index]
    image = image_files.read(path, max_pixels=self._max_pixels)
    return {'image': image, 'label': self._labels[index]}


def open_source(data_config: Any, split: str) -> Source:
  """The source that an experiment names.

  Args:
    data_config: Has the attributes `source` (one of `SOURCES`), `path`,
      `image_size` and `max_pixels`, as `config.data`.
    split: 'train' or 'test'.

  Raises:
    ValueError: If there is no such source or split, or its files are missing.
  """
  match data_config.source:
    case 'digits':
      return Digits(split, data_config.image_size)
    case 'image_folder':
      return ImageFolder(
          data_config.path, split, max_pixels=data_config.max_pixels
      )
    case 'features':
      return features.Features(data_config.path, split)
  raise ValueError(
      f'config.data.source is {data_config.source!r}; possible are'
      f' {", ".join(SOURCES)}; set --config.data.source to one of them'
  )


def check_classes(config: Any, train: Source) -> str | None:
  """Refuses labels that a stage-2 model has no class for, in either split.

  JAX would train another row of the table with them. A model may have more
  classes than the data.

  Args:
    config: A checked stage-2 experiment.
    train: The training split of its data.

  Returns:
    A sentence that names classes which no example trains, if there are any.

  Raises:
    ValueError: If the data have more classes than the model.
  """
  known = config.model.num_classes
  if not known:
    return None  # Labels are not read.
  counts = {'train': train.num_classes}
  if config.data.source == 'features':  # Other sources count them together.
    counts['test'] = open_source(config.data, 'test').num_classes
  for split, count in counts.items():
    if count > known:
      raise ValueError(
          f'config.model.num_classes={known}, but the {split} split of the data'
          f' has {count} classes: the model has no class for the labels from'
          f' {known} to {count - 1}. Set --config.model.num_classes={count}, or'
          ' choose other data with --config.data.path.'
      )
  if (count := train.num_classes) < known:
    return (
        f'The model has {known} classes and the data have {count}: no example'
        f' trains the classes from {count} to {known - 1}.'
    )
  return None


def _check_split(split: str) -> None:
  if split not in SPLITS:
    raise ValueError(
        f'the split is {split!r}; possible are {", ".join(SPLITS)}; ask for'
        ' one of them'
    )


def _in_split(count: int, split: str) -> np.ndarray:
  """Indices of the examples in a split, int[n], if there are no folders."""
  held_out = np.arange(count) % _FOLD == _HELD_OUT
  return np.flatnonzero(held_out if split == 'test' else ~held_out)


def _subfolders(folder: epath.Path) -> list[epath.Path]:
  entries = (e for e in folder.iterdir() if not e.name.startswith('.'))
  # Most entries are files; their names tell without asking the file system.
  return [
      e
      for e in entries
      if e.suffix.lower() not in image_files.EXTENSIONS and e.is_dir()
  ]


def _split_folders(root: epath.Path) -> dict[str, epath.Path]:
  """The folders of the splits, or nothing if `root` mixes them."""
  names = {folder.name for folder in _subfolders(root)}
  test = next((name for name in ('test', 'val') if name in names), None)
  if test is None or 'train' not in names:
    return {}
  return {'train': root / 'train', 'test': root / test}


def _list_images(
    root: epath.Path, classes: tuple[str, ...]
) -> tuple[list[str], np.ndarray]:
  """Files in order, and their labels, int32[N]."""
  files, labels = [], []
  folders = [root / name for name in classes] or [root]
  for label, folder in enumerate(folders):
    if not folder.is_dir():
      continue  # A class that only the other split has.
    images = (
        e
        for e in folder.iterdir()
        if e.suffix.lower() in image_files.EXTENSIONS
    )
    paths = sorted(str(image) for image in images)
    files += paths
    labels += [label] * len(paths)
  return files, np.array(labels, np.int32)
