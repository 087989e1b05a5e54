"""Pages contain the given sections, and no input can break their HTML."""

import base64
import html.parser
import io
import re

import numpy as np
from PIL import Image

from rq_jax.reports import page


def test_a_page_holds_its_sections_in_order_without_empty_ones(tmp_path):
  file = tmp_path / 'new' / 'page.html'
  page.write(file, 'A & $b', ['<p>$first</p>', '', '<p>second é</p>'])
  text = file.read_text('utf-8')
  assert '<title>A &amp; $b</title>' in text
  body = text.partition('<main>')[2].partition('</main>')[0]
  assert body == '\n<p>$first</p>\n<p>second é</p>\n'
  assert [path.name for path in file.parent.iterdir()] == ['page.html']


def test_a_page_loads_nothing(tmp_path):
  page.write(tmp_path / 'a.html', 'A', [])
  text = (tmp_path / 'a.html').read_text('utf-8')
  assert re.findall(r'href="(.*?)"', text) == ['data:,']
  assert not re.search(r'src=|url\(|@import|<script|https?://', text)


def test_a_section_is_a_title_a_text_and_a_content():
  assert page.section('A', 'b', '<i>c</i>') == (
      '<section><h2>A</h2><p>b</p><i>c</i></section>'
  )


def test_a_picture_holds_its_pixels_and_says_what_it_shows():
  pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
  element = page.picture(pixels, 'a "b"')
  found = re.fullmatch(
      '<img src="data:image/png;base64,(.*)" width="6" height="4"'
      ' alt="a &quot;b&quot;">',
      element,
  )
  png = io.BytesIO(base64.b64decode(found[1]))
  with Image.open(png, formats=['png']) as image:
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_notes_flatten_what_they_are_given_and_escape_it():
  cells = []

  class Reader(html.parser.HTMLParser):

    def handle_data(self, data):
      cells.append(data)

  tables = {'T&': {'a': {'b': {'c': 1}, 'd': None}, '<e>': '"f"'}, 'U': {}}
  text = page.notes(tables)
  Reader().feed(text)
  assert cells == ['T&', 'a.b.c', '1', 'a.d', 'None', '<e>', '"f"', 'U']
  assert text.count('<table>') == 2


def test_a_table_escapes_its_cells_and_heads_rows_by_the_first():
  text = page.table([('a', 'b'), ('<c>', '1')])
  assert re.findall('<tr>(.*?)</tr>', text) == [
      '<th scope="row">a</th><td>b</td>',
      '<th scope="row">&lt;c&gt;</th><td>1</td>',
  ]


def test_warnings_are_a_list_of_text_and_nothing_without_any():
  text = page.warnings(['a < b', 'c'])
  assert text == '<ul class="warnings"><li>a &lt; b</li><li>c</li></ul>'
  assert page.warnings([]) == ''
