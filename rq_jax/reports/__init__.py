"""Pictures, charts and pages that show what was trained and drawn."""
