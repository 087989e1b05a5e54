"""Flags of `convert`: the jobs that they start, and refusals."""

import pytest

from rq_jax import __main__ as main_lib
from rq_jax.jobs.convert import from_clip
from rq_jax.jobs.convert import from_lpips
from rq_jax.jobs.convert import from_network
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.convert import network_table
from rq_jax.jobs.convert import to_official


def _run(*argv):
  return main_lib.main(['convert', *argv])


@pytest.fixture
def calls(monkeypatch):
  """Arguments of the jobs that were started; none is run."""
  made = []
  for module, name in (
      (from_official, 'from_official'),
      (from_lpips, 'from_torchvision'),
      (from_network, 'convert'),
      (from_clip, 'convert'),
      (to_official, 'to_official'),
  ):
    monkeypatch.setattr(
        module,
        name,
        lambda *args, _name=name, **options: made.append(
            (_name, args, options)
        ),
    )
  return made


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (
            ['--from=official', '--src=a', '--dst=b'],
            ('from_official', ('a', 'b'), dict(ema=False, tokenizer=None)),
        ),
        (
            ['--from=official', '--src=a', '--dst=b', '--ema', '--tokenizer=c'],
            ('from_official', ('a', 'b'), dict(ema=True, tokenizer='c')),
        ),
        (
            ['--from=lpips', '--src=a', '--heads=h', '--dst=b'],
            ('from_torchvision', ('a', 'h', 'b'), {}),
        ),
        (
            ['--from=inception', '--src=a', '--dst=b'],
            ('convert', ('inception', 'a', 'b'), {}),
        ),
        (
            ['--from=clip', '--src=a', '--dst=b'],
            ('convert', ('a', 'b'), {}),
        ),
        (
            ['--from=efficientnet_lite0', '--dst=b'],
            ('convert', ('efficientnet_lite0', None, 'b'), {}),
        ),
        (
            ['--to=official', '--src=a', '--dst=b'],
            (
                'to_official',
                ('a', 'b'),
                dict(layout='official', step=None, ema=True),
            ),
        ),
        (
            ['--to=safetensors', '--src=a', '--dst=b', '--noema', '--step=3'],
            (
                'to_official',
                ('a', 'b'),
                dict(layout='safetensors', step=3, ema=False),
            ),
        ),
    ],
)
def test_flags_reach_the_jobs(argv, expected, calls):
  assert _run(*argv) == 0
  assert calls == [expected]


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--src=a', '--dst=b'], 'Exactly one of --from and --to'),
        (
            ['--from=official', '--to=official', '--src=a', '--dst=b'],
            'Exactly one of --from and --to',
        ),
        (['--from=torch', '--src=a', '--dst=b'], 'torch'),
        (['--from=official', '--dst=b'], '--src'),
        (['--to=official', '--src=a'], '--dst'),
        (['--from=lpips', '--src=a', '--dst=b'], '--heads'),
        (['--to=official', '--src=a', '--dst=b', '--heads=c'], '--heads=c has'),
        (['--from=lpips', '--src=a', '--dst=b', '--ema'], '--ema=True has no'),
        (['--from=inception', '--src=a'], '--dst must be given'),
        (['--from=resnet', '--dst=b'], '--src must be given'),
        (['--from=clip', '--src=a', '--dst=b', '--ema'], '--ema=True has no'),
        (['--from=vgg16', '--src=a', '--dst=b', '--heads=c'], '--heads=c has'),
        (
            ['--from=official', '--src=a', '--dst=b', '--step=1'],
            '--step=1 has no meaning',
        ),
        (
            ['--to=safetensors', '--src=a', '--dst=b', '--tokenizer=c'],
            '--tokenizer=c has no meaning',
        ),
    ],
)
def test_flags_that_make_no_sense_are_refused(argv, message, calls, capsys):
  assert _run(*argv) == 1
  assert message in capsys.readouterr().err
  assert calls == []


def test_networks_that_can_be_converted_are_choices(calls):
  for kind in network_table.NETWORKS:
    assert _run(f'--from={kind}', '--src=a', '--dst=b') == 0
  assert [kind for _, (kind, *_), _ in calls] == list(network_table.NETWORKS)


def test_a_source_that_is_not_there_is_refused_in_one_sentence(
    tmp_path, capsys
):
  src, dst = tmp_path / 'nowhere.tar.gz', tmp_path / 'dst'
  assert _run('--from=official', f'--src={src}', f'--dst={dst}') == 1
  said = capsys.readouterr().err
  assert 'does not exist' in said and 'Traceback' not in said
  assert list(tmp_path.iterdir()) == []
