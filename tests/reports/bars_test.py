"""Bar charts: lengths in proportion to counts, and names shown as text."""

import re

from rq_jax.reports import bars


def test_the_largest_count_fills_the_width_and_others_their_share():
  drawn = bars.chart('Sizes', {'small': 50, 'large': 2000, 'none': 0})
  widths = [float(w) for w in re.findall(r'width:([\d.]+)%', drawn)]
  assert widths == [2.5, 100]  # Zero has no bar.
  assert re.findall(r'<td>([\d,]+)</td>', drawn) == ['50', '2,000', '0']


def test_names_are_escaped():
  drawn = bars.chart('a < b', {'<b>': 1}, note='c & d')
  assert 'a &lt; b' in drawn and '&lt;b&gt;' in drawn and 'c &amp; d' in drawn


def test_no_counts_make_no_chart_and_zeros_make_no_bars():
  assert bars.chart('Sizes', {}) == ''
  assert '<i' not in bars.chart('Sizes', {'a': 0})
