"""Weights on databases: metrics, tables, figures."""
