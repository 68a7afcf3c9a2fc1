# demo, test, check, bench (and clean): nothing else is meant for people.
# Needs Python 3.11 or newer with venv, git and make. What it installs is pinned by hash and stays in .venv.

.DEFAULT_GOAL := test
.PHONY: demo test check bench clean again

# A PYTHONPATH from outside would let other code stand in for ours; and where compiled code is not kept, each of the
# hundreds of programs that the tests start compiles all of it again.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

# PAIR=user_task_3,injection_task_5 tells another pair; KEEP=1 leaves everything running.
demo: .venv/.package
	.venv/bin/python -m demo.tell

# FULL=1 reaches the tests through the environment: the long runs of the same tests. Three workers, a file at a time:
# on two cores, since many tests wait for what they have started.
test: .venv/.package
	.venv/bin/python -m pytest -p tests.skips -n 3 --dist loadfile --no-loadscope-reorder

check: .venv/.package
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

bench: .venv/.package
	.venv/bin/python -m bench.run

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Scripts and the link to src hold absolute paths: a .venv that came along in a copied tree would run
# the code of the original, so it is made again.
ifneq ($(shell cat .venv/.place 2>/dev/null),$(CURDIR))
.venv/.requirements: again
endif

.venv/.requirements: requirements/runtime.txt requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "taskbound needs Python 3.11 or newer, and none was found" >&2; \
		echo "hint: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "taskbound needs Python 3.11 or newer, and $(PYTHON) is older or does not start" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment: its venv module is missing" >&2; \
		echo "hint: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@echo '$(CURDIR)' > .venv/.place
	@touch $@

.venv/.package: .venv/.requirements pyproject.toml
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@touch $@
