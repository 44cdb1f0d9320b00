# make setup   .venv with all that the others need (each of them sees to it itself)
# make demo    the whole story on this machine, in under 90 seconds
# make up      the web server, a worker and the dispatcher in one process, until Ctrl-C
# make test    the tests, in four processes; make test ARGS="-k batcher" for some of them in one
# make chaos   CHAOS_MINUTES (30) of random faults on Redis, as many with groups, on RabbitMQ and on the embedded
#              default, then the single scenarios; make chaos ARGS="tests/chaos/test_storm.py -k redis" for a part
# make bench   speed, ours and its peers', in about 15 minutes: writes docs/performance.md
# make lint    style, types, import walls, migrations, Django's checks
# make lock    requirements/*.txt from requirements/*.in; make lock ARGS=--upgrade for newer versions
ARGS =
PYTHON = .venv/bin/python
CLEAN = sh scripts/clean-env

.PHONY: setup demo up test chaos bench lint lock

setup:
	@sh scripts/make-venv

demo: setup
	@$(CLEAN) $(PYTHON) manage.py demo $(ARGS)

# Here the caller's DATABASE_URL, PORT and so on are meant for us (README, Settings); what would break Python is not.
up: setup
	@unset PYTHONHOME PYTHONPATH DJANGO_SETTINGS_MODULE; PYTHONUTF8=1 exec $(PYTHON) manage.py up $(ARGS)

test: setup
	@$(CLEAN) $(PYTHON) -m pytest $(or $(ARGS),-n 4)

chaos: setup
	@CHAOS_MINUTES=$${CHAOS_MINUTES:-30} $(CLEAN) $(PYTHON) -m pytest -m chaos $(or $(ARGS),tests/chaos)

bench: setup
	@$(CLEAN) env $$(sh scripts/make-peers) $(PYTHON) -m benchmarks $(ARGS)

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
