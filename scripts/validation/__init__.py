"""The published simulation study: one module for each table of docs/validation."""
