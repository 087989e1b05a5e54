"""The pages for readers: their code and commands run, their links work."""

import pathlib
import re
import tarfile

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax import __main__ as main_lib
from rq_jax import config as config_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.cli import distributed_flags
from rq_jax.conversion.torch_format import writing
from rq_jax.distributed import partitioning
from rq_jax.jobs import train
from rq_jax.models import build
from tests import official
from tests import shown_commands
from tests.conversion import checkpoints
from tests.jobs.prepare import archives

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ['README.md', 'launch/README.md'] + sorted(
    str(page.relative_to(ROOT)) for page in (ROOT / 'docs').glob('*.md')
)
# Appended to commands, so that they run quickly; the last flag counts.
QUICKLY = {
    'sample': ['--num_images=2', '--chunk_size=2'],
    'sample --checkpoint=checkpoints/imagenet_1.4b': ['--labels=1'],
}
# Too long for a test even with a stand-in: only their flags are parsed.
ONLY_PARSED = re.compile(
    r'^benchmark |^compile |--target=|^evaluate '
    r'|^(encode|sample) .*(imagenet|lsun_.*|ffhq)256|/50k'
    r'|^prepare --from=(lsun|webdataset)|downloads/ffhq|reproduced/'
    r'|^convert --from=(inception|vgg16|resnet|efficientnet_lite0|clip)'
)


def _random(abstract):
  """Variables of the right shapes; small enough that images are no noise."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype), abstract
  )


def _experiment(file, **changes):
  fields = config_lib.to_dict(
      config_lib.load(str(ROOT / 'configs' / file), with_data=False)
  )
  for section, values in changes.items():
    fields[section] |= values
  return config_lib.parse(fields)


def _write_generator(folder, **data):
  """Folders of both stages, as the quickstart leaves them, but smaller."""
  stage1 = _experiment('digits/rqvae.py', data=data)
  model = build.rqvae(stage1.model)
  tokenizer = _random(partitioning.unbox(build.rqvae_variables(model)))
  small = dict(width=16, heads=2, spatial_layers=1, depth_layers=1)
  stage2 = _experiment('digits/rqtransformer.py', model=small)
  prior = build.rqtransformer(stage2.model)
  variables = _random(partitioning.unbox(build.rqtransformer_variables(prior)))
  inference_copy.export(folder / 'rqvae', stage1, tokenizer)
  inference_copy.export(folder / 'rqtransformer', stage2, variables)
  inference_copy.export(
      folder / 'rqtransformer' / 'tokenizer', stage1, tokenizer
  )


def _write_images(folder):
  """Five classes of small images."""
  rng = np.random.default_rng(0)
  for name in 'abcde':
    (folder / name).mkdir(parents=True)
    for i in range(5):
      pixels = rng.integers(0, 256, (40, 32, 3), np.uint8)
      Image.fromarray(pixels).save(folder / name / f'{i}.png')


@pytest.fixture(scope='module')
def stand_ins(tmp_path_factory):
  """A folder with the files that the pages use."""
  folder = tmp_path_factory.mktemp('stand_ins')
  (folder / 'configs').symlink_to(ROOT / 'configs')
  _write_images(folder / 'IMAGES')
  archives.write(folder / 'downloads' / 'imagenet')
  _write_generator(folder / 'runs' / 'quickstart')
  (folder / 'runs' / 'digits').symlink_to(folder / 'runs' / 'quickstart')
  _write_generator(
      folder / 'runs' / 'mine',
      source='image_folder',
      path=str(folder / 'IMAGES'),
  )
  both = checkpoints.write_both(folder / 'imagenet_1.4B')
  with tarfile.open(folder / 'imagenet_1.4B.tar.gz', 'w:gz') as archive:
    archive.add(both, 'imagenet_1.4B')
  weights = official.drawn_weights('lpips')
  for name, start in ('vgg16.pth', 'features'), ('vgg.pth', 'lin'):
    arrays = {n: a for n, a in weights.items() if n.startswith(start)}
    writing.write(folder / name, arrays)
  return folder


def _run(words):
  """Runs a command of a page, on the stand-ins of the current folder."""
  line = ' '.join(words)
  if ONLY_PARSED.search(line):
    words = [*words, '--help']
  for start, more in QUICKLY.items():
    words = words + more if line.startswith(start) else words
  assert main_lib.main(words) == 0, line


def _parts(text):
  """Python blocks and commands of a page, in order."""
  for block in re.split(r'(```.*?```)', text, flags=re.S):
    if block.startswith('```python\n'):
      yield 'python', block.removeprefix('```python\n').removesuffix('```')
    elif not block.startswith('```'):
      for words in shown_commands.commands(block):
        yield 'command', words


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES)
def test_what_a_page_shows_runs(page, stand_ins, tmp_path, monkeypatch):
  """Commands and Python in order, in one folder and one namespace."""
  for file in stand_ins.iterdir():
    (tmp_path / file.name).symlink_to(file)
  monkeypatch.chdir(tmp_path)
  # Training stops where it would begin: after all checks of the experiment.
  monkeypatch.setattr(train, 'train', lambda *_, **__: {})
  monkeypatch.setattr(distributed_flags, 'join', lambda _: None)
  # One device, as a reader may have, and as it compiles fastest.
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
  namespace = {}
  for kind, part in _parts((ROOT / page).read_text()):
    if kind == 'command':
      _run(part)
    else:
      exec(compile(part, page, 'exec'), namespace)  # noqa: S102 (our own page)


def test_the_pages_show_every_command():
  shown = {
      part[0]
      for page in PAGES
      for kind, part in _parts((ROOT / page).read_text())
      if kind == 'command'
  }
  assert shown == {
      'benchmark',
      'checkpoint',
      'compile',
      'convert',
      'encode',
      'evaluate',
      'inspect',
      'prepare',
      'sample',
      'train',
  }


def test_the_readme_shows_python_and_commands():
  parts = list(_parts((ROOT / 'README.md').read_text()))
  assert [kind for kind, _ in parts].count('python') == 1
  shown = {part[0] for kind, part in parts if kind == 'command'}
  assert shown == {'train', 'encode', 'sample', 'convert'}


@pytest.mark.parametrize('page', PAGES)
def test_no_page_hides_commands_in_a_fence(page):
  """Commands are indented; only Python is run from fences."""
  fences = re.findall(r'^```(.*)$', (ROOT / page).read_text(), re.M)
  assert set(fences) <= {'', 'python', 'bibtex'}


def test_the_readme_is_short():
  assert len((ROOT / 'README.md').read_text().splitlines()) <= 150


def _anchors(text):
  """Names of the headings of a page, as a link writes them."""
  headings = re.findall(r'^#+ (.*)$', text, re.M)
  plain = [re.sub(r'[^\w\- ]', '', h.lower()) for h in headings]
  return {heading.replace(' ', '-') for heading in plain}


@pytest.mark.parametrize('page', [*PAGES, 'CONTRIBUTING.md', 'CHANGELOG.md'])
def test_links_lead_somewhere(page):
  file = ROOT / page
  links = re.findall(r'\]\(([^)\s]+)\)', file.read_text())
  for link in links:
    if link.startswith('https://'):
      continue
    path, _, anchor = link.partition('#')
    target = file.parent / path if path else file
    assert target.exists(), link
    if anchor:
      assert anchor in _anchors(target.read_text()), link
