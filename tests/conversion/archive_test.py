"""Checkpoints are found in folders and archives; configs are not executed."""

import os
import tarfile

import pytest

from rq_jax.checkpoints import stored
from rq_jax.conversion import archive
from rq_jax.conversion.configs import beside
from tests import tiny
from tests.conversion import pickles

RQVAE = 'arch:\n  type: rq-vae\n'
RQTRANSFORMER = 'arch:\n  type: rq-transformer\n'
BOTH = {
    'stage1/model.pt': 'one',
    'stage1/config.yaml': RQVAE,
    'stage2/model.pt': 'two',
    'stage2/config.yaml': RQTRANSFORMER,
}


def lay_out(folder, files):
  for name, text in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
  return folder


def found(src, scratch):
  """The contents of the files that were found, by stage."""
  with archive.open_source(src, scratch) as source:
    for path in (source.stage1, source.stage2):
      assert path is None or beside.find(path).is_file()
    return [
        path and path.read_text() for path in (source.stage1, source.stage2)
    ]


@pytest.mark.parametrize('around', ['', 'imagenet_1.4B'])
def test_a_folder_with_both_stages(tmp_path, around):
  lay_out(tmp_path / 'src' / around, BOTH)
  assert found(tmp_path / 'src', tmp_path / 'scratch') == ['one', 'two']
  assert not (tmp_path / 'scratch').exists()


@pytest.mark.parametrize(
    ('stage', 'expected'),
    [('stage1', ['one', None]), ('stage2', [None, 'two'])],
)
def test_a_folder_with_one_stage(tmp_path, stage, expected):
  files = {name: text for name, text in BOTH.items() if stage in name}
  src = lay_out(tmp_path / 'src', files)
  assert found(src, tmp_path) == expected
  assert found(src / stage, tmp_path) == expected
  assert found(src / stage / 'model.pt', tmp_path) == expected


@pytest.mark.parametrize('suffix', ['tar', 'tar.gz', 'tgz'])
def test_an_archive_is_unpacked_for_as_long_as_it_is_open(tmp_path, suffix):
  src = tmp_path / f'imagenet.{suffix}'
  folder = lay_out(tmp_path / 'imagenet', BOTH)
  with tarfile.open(src, 'w:gz' if 'g' in suffix else 'w') as tar:
    tar.add(folder, 'imagenet')
  scratch = tmp_path / 'scratch'
  assert found(src, scratch) == ['one', 'two']
  with archive.open_source(src, scratch) as source:
    assert source.stage1.is_relative_to(scratch)
  assert os.listdir(scratch) == []
  with pytest.raises(KeyError), archive.open_source(src, scratch):
    raise KeyError
  assert os.listdir(scratch) == []


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'README': ''}, 'neither stage1 nor stage2, and 0 files'),
        ({'a.pt': '', 'b.pt': '', 'config.yaml': RQVAE}, 'and 2 files'),
        ({'a.bin': '', 'b.ckpt': '', 'config.yaml': RQVAE}, 'and 2 files'),
        ({'a.pt': ''}, 'has no config.yaml'),
        ({'stage1/model.pt': ''}, 'stage1, but not stage1/config.yaml'),
        ({'stage1/config.yaml': RQVAE}, 'stage1, but not stage1/model.pt'),
        ({**BOTH, 'stage1/config.yaml': RQTRANSFORMER}, 'the other stage'),
        ({'a/stage1/x': '', 'b/stage1/x': ''}, r"several models: \['a', 'b'\]"),
        ({'a.pt': '', 'config.yaml': 'arch: {type: vq-gan}'}, "'vq-gan'"),
        ({'a.pt': '', 'config.yaml': 'arch: {type: [1]}'}, r'\[1\]'),
        ({'a.pt': '', 'config.yaml': 'arch: 7'}, 'arch.type=None'),
    ],
)
def test_a_folder_that_is_none_of_these_is_refused(tmp_path, files, message):
  src = lay_out(tmp_path / 'src', files)
  with (
      pytest.raises(ValueError, match=message),
      archive.open_source(src, tmp_path),
  ):
    pass


