"""Suites: several evaluations on files that a person supplies, and how they make one table with an average."""
