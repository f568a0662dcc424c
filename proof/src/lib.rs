//! Nothing: `tests/exhaustive/` and `tests/simulation/` are what this package is for.