def test_the_name_of_the_releases_comes_before_others(tmp_path):
  files = {'a.bin': '', 'model.pt': 'one', 'config.yaml': RQVAE}
  assert found(lay_out(tmp_path, files), tmp_path) == ['one', None]


def test_what_macos_leaves_beside_files_is_passed_over(tmp_path):
  files = {'._a.pt': '', 'a.pt': 'one', 'config.yaml': RQVAE}
  assert found(lay_out(tmp_path, files), tmp_path) == ['one', None]


# The first bytes of files of torch.save: today, before 1.6, and in the first
# releases, whose tar files are found but refused when they are read.
HEADS = ['PK\3\4', pickles.MAGIC, 'sys_info'.ljust(257, '\0') + 'ustar']


def _checkpoint(folder, name, head):
  data = head if isinstance(head, bytes) else head.encode()
  lay_out(folder, {'config.yaml': RQVAE})
  (folder / name).write_bytes(data)
  return folder / name


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize(
    'name', ['a.pt', 'a.pth', 'a.ckpt', 'a.bin', 'a', '.b']
)
def test_a_file_is_a_checkpoint_by_its_first_bytes(tmp_path, name, head):
  path = _checkpoint(tmp_path / 'src', name, head)
  with archive.open_source(path, tmp_path / 'scratch') as source:
    assert (source.stage1, source.stage2) == (path, None)
  assert not (tmp_path / 'scratch').exists()


@pytest.mark.parametrize('name', ['a.pt', 'a.pth', 'a.ckpt', 'a.bin'])
def test_a_folder_with_one_checkpoint_of_any_name(tmp_path, name):
  files = {name: 'one', f'._{name}': '', 'config.yaml': RQVAE, 'notes': ''}
  assert found(lay_out(tmp_path, files), tmp_path) == ['one', None]


def test_an_archive_may_be_called_like_a_checkpoint(tmp_path):
  folder = lay_out(tmp_path / 'imagenet', BOTH)
  for mode in ('w', 'w:gz'):
    with tarfile.open(tmp_path / 'imagenet.pt', mode) as tar:
      tar.add(folder, 'imagenet')
    found_in = found(tmp_path / 'imagenet.pt', tmp_path / 'scratch')
    assert found_in == ['one', 'two']


@pytest.mark.parametrize('name', ['imagenet.tar.gz', 'a.pth', 'a'])
def test_a_web_page_is_named_before_anything_is_missed(tmp_path, name):
  (tmp_path / name).write_text('<!DOCTYPE html>')
  with (
      pytest.raises(ValueError, match=f'{name} is a web page. Download'),
      archive.open_source(tmp_path / name, tmp_path),
  ):
    pass


def test_an_empty_file_is_named_before_anything_is_missed(tmp_path):
  (tmp_path / 'a.pth').touch()
  with (
      pytest.raises(ValueError, match='a.pth is empty'),
      archive.open_source(tmp_path / 'a.pth', tmp_path),
  ):
    pass


@pytest.mark.parametrize('own', [False, True])
def test_safetensors_are_laid_out_as_releases_are(tmp_path, own):
  files = {'stage1/model.safetensors': 'one', 'stage1/config.yaml': RQVAE}
  folder = lay_out(tmp_path / 'src', files)
  if own:
    (folder / 'stage1' / 'config.yaml').unlink()
    with pytest.raises(ValueError, match='stage1, but not stage1/config.yaml'):
      found(folder, tmp_path)
    stored.write_config(folder / 'stage1', tiny.stage1_config())
  assert found(folder, tmp_path) == ['one', None]
  assert found(folder / 'stage1' / 'model.safetensors', tmp_path) == [
      'one',
      None,
  ]


def test_what_does_not_exist_is_refused(tmp_path):
  with (
      pytest.raises(ValueError, match='does not exist'),
      archive.open_source(tmp_path / 'missing.tar.gz', tmp_path),
  ):
    pass
