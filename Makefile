# make setup   .venv with all that the others need (each of them sees to it itself)
# make demo    the whole story on this machine, in under 90 seconds
# make up      the web server, a worker and the dispatcher in one process, until Ctrl-C
# make test    the tests; make test ARGS="-k batcher" for some of them
# make chaos   kills processes and takes servers away, for 25 minutes; CHAOS_KILLS=50 make chaos for more
# make lint    style, types, import walls, migrations, Django's checks
# make lock    requirements/*.txt from requirements/*.in; make lock ARGS=--upgrade for newer versions
ARGS =
PYTHON = .venv/bin/python
CLEAN = sh scripts/clean-env

.PHONY: setup demo up test chaos lint lock

setup:
	@sh scripts/make-venv

demo: setup
	@$(CLEAN) $(PYTHON) manage.py demo $(ARGS)

# Here the caller's DATABASE_URL, PORT and so on are meant for us (README, Settings); what would break Python is not.
up: setup
	@unset PYTHONHOME PYTHONPATH DJANGO_SETTINGS_MODULE; PYTHONUTF8=1 exec $(PYTHON) manage.py up $(ARGS)

test: setup
	@$(CLEAN) $(PYTHON) -m pytest $(ARGS)

chaos: setup
	@$(CLEAN) $(PYTHON) -m pytest -m chaos tests/chaos $(ARGS)

lint: setup
	@$(CLEAN) $(PYTHON) -m ruff check .
	@$(CLEAN) $(PYTHON) -m ruff format --check .
	@$(CLEAN) $(PYTHON) -m mypy
	@$(CLEAN) $(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo
	@TEST_DATABASE_URL=sqlite:///var/lint.sqlite3 $(CLEAN) \
		$(PYTHON) manage.py makemigrations --check --dry-run --settings tests.settings
	@$(CLEAN) $(PYTHON) manage.py check --fail-level WARNING

lock: setup
	@sh scripts/write-locks $(ARGS)
