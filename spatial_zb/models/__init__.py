"""Specifications, designs, estimators and the fit they give."""
