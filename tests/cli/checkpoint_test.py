"""The command checkpoint: what it prints, removes and refuses."""

import json
import re
import shutil

import pytest

from rq_jax import __main__ as main_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.distributed import locks
from rq_jax.jobs.checkpoint import described
from rq_jax.jobs.checkpoint import pruning
from tests import states
from tests import tiny

VALUES = {1: 0.5, 2: 0.25, 3: 0.75, 4: 1.0}


def write(folder, **train):
  """A run with four checkpoints, saved by eight devices, and evaluations."""
  fields = dict(keep_checkpoints=2, checkpoint_steps=1) | train
  config = tiny.changed(tiny.run_config(1), train=fields)
  folder.mkdir()
  stored.write_config(folder, config)
  state = states.state()
  with runs.Checkpoints(folder, keep=9) as checkpoints:
    for step in VALUES:
      mesh = states.mesh('2x4' if step == 4 else '1')
      placed = states.jax.device_put(state, states.shardings(state, mesh))
      checkpoints.save(step, placed, {})
  lines = [{'step': s, 'time': 0, 'eval/mse': v} for s, v in VALUES.items()]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / 'metrics.jsonl').write_text(text)
  return folder


@pytest.fixture(scope='module', name='made')
def fixture_made(tmp_path_factory):
  return write(tmp_path_factory.mktemp('made') / 'run', keep_best='eval/mse')


@pytest.fixture(name='run')
def fixture_run(made, tmp_path):
  return shutil.copytree(made, tmp_path / 'run')


@pytest.fixture(name='call')
def fixture_call(capsys):
  """Runs the command; returns its exit code, its output and its error."""

  def call(*argv):
    code = main_lib.main(['checkpoint', *map(str, argv)])
    return code, *capsys.readouterr()

  return call


def left(folder):
  return sorted(path.name for path in (folder / 'checkpoints').iterdir())


def test_list_shows_a_row_for_each_checkpoint(run, call):
  code, out, _ = call('list', run)
  assert code == 0
  head, *rows = (re.split(r'\s{2,}', x.strip()) for x in out.splitlines())
  assert head == ['step', 'size', 'saved', 'devices', 'eval/mse', 'kept as']
  assert [row[0] for row in rows] == ['1', '2', '3', '4']
  assert [row[3] for row in rows] == ['1 device'] * 3 + ['data 2, fsdp 4']
  assert [row[4] for row in rows] == ['0.5', '0.25', '0.75', '1']
  kept = [row[5] for row in rows]
  assert kept == ['-', 'best eval/mse', 'newest', 'newest']
  for step, row in enumerate(rows, 1):
    files = (run / 'checkpoints' / str(step)).rglob('*')
    size = sum(file.stat().st_size for file in files if file.is_file())
    assert described.size(run, step) == size
    assert row[1] == f'{size / 1000:.1f} kB'
    assert re.fullmatch(r'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d', row[2])


def test_list_names_damaged_checkpoints_and_those_set_aside(run, call):
  shutil.rmtree(run / 'checkpoints' / '3' / 'meta')
  (run / 'damaged_checkpoints' / '7').mkdir(parents=True)
  (run / 'config.json').write_text('{')
  code, out, _ = call('list', run)
  assert code == 0
  assert 'Checkpoint 3 is damaged: it has no meta.' in out
  assert 'damaged_checkpoints holds damaged ones: 7.' in out


def test_an_inference_copy_is_listed_and_verified(tmp_path, call):
  inference_copy.export(tmp_path, states.config(), states.variables())
  code, out, _ = call('list', tmp_path)
  assert code == 0
  assert re.split(r'\s{2,}', out.splitlines()[1].strip())[::4] == ['0', '-']
  assert call('verify', tmp_path)[0] == 0
  code, out, _ = call('prune', tmp_path, '--keep=1')
  assert code == 0 and out.startswith('Nothing to remove')
  assert left(tmp_path) == ['0']


def test_verify_reads_everything_and_names_what_is_damaged(run, call):
  noise = states.jax.random.normal(states.jax.random.key(0), (200, 200))
  with runs.Checkpoints(run, keep=9) as checkpoints:
    checkpoints.save(5, {'x': noise}, {})
  code, out, _ = call('verify', run)
  assert code == 0
  assert re.findall(r'Step (\d): sound, [\d.]+ kB\.', out) == list('12345')
  # Its lists of arrays are whole: only reading them shows the damage.
  files = (run / 'checkpoints' / '5' / 'state').rglob('*')
  max(files, key=lambda file: file.stat().st_size).write_bytes(b'')
  assert described.steps.problem(run, 5) is None
  code, out, error = call('verify', run)
  assert code == 1
  assert re.findall(r'Step (\d): DAMAGED: ', out) == ['5']
  assert f'1 of 5 checkpoints of {run} are damaged: [5]' in error
  assert 'Sound: [1, 2, 3, 4].' in error


