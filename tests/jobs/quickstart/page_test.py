"""The report shows every figure, stands alone and bears what is missing."""

import base64
import html.parser
import io
import re
import shlex

import numpy as np
from PIL import Image
import pytest

from rq_jax.jobs.quickstart import digits
from rq_jax.jobs.quickstart import page

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
    'settings': {'stage 1': {'steps': 220}, 'top_p': 1.0},
}
CURVES = {'Stage 1': {'loss': [(10, 0.5), (20, 0.25)]}}


class _Page(html.parser.HTMLParser):
  """Collects the elements and the text; raises where tags do not match."""

  VOID = frozenset(
      ['meta', 'link', 'img', 'line', 'rect', 'circle', 'polyline']
  )

  def __init__(self, text):
    super().__init__()
    self.open, self.elements, self.words = [], [], []
    self.feed(text)
    self.close()
    assert not self.open
    self.text = ' '.join(' '.join(self.words).split())

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.words.append(data)


def _picture(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _write(folder, report=REPORT, pictures=None, curves=CURVES, counts=None):
  path = folder / 'run' / 'report.html'
  page.write_report(path, report, pictures or {}, curves, counts)
  return path.read_text(encoding='utf-8')


def test_page_is_well_formed_and_loads_nothing(tmp_path):
  pictures = {'real': _picture(4, 6, 3), 'generated': _picture(8, 8, 3)}
  text = _write(tmp_path, pictures=pictures, counts=[3, 0, 1])
  sources = [
      attrs[name]
      for _, attrs in _Page(text).elements
      for name in ('src', 'href')
      if name in attrs
  ]
  assert len(sources) == 3
  assert all(source.startswith('data:') for source in sources)
  assert not re.search(r'url\(|@import|<script|https?://', text)


def test_pictures_hold_the_pixels_that_were_given(tmp_path):
  pictures = {
      'generated': _picture(8, 12, 3),
      'real': _picture(4, 6, 3),
      'reconstructions': _picture(5, 7, 3),
  }
  elements = _Page(_write(tmp_path, pictures=pictures)).elements
  found = [attrs for tag, attrs in elements if tag == 'img']
  for attrs, picture in zip(found, pictures.values(), strict=True):
    data = base64.b64decode(attrs['src'].split(',')[1])
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decoded, picture)
    assert (attrs['height'], attrs['width']) == tuple(
        str(side) for side in picture.shape[:2]
    )


def test_every_figure_stands_beside_its_bar_and_verdict(tmp_path):
  text = _Page(_write(tmp_path)).text
  assert '10 of 10 bars met' in text
  assert 'missed' not in text
  for bar in digits.BARS.values():
    assert bar.title in text and bar.meaning in text
  for words in (
      '433 s at most 600 s',
      '0.971 at least 0.95',
      '0.934 0.85 to 1.15',
      '23.3 · 26.1 · 28.2 · 29.7 dB rising, at least 25 dB',
      '1.007 at most 1.1',
  ):
    assert f'{words} ✓ met' in text


def test_a_missed_bar_and_a_missing_figure_are_told(tmp_path):
  report = {**REPORT, 'novelty': 0.4}
  del report['diversity_min']
  text = _Page(_write(tmp_path, report)).text
  assert '8 of 10 bars met' in text
  assert '0.400 at least 0.9 ✗ missed' in text
  assert 'not measured at least 0.75 ✗ missed' in text


def test_classes_and_depths_are_labelled(tmp_path):
  pictures = {'generated': _picture(8, 8, 3), 'reconstructions': _picture(5, 7)}
  text = _Page(_write(tmp_path, pictures=pictures)).text
  assert '0 1 2 3 4 5 6 7 8 9' in text
  assert (
      'original depth 1 23.3 dB depth 2 26.1 dB depth 3 28.2 dB depth 4 29.7 dB'
      in text
  )


def test_curves_codes_and_phases_are_told_in_words(tmp_path):
  text = _Page(_write(tmp_path, counts=[5, 0, 1, 0, 2])).text
  assert 'Stage 1 over steps' in text
  assert 'loss 0.25' in text
  assert '3 of 5 codes are in use. Their perplexity is 3' in text
  assert '7 min 13 s in all.' in text
  assert 'install 40 s 9% stage 1 1 min 30 s 21% other 5 min 03 s 70%' in text


def test_conditions_and_commands_name_this_run(tmp_path):
  text = _Page(_write(tmp_path)).text
  assert 'seed 0 stage 1.steps 220 top_p 1.0' in text
  assert 'jax 0.10.2' in text
  assert f'--checkpoint={tmp_path}/run/rqtransformer' in text
  assert f"Sampler.restore('{tmp_path}/run/rqtransformer')" in text


def test_text_from_outside_cannot_break_the_page(tmp_path):
  evil = '<b>&"$body'
  report = {
      'seconds': {evil: 1.0, 'total': 2.0},
      'settings': {evil: evil},
  }
  text = _Page(_write(tmp_path, report, curves={evil: {evil: [(0, 1.0)]}})).text
  # In: the chart and its series, the phase, the setting and its value.
  assert text.count(evil) == 5


def test_empty_parts_leave_no_empty_sections(tmp_path):
  page = _write(tmp_path, {}, curves={'Nothing': {'loss': []}})
  titles = re.findall('<h2>(.*?)</h2>', page)
  assert titles == ['How good are they?', 'Go on from here']
  assert '0 of 10 bars met' in _Page(page).text


@pytest.mark.parametrize('folder', ['a b', "it's"])
def test_folders_with_odd_names_are_quoted(tmp_path, folder):
  path = tmp_path / folder / 'report.html'
  page.write_report(path, REPORT, {}, {})
  text = _Page(path.read_text(encoding='utf-8')).text
  assert '/rqtransformer \\' in text
  checkpoint = re.search(r'--checkpoint=(.*) \\', text).group(1)
  assert shlex.split(checkpoint) == [f'{tmp_path}/{folder}/rqtransformer']
