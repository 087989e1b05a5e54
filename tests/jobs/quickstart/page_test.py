"""The report shows every figure, stands alone and bears what is missing."""

import ast
import pathlib
import re
import shlex

import numpy as np
import pytest

from rq_jax.jobs.quickstart import digits
from rq_jax.jobs.quickstart import page
from tests import pages

REPORT = {
    'seed': 0,
    'seconds': {'install': 40.0, 'stage 1': 90.0, 'total': 433.0},
    'class_accuracy': 0.971,
    'classifier_accuracy': 0.989,
    'diversity_mean': 0.934,
    'diversity_min': 0.88,
    'novelty': 1.11,
    'trained_on_generated': 0.955,
    'psnr_by_depth': [23.3, 26.1, 28.2, 29.7],
    'quantization_gap': 1.007,
    'codebook_perplexity': 0.6,
    'versions': {'jax': '0.10.2'},
    'settings': {'stage 1': {'train': {'steps': 220}}},
}
CURVES = {'Stage 1': {'loss': [(10, 0.5), (20, 0.25)]}}


def _picture(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _write(folder, report=REPORT, pictures=None, curves=CURVES, **more):
  path = folder / 'run' / 'report.html'
  page.write_report(path, report, pictures or {}, curves, **more)
  return path.read_text(encoding='utf-8')


def test_page_is_well_formed_and_loads_nothing(tmp_path):
  pictures = {'real': _picture(4, 6, 3), 'generated': _picture(8, 8, 3)}
  text = _write(tmp_path, pictures=pictures, code_counts=[3, 0, 1])
  sources = [
      attrs[name]
      for _, attrs in pages.Page(text).elements
      for name in ('src', 'href')
      if name in attrs
  ]
  assert len(sources) == 3
  assert all(source.startswith('data:') for source in sources)
  assert not re.search(r'url\(|@import|<script|https?://', text)


def test_real_digits_stand_beside_generated_ones(tmp_path):
  pictures = {'real': _picture(4, 6, 3), 'generated': _picture(8, 12, 3)}
  text = _write(tmp_path, pictures=pictures)
  shown = pages.images(text)
  assert list(shown) == [
      'generated digits, one column per class',
      'real digits, one column per class',
  ]
  for name, pixels in pictures.items():
    np.testing.assert_array_equal(
        shown[f'{name} digits, one column per class'], pixels
    )
  # Both in one grid, each with a label above its columns.
  (pair,) = re.findall(r'<div class="pair">(.*?)</section>', text)
  assert pair.count('<img') == 2
  titles = re.findall('<figcaption><b>(.*?)</b>', pair)
  assert titles == ['Generated', 'Real']
  words = ' '.join(re.sub('<[^>]*>', ' ', pair).split())
  assert words.count('0 1 2 3 4 5 6 7 8 9') == 2


def test_depths_show_reconstructions_and_what_each_code_changes(tmp_path):
  levels = np.array([50, 80, 90, 91, 91, 100], np.uint8)  # The last: original.
  depths = np.broadcast_to(
      levels[:, None, None, None, None], (6, 3, 4, 4, 3)
  ).copy()
  depths[-1, 0] = 31  # In one digit, 60 darker than what four codes give.
  text = _write(tmp_path, by_depth=depths)
  shown = pages.images(text)

  def digits_of(name):
    # Borders of two pixels.
    return [int(shown[name][2, 2 + 6 * i, 0]) for i in range(3)]

  names = ['1 code', '2 codes', '3 codes', '4 codes', 'original']
  assert list(shown)[::2] == names
  for name, level in zip(names, levels[1:5]):
    assert digits_of(name) == [level] * 3
  assert digits_of('original') == [31, 100, 100]
  assert digits_of('code 1 adds') == [128 + 4 * 30] * 3
  assert digits_of('code 2 adds') == [128 + 8 * 10] * 3
  assert digits_of('code 3 adds') == [128 + 64 * 1] * 3
  assert digits_of('code 4 adds') == [128] * 3
  assert digits_of('still missing') == [
      128 - 2 * 60,
      128 + 2 * 9,
      128 + 2 * 9,
  ]
  words = pages.Page(text).text
  assert (
      '1 code 23.3 dB code 1 adds × 4 2 codes 26.1 dB code 2 adds × 8'
      ' 3 codes 28.2 dB code 3 adds × 64 4 codes 29.7 dB code 4 adds × 1'
      ' original still missing × 2'
  ) in words


def test_every_figure_stands_beside_its_target_and_verdict(tmp_path):
  text = pages.Page(_write(tmp_path)).text
  assert '9 of 9 targets met' in text
  assert 'missed' not in text
  for target in digits.TARGETS.values():
    assert target.title in text and target.meaning in text
  for words in (
      '0.971 at least 0.95',
      '0.934 0.85 to 1.15',
      '23.3 · 26.1 · 28.2 · 29.7 dB rising to at least 25 dB',
      '1.007 at most 1.1',
  ):
    assert f'{words} ✓ met' in text
  assert (
      'A classifier trained only on real digits recognises 97.1 % of the'
      ' generated digits as the requested class.'
  ) in text


def test_a_missed_target_and_a_missing_figure_are_told(tmp_path):
  report = {**REPORT, 'novelty': 0.4}
  del report['diversity_min'], report['class_accuracy']
  text = pages.Page(_write(tmp_path, report)).text
  assert '6 of 9 targets met' in text
  assert '0.400 at least 0.9 ✗ missed' in text
  assert 'not measured at least 0.75 ✗ missed' in text
  assert '% of the generated digits' not in text


def test_a_slow_machine_misses_no_target(tmp_path):
  report = {**REPORT, 'seconds': {'total': 7200.0}}
  text = pages.Page(_write(tmp_path, report)).text
  assert '9 of 9 targets met' in text and 'missed' not in text
  assert '2 h 00 min in total' in text
  assert f'Typical: {page.TYPICAL_TIME}.' in text


def test_curves_codes_and_phases_are_told_in_words(tmp_path):
  text = pages.Page(_write(tmp_path, code_counts=[5, 0, 1, 0, 2])).text
  assert 'Stage 1 over steps' in text
  assert 'loss 0.25' in text
  assert '3 of 5 codes are in use. Their perplexity is 3' in text
  assert '7 min 13 s in total, with the setup.' in text
  assert 'install 40 s 9% stage 1 1 min 30 s 21% other 5 min 03 s 70%' in text


def test_conditions_and_commands_name_this_run(tmp_path):
  text = pages.Page(_write(tmp_path)).text
  assert 'stage 1 train.steps 220 Seed and versions seed 0 jax 0.10.2' in text
  assert f'--checkpoint={tmp_path}/run/rqtransformer' in text
  assert f"Sampler.restore('{tmp_path}/run/rqtransformer')" in text


def test_text_from_outside_cannot_break_the_page(tmp_path):
  evil = '<b>&"$body'
  report = {
      'seconds': {evil: 1.0, 'total': 2.0},
      'settings': {evil: {evil: evil}},
  }
  text = pages.Page(
      _write(tmp_path, report, curves={evil: {evil: [(0, 1.0)]}})
  ).text
  # In: the chart and its series, the phase, the table, the setting and its
  # value.
  assert text.count(evil) == 6


def test_empty_parts_leave_no_empty_sections(tmp_path):
  page = _write(tmp_path, {}, curves={'Nothing': {'loss': []}})
  titles = re.findall('<h2>(.*?)</h2>', page)
  assert titles == ['How good are the digits?', 'Next steps']
  assert '0 of 9 targets met' in pages.Page(page).text


@pytest.mark.parametrize('folder', ['a b', "it's"])
def test_folders_with_odd_names_are_quoted(tmp_path, folder):
  path = tmp_path / folder / 'report.html'
  page.write_report(path, REPORT, {}, {})
  text = pages.Page(path.read_text(encoding='utf-8')).text
  assert '/rqtransformer \\' in text
  checkpoint = re.search(r'--checkpoint=(.*) \\', text).group(1)
  assert shlex.split(checkpoint) == [f'{tmp_path}/{folder}/rqtransformer']


def test_the_extra_of_the_quickstart_installs_the_commands_of_the_page(
    tmp_path,
):
  text = pages.Page(_write(tmp_path)).text
  assert f'tensorboard --logdir={tmp_path}/run' in text
  setup = pathlib.Path(__file__).resolve().parents[3] / 'setup.py'
  (extras,) = (
      ast.literal_eval(keyword.value)
      for keyword in ast.walk(ast.parse(setup.read_text()))
      if isinstance(keyword, ast.keyword) and keyword.arg == 'extras_require'
  )
  for extra in ('quickstart', 'tensorboard'):
    packages = [re.split('[<>=]', package)[0] for package in extras[extra]]
    assert 'tensorboard' in packages