def test_verify_names_a_damaged_config(run, call):
  (run / 'config.json').write_text('{"stage": 1, "model": {"chanels": 3}}')
  code, _, error = call('verify', run)
  assert code == 1
  assert 'config.json is not a valid experiment' in error


def test_prune_keeps_the_newest_the_best_and_every_nth(run, call):
  args = 'prune', run, '--keep=1', '--keep_every=3'
  code, out, _ = call(*args, '--dry_run')
  assert code == 0
  assert out.startswith('Would remove 1: ')
  assert out.endswith(
      'Would keep 2 (best eval/mse), 3 (every 3), 4 (newest).\n'
  )
  assert left(run) == list('1234')
  code, out, _ = call(*args)
  assert out.startswith('Removed 1: ')
  assert left(run) == list('234')
  code, out, _ = call('prune', run, '--keep=1')
  assert out.startswith('Removed 3: ') and left(run) == list('24')
  assert stored.restore_variables(run, states.shapes(states.variables()))


def test_prune_keeps_every_nth_that_the_run_keeps(tmp_path, call):
  run = write(tmp_path / 'run', keep_every=3)
  assert call('prune', run, '--keep=1')[0] == 0
  assert left(run) == list('34')
  assert call('prune', run, '--keep_every=0')[0] == 0
  assert left(run) == ['4']


def test_prune_removes_chosen_steps(run, call):
  code, out, _ = call('prune', run, '--step=4,2')
  assert code == 0
  assert out.startswith('Removed 2, 4: ')
  assert 'The next start of the run resumes from step 3.' in out
  assert left(run) == list('13')


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--step=1,2,3,4'], 'names all checkpoints'),
        (['--step=9'], 'no such checkpoint; it has [1, 2, 3, 4]'),
        (['--step=1,x'], 'must be whole numbers'),
        (['--step=1', '--keep=2'], '--keep=2 has no meaning here'),
        ([], '--keep, --keep_every or --step must be given'),
        (['--keep=0'], '--keep'),
    ],
)
def test_prune_refuses(flags, words, run, call):
  code, _, error = call('prune', run, *flags)
  assert code == 1
  assert words in error
  assert left(run) == list('1234')


def test_prune_waits_for_the_run_of_the_folder(run, call, monkeypatch):
  with locks.hold(run, flag='--workdir'):
    code, _, error = call('prune', run, '--keep=1')
    assert code == 1 and f'WORKDIR={run} is in use: process' in error
    assert left(run) == list('1234')
    assert call('prune', run, '--keep=1', '--dry_run')[0] == 0
  # Steps that the run has saved meanwhile count.
  read, calls = described.read, []

  def late(path):
    found = read(path)
    if not calls:
      shutil.copytree(run / 'checkpoints' / '4', run / 'checkpoints' / '5')
    calls.append(found)
    return found

  monkeypatch.setattr(pruning.described, 'read', late)
  assert call('prune', run, '--keep=1')[0] == 0
  assert left(run) == list('25')


def test_a_removal_that_is_killed_leaves_no_half_checkpoint(
    run, call, monkeypatch
):
  kind = type(pruning.epath.Path(run))
  rmtree = kind.rmtree

  def killed(path, missing_ok=False):
    if path.name.startswith('1.') and path.exists():
      raise KeyboardInterrupt
    rmtree(path, missing_ok=missing_ok)

  with monkeypatch.context() as patch:
    patch.setattr(kind, 'rmtree', killed)
    with pytest.raises(KeyboardInterrupt):
      call('prune', run, '--step=1')
  assert described.read(run).steps == [2, 3, 4]
  # The next save removes the rest.
  with runs.Checkpoints(run, keep=9) as checkpoints:
    checkpoints.save(5, states.state(), {})
  assert left(run) == list('2345')


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ([], 'nothing was given'),
        (['list'], 'needs an action and a folder; list was given'),
        (['lst', 'x'], 'Actions: list, verify, prune'),
        (['list', 'x', 'y'], 'Unexpected arguments: y'),
        (['list', 'no/such'], 'no/such holds no complete checkpoint'),
        (['list', ''], "WORKDIR='' names no file or folder"),
        (['verify', 'x', '--keep=1'], '--keep=1 has no meaning here'),
        (['list', 'x', '--dry_run'], '--dry_run=True has no meaning here'),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(argv, words, call):
  code, _, error = call(*argv)
  assert code == 1
  assert words in error and error.count('\n') == 1
