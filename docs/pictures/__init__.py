"""The pictures of the admin in README and docs: ``python -m docs.pictures`` makes them again."""
