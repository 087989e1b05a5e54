"""The quickstart: both stages on digits, samples, figures and a page."""
