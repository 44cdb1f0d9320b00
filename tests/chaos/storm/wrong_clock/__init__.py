"""A folder for PYTHONPATH, not a package to import: what processes with a wrong clock load first."""
