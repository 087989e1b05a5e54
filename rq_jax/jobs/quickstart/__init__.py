"""The quickstart: both stages on digits, generated digits, and a report."""
