# The environment is in .venv, pinned by requirements.lock. Each target installs what it needs.
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
MODE ?= dr
# Debian packages that the lab needs on this machine, and those that only some processors need (lab/xstate.c).
DEBIAN := $(shell cat lab/packages.txt; grep -qw amx_tile /proc/cpuinfo && echo gcc libc6-dev)

.PHONY: help venv system browser demo test soak check lint types floors pure lock clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make venv            the Python environment in .venv
venv: $(VENV)/.stamp

$(VENV)/.stamp: requirements.lock pyproject.toml
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv; }
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

## make system          the Debian packages that the lab needs on this machine
system:
	@missing=$$(for p in $(DEBIAN); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q ' installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then echo "installing on this machine:" $$missing; apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $$missing >/dev/null; fi

## make browser         a real browser for tests of pages (Debian's headless Chromium)
browser:
	@command -v chromium >/dev/null || command -v chromium-headless-shell >/dev/null || { echo "installing on this machine: chromium-headless-shell"; \
	apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
	chromium-headless-shell fonts-dejavu-core >/dev/null; }

## make demo [MODE=dr|tun|nat] [KEEP=1]   boots a lab, deploys with pyinfra, shows the load balancer at work, tears all down
demo: venv system
	@$(PYTHON) -m lab.demo $(MODE)

## make test            every test but the long ones
# Three workers: two with a lab each, which waits more than it computes, and one for the rest. Which tests share a lab, and in
# which order, is said in tests/conftest.py.
WORKERS := -n 3 --dist loadscope --no-loadscope-reorder
test: venv system
	@$(MAKE) --no-print-directory -j 3 --output-sync=target lint types floors
	@$(VENV)/bin/pytest $(WORKERS) --durations=15 -m "not soak" tests

## make soak            the long ones: reboots, interruptions at each step
soak: venv system browser
	@$(VENV)/bin/pytest -m soak tests

## make soak-NAME       one file of them, with its short tests: tests/system/test_NAME.py (soak-live, soak-doctor, …)
soak-%: venv system
	@test -e tests/system/test_$*.py || { echo "there is no tests/system/test_$*.py; there are:" \
	$$(ls tests/system/test_*.py | sed 's,.*/test_,,; s,[.]py$$,,'); exit 2; }
	@$(VENV)/bin/pytest -v -m "soak or not soak" tests/system/test_$*.py $(ARGS)

## make check           lint, types, floors and the pure tests: under a minute
check: lint types floors pure

lint: venv
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
types: venv
	@$(VENV)/bin/mypy
floors: venv
	@$(VENV)/bin/lint-imports
pure: venv
	@$(VENV)/bin/pytest -q $(WORKERS) -m "not lab and not process and not namespace and not soak" tests

## make bench-NAME [SAVE=1]      figures with their goals (docs/benchmarks.md); SAVE=1 keeps them for that page
##                               converge: beside Ansible and bare ssh · scale: 5 to 200 hosts · startup: lbctl --help
bench-%: venv
	@$(PYTHON) -m benchmarks.$*
bench-converge: system $(VENV)-bench/.stamp
bench-scale: system

# Ansible is only measured: it has an environment and a lock file of its own.
$(VENV)-bench/.stamp: requirements-bench.lock
	@test -x $(VENV)-bench/bin/python || python3 -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

## make bench-failover   the active director is stopped, killed, cut off, in each mode: what clients see
bench-failover: venv system
	@$(PYTHON) -m benchmarks.failover

## make bench-eject     a database is killed, frozen, cut off, in each mode: how soon it is out of rotation
bench-eject: venv system
	@$(PYTHON) -m benchmarks.eject

## make bench-writers   the three ways to choose a writer: time without one, two at once, needless moves
bench-writers: venv system
	@$(PYTHON) -m benchmarks.writers

## make bench-switch    a running cluster is switched from each mode to each other: what clients see
bench-switch: venv system
	@$(PYTHON) -m benchmarks.switch

## make bench-live     servers and directors come, rest, change places, leave, in each mode: what clients see
bench-live: venv system
	@$(PYTHON) -m benchmarks.live

## make lock            pins the dependencies anew
lock: venv
	@$(PYTHON) -m pip install -q uv
	@$(VENV)/bin/uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q --upgrade -o requirements.lock
	@$(VENV)/bin/uv pip compile benchmarks/ansible/requirements.in --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q --upgrade -o requirements-bench.lock

clean:
	@rm -rf $(VENV) $(VENV)-bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache
