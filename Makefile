ARGS =
PYTHON = .venv/bin/python
CLEAN = sh scripts/clean-env

.PHONY: help setup demo up shop test check matrix chaos bench lint format docs lock wheels

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

setup: ## .venv with all that the others need (each of them sees to it itself)
	@sh scripts/make-venv

demo: setup ## the whole story on this machine, in under 90 seconds
	@$(CLEAN) $(PYTHON) manage.py demo $(ARGS)

# Here the caller's DATABASE_URL, PORT and so on are meant for us (docs/guides/site.md, Environment); what would break Python is not.
up: setup ## the web server, a worker and the dispatcher in one process, until Ctrl-C
	@unset PYTHONHOME PYTHONPATH DJANGO_SETTINGS_MODULE; PYTHONUTF8=1 exec $(PYTHON) manage.py up $(ARGS)

shop: setup ## the example of the tutorial, examples/shop: web on port 8000, worker and dispatcher, until Ctrl-C
	@unset PYTHONHOME DJANGO_SETTINGS_MODULE; PATH="$(CURDIR)/.venv/bin:$$PATH" PYTHONPATH="$(CURDIR)" PYTHONUTF8=1 \
		exec sh examples/shop/start

test: setup ## the tests, in four processes; ARGS="-k batcher" for some of them in one
	@$(CLEAN) $(PYTHON) -m pytest $(or $(ARGS),-n 4 --dist worksteal)

check: ## what CI runs, all that must hold before a change lands; on Debian, as root: it installs what it needs
	@bash .ci/run

matrix: setup ## the tests on the oldest, the locked and the newest versions, and on Django 6.0; ARGS="newest -- -n 4 tests/engine" for a part
	@sh scripts/matrix $(ARGS)

chaos: setup ## what takes minutes: random faults for CHAOS_MINUTES (30) on each broker, single scenarios; ARGS for a part
	@CHAOS_MINUTES=$${CHAOS_MINUTES:-30} $(CLEAN) $(PYTHON) -m pytest -m chaos $(ARGS)

bench: setup ## speed, ours and its peers', in 20 minutes: writes docs/why/performance.md
	@$(CLEAN) env $$(sh scripts/make-peers) $(PYTHON) -m benchmarks $(ARGS)

lint: setup ## style, types, import rules, migrations, Django's checks
	@$(CLEAN) $(PYTHON) -m ruff check .
	@$(CLEAN) $(PYTHON) -m ruff format --check .
	@$(CLEAN) $(PYTHON) -m mypy
	@$(CLEAN) $(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo
	@TEST_DATABASE_URL=sqlite:///var/lint.sqlite3 $(CLEAN) \
		$(PYTHON) manage.py makemigrations --check --dry-run --settings tests.settings
	@$(CLEAN) $(PYTHON) manage.py check --fail-level WARNING

format: setup ## put the code into the style that lint asks for
	@$(CLEAN) $(PYTHON) -m ruff check --fix-only .
	@$(CLEAN) $(PYTHON) -m ruff format .

docs: setup ## diagrams, and what the pages take from the code, where it changed; then all pages as a site, docs/_build/index.html
	@sh scripts/draw-diagrams
	@$(CLEAN) $(PYTHON) -m tests.conformance
	@$(CLEAN) $(PYTHON) -m docs.generated
	@$(CLEAN) $(PYTHON) -m sphinx --builder html --fail-on-warning --quiet docs docs/_build

lock: setup ## requirements/*.txt from requirements/*.in; ARGS=--upgrade for newer versions
	@sh scripts/write-locks $(ARGS)

wheels: setup ## what others install, into dist/: the engine's wheel and source distribution, and those of the apps
	@$(CLEAN) sh scripts/build-wheels $(ARGS)
