"""Pictures, charts and pages that show the results of training and sampling."""
