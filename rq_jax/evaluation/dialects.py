"""Dialects: the settings with which each tool computes its metrics.

All of these tools use one Inception network, but resize, scale, split, shuffle
and round differently. A score is comparable only within one dialect. The
settings were read in the sources of the tools: pytorch-fid 0.3.0,
torch-fidelity 0.4.0, clean-fid 0.1.35, `evaluations/evaluator.py` of
guided-diffusion (ADM), and `rqvae/metrics` of the authors of RQ-VAE.

The size of a batch changes nothing in any of these tools, except rounding.
"""

from collections.abc import Mapping
import dataclasses
import types

METRICS = ('fid', 'sfid', 'is', 'precision_recall', 'kid')


@dataclasses.dataclass(frozen=True, kw_only=True)
class InceptionScore:
  """How a tool computes the Inception Score.

  Attributes:
    logits: The output of Inception that it reads: 'logits', or
      'unbiased_logits' if the tool leaves out the bias of the last layer.
    splits: Number of parts of almost equal size; None if `split_size` is set.
    split_size: Images of a part, where the last part may be smaller; None if
      `splits` is set.
    seed: Seed of `numpy.random.RandomState`, whose `permutation` shuffles the
      images before they are split; None to keep their order.
    ddof: What is subtracted from the number of parts in the standard deviation
      over parts; None if the tool prints no deviation.
  """

  logits: str
  splits: int | None = None
  split_size: int | None = None
  seed: int | None = None
  ddof: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
  """How a tool computes improved precision and recall.

  Attributes:
    network: Kind of the network whose features are compared, as
      `checkpoints.networks` names it.
    features: Which output of the network.
    k: The radius of an image is the distance to its k-th nearest neighbour.
    half: Whether distances are float16 where all of a block are finite.
  """

  network: str
  features: str
  k: int
  half: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelDistance:
  """How a tool computes the kernel distance (KID), of degree 3, unbiased.

  Attributes:
    subsets: Number of random subsets.
    subset_size: Images of each subset.
    seed: Seed of `numpy.random.RandomState`, which draws the subsets.
    reduces_size: Whether smaller sets reduce the size of subsets. If not, the
      tool refuses smaller sets.
  """

  subsets: int
  subset_size: int
  seed: int
  reduces_size: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
  """The settings of a tool.

  Attributes:
    name: The value of --dialect.
    tool: The tool, and the version whose source was read.
    resize: How images get 299 pixels, a key of `resizing.METHODS`.
    scale: What Inception gets of the resized pixels, a key of
      `resizing.SCALES`.
    weights: The file of Inception's weights that the tool downloads. All three
      files hold the same network of 2015.
    spatial: Whether the tool computes sFID, from 7 channels of a feature map.
    inception_score: Settings of the Inception Score; None if it has none.
    precision_recall: Settings of precision and recall; None if it has none.
    kernel_distance: Settings of KID; None if it has none.
    differs: What is done differently here, on purpose.
    checked_against: By part ('pixels', 'features', 'statistics'): what this
      package was compared with.
  """

  name: str
  tool: str
  resize: str
  scale: str
  weights: str
  spatial: bool = False
  inception_score: InceptionScore | None = None
  precision_recall: PrecisionRecall | None = None
  kernel_distance: KernelDistance | None = None
  differs: tuple[str, ...] = ()
  checked_against: Mapping[str, str]

  @property
  def metrics(self) -> tuple[str, ...]:
    """The metrics that the tool defines, in the order of `METRICS`."""
    defined = {
        'fid': True,  # All of these tools compute it.
        'sfid': self.spatial,
        'is': self.inception_score is not None,
        'precision_recall': self.precision_recall is not None,
        'kid': self.kernel_distance is not None,
    }
    return tuple(name for name in METRICS if defined[name])

  def shares_features(self, other: 'Dialect') -> bool:
    """Whether both have the same features, so that references fit both."""
    return (self.resize, self.scale) == (other.resize, other.scale)


_PTH = 'pt_inception-2015-12-05-6726825d.pth'
_RECORDED = 'a recording of the tool'
_FLOAT32_MEAN = (
    'The tool averages features in float32; here all sums are float64.'
)
_SQRTM = (
    'The tool computes the root of a matrix with scipy.linalg.sqrtm; here'
    ' eigenvalues give the same trace.'
)

