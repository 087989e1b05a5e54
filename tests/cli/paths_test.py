"""Paths of flags and of the API: ~ is expanded, and empty ones are refused."""

from absl import flags
import pytest

from rq_jax import __main__ as main_lib
from rq_jax import sampling
from rq_jax import tokenizer
from rq_jax.checkpoints import stored
from rq_jax.cli import command
from rq_jax.jobs.convert import from_lpips
from rq_jax.jobs.convert import from_network
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.convert import to_official
from rq_jax.jobs.encode import job as encode
from rq_jax.jobs.quickstart import job as quickstart
from rq_jax.jobs.sample import job as sample
from rq_jax.text import tokenizer as text
from rq_jax.training import workdir

# Flags that take any text, but are no paths. A --config may have an argument
# after its path, which `config.reading` splits off. Lists have other parsers.
TEXTS = {
    *((name, 'config') for name in ('benchmark', 'compile', 'encode', 'train')),
    *((name, 'target') for name in ('compile', 'train')),
    *(
        (name, 'coordinator')
        for name in ('encode', 'evaluate', 'prepare', 'sample', 'train')
    ),
}


def defined(name):
  """The flags that a command defines."""
  found = []

  def run(values, argv, doc, work, **options):
    del argv, doc, work, options
    found.append(values)
    return 0

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(command, 'run', run)
    main_lib.main([name])
  (values,) = found
  return values


def takes_any_text(flag):
  return type(flag.parser) is flags.ArgumentParser


def is_path(flag):
  return flag.flag_type() == 'path'


PATHS = [
    (name, flag)
    for name in main_lib.COMMANDS
    for flag in sorted(defined(name))
    if is_path(defined(name)[flag])
]


def test_every_flag_that_takes_any_text_is_defined_as_a_path():
  assert ('train', 'workdir') in PATHS and len(PATHS) >= 17
  found = {
      (name, flag)
      for name in main_lib.COMMANDS
      for flag in defined(name)
      if takes_any_text(defined(name)[flag])
  }
  assert found == TEXTS


@pytest.mark.parametrize(('name', 'flag'), PATHS)
def test_an_empty_path_is_refused_in_every_flag(name, flag, capsys):
  for given in ('', ' '):
    assert main_lib.main([name, f'--{flag}={given}']) == 1
    assert capsys.readouterr().err == (
        f'Error: --{flag}={given!r} names no file or folder. Give a path. If it'
        ' came from a shell variable, that variable is not set. See python -m'
        f' rq_jax {name} --help.\n'
    )


@pytest.mark.parametrize(('name', 'flag'), PATHS)
def test_a_home_folder_is_expanded_in_every_flag(name, flag, monkeypatch):
  monkeypatch.setenv('HOME', '/home/somebody')
  for given, path in (
      ('~/a', '/home/somebody/a'),
      ('a/~', 'a/~'),
      ('gs://b/~', 'gs://b/~'),
  ):
    values = defined(name)
    values([name, f'--{flag}={given}'])
    assert values[flag].value == path


# Functions of the API, the name of a path, and their other arguments.
ENTRIES = [
    (tokenizer.Tokenizer.restore, 'path', {}),
    (sampling.Sampler.restore, 'path', {}),
    (sampling.Sampler.restore, 'tokenizer', {'path': 'a'}),
    (sampling.Sampler.restore, 'text_tokenizer', {'path': 'a'}),
    (stored.read_config, 'path', {}),
    (stored.restore_variables, 'path', {'abstract': {}}),
    (encode.encode, 'out', {'tokenizer': None, 'data': None}),
    (sample.sample, 'out', {'drawing': None, 'origin': {}}),
    (quickstart.quickstart, 'out', {}),
    (from_official.from_official, 'src', {'dst': 'a'}),
    (from_official.from_official, 'dst', {'src': 'a'}),
    (from_official.from_official, 'tokenizer', {'src': 'a', 'dst': 'b'}),
    (from_lpips.from_torchvision, 'src', {'heads': 'a', 'dst': 'b'}),
    (from_lpips.from_torchvision, 'heads', {'src': 'a', 'dst': 'b'}),
    (from_lpips.from_torchvision, 'dst', {'src': 'a', 'heads': 'b'}),
    (from_network.convert, 'src', {'kind': 'inception', 'dst': 'a'}),
    (from_network.convert, 'dst', {'kind': 'inception', 'src': 'a'}),
    (to_official.to_official, 'src', {'dst': 'a'}),
    (to_official.to_official, 'dst', {'src': 'a'}),
    (text.TextTokenizer.load, 'path', {}),
    (text.TextTokenizer(tokenizer=None, pad_id=0).save, 'path', {}),
    (text.char_bpe, 'vocab', {'merges': 'a'}),
    (text.char_bpe, 'merges', {'vocab': 'a'}),
]


@pytest.mark.parametrize(('function', 'name', 'others'), ENTRIES)
def test_an_empty_path_is_refused_in_the_api(
    function, name, others, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match=f"^{name}='' names no file or folder"):
    function(**others, **{name: ''})
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('function', 'name', 'others'),
    [
        (tokenizer.Tokenizer.restore, 'path', {}),
        (sampling.Sampler.restore, 'path', {}),
        (stored.restore_variables, 'path', {'abstract': {}}),
        (from_official.from_official, 'src', {'dst': 'b'}),
        (from_official.from_official, 'dst', {'src': 'a'}),
        (from_lpips.from_torchvision, 'src', {'heads': 'a', 'dst': 'b'}),
        (from_lpips.from_torchvision, 'dst', {'src': 'a', 'heads': 'b'}),
        (from_network.convert, 'src', {'kind': 'inception', 'dst': 'b'}),
        (to_official.to_official, 'src', {'dst': 'b'}),
        (text.TextTokenizer.load, 'path', {}),
        (text.char_bpe, 'vocab', {'merges': 'a'}),
        (text.char_bpe, 'merges', {'vocab': 'a'}),
    ],
)
def test_a_home_folder_is_expanded_in_the_api(
    function, name, others, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  (tmp_path / 'home' / 'full' / 'of').mkdir(parents=True)
  with pytest.raises((ValueError, OSError), match=f'{tmp_path}/home/full'):
    function(**others, **{name: '~/full'})
  assert [path.name for path in tmp_path.iterdir()] == ['home']


def test_a_workdir_may_lie_at_home_and_is_not_empty(monkeypatch):
  monkeypatch.setenv('HOME', '/home/somebody')
  assert str(workdir.Workdir('~/run').folder) == '/home/somebody/run'
  with pytest.raises(ValueError, match="^workdir='' names no file or folder"):
    workdir.Workdir('')
