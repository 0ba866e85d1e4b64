"""Evaluation of weights on databases: metrics, tables, figures."""