_ALL = (
    Dialect(
        name='adm',
        tool='guided-diffusion, evaluations/evaluator.py at 1b61a43',
        resize='bilinear_tensorflow1',
        scale='(x-128)/128',
        weights='classify_image_graph_def.pb',
        spatial=True,
        inception_score=InceptionScore(
            logits='unbiased_logits', split_size=5000
        ),
        precision_recall=PrecisionRecall(
            network='inception', features='pool', k=3, half=True
        ),
        differs=(_FLOAT32_MEAN, _SQRTM),
        checked_against={
            'pixels': (
                'a recording of torch-fidelity, which states that it equals'
                ' TensorFlow 1'
            ),
            'features': 'its source only, as TensorFlow 1 cannot be installed',
            'statistics': 'its source only',
        },
    ),
    Dialect(
        name='pytorch-fid',
        tool='pytorch-fid 0.3.0',
        resize='bilinear_half_pixel',
        scale='2x-1',
        weights=_PTH,
        differs=(_SQRTM,),
        checked_against={
            'pixels': _RECORDED,
            'features': (
                'a recording of its copy in the code of rq, with random weights'
            ),
            'statistics': _RECORDED,
        },
    ),
    Dialect(
        name='torch-fidelity',
        tool='torch-fidelity 0.4.0',
        resize='bilinear_tensorflow1',
        scale='(x-128)/128',
        weights='weights-inception-2015-12-05-6726825d.pth',
        inception_score=InceptionScore(
            logits='unbiased_logits', splits=10, seed=2020, ddof=0
        ),
        precision_recall=PrecisionRecall(
            network='vgg16', features='fc2', k=3, half=False
        ),
        kernel_distance=KernelDistance(
            subsets=100, subset_size=1000, seed=2020, reduces_size=False
        ),
        differs=(_FLOAT32_MEAN,),
        checked_against={
            'pixels': _RECORDED,
            'features': f'{_RECORDED}, with random weights',
            'statistics': _RECORDED,
        },
    ),
    Dialect(
        name='clean-fid',
        tool='clean-fid 0.1.35, mode "clean"',
        resize='bicubic_pillow',
        scale='(x-128)/128',
        weights='inception-2015-12-05.pt',
        kernel_distance=KernelDistance(
            subsets=100, subset_size=1000, seed=0, reduces_size=True
        ),
        differs=(
            _FLOAT32_MEAN,
            _SQRTM,
            'The tool draws the subsets of KID without a seed; here the seed is'
            ' 0, so that the value repeats.',
        ),
        checked_against={
            'pixels': _RECORDED,
            'features': (
                'its source only, as its network is a TorchScript program that'
                ' is not in the package'
            ),
            'statistics': _RECORDED,
        },
    ),
    Dialect(
        name='rq',
        tool='rq-vae-transformer, rqvae/metrics at c3de514',
        resize='bilinear_half_pixel',
        scale='2x-1',
        weights=_PTH,
        inception_score=InceptionScore(
            logits='logits', splits=10, seed=0, ddof=1
        ),
        differs=(
            'The tool takes float pixels; here images are rounded to uint8, as'
            ' image files are.',
            'The tool shuffles for the Inception Score without a seed; here the'
            ' seed is 0, so that the value repeats.',
            _FLOAT32_MEAN,
            _SQRTM,
        ),
        checked_against={
            'pixels': _RECORDED,
            'features': f'{_RECORDED}, with random weights',
            'statistics': _RECORDED,
        },
    ),
)
DIALECTS: Mapping[str, Dialect] = types.MappingProxyType(
    {dialect.name: dialect for dialect in _ALL}
)


def find(name: str) -> Dialect:
  """The dialect of a name.

  Raises:
    ValueError: If there is no such dialect.
  """
  if name not in DIALECTS:
    raise ValueError(
        f'--dialect={name} is unknown. Choose from {", ".join(DIALECTS)}.'
    )
  return DIALECTS[name]


def require(dialect: Dialect, metric: str) -> None:
  """Checks that a dialect defines a metric, a name in `METRICS`.

  Raises:
    ValueError: If it does not, or if no dialect does.
  """
  having = [d.name for d in DIALECTS.values() if metric in d.metrics]
  if not having:
    raise ValueError(
        f'--metrics={metric} is in no dialect. Metrics that dialects define:'
        f' {", ".join(METRICS)}.'
    )
  if dialect.name not in having:
    raise ValueError(
        f'--dialect={dialect.name} does not define --metrics={metric}. These'
        f' dialects do: {", ".join(having)}. Change --dialect or --metrics.'
    )
