# Two targets to know: `make quickstart` and `make test`. Both set everything up themselves and can be repeated.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help quickstart test test-fast test-clients test-s3 s3-server test-cluster test-browser test-postgres test-trackers test-wheel test-container test-emulation wheel check audit docs setup base clients clean

help:
	@echo "make quickstart   set up, then fine-tune a small model on this machine (minutes)"
	@echo "make test         set up, then run all tests except those of third-party clients"
	@echo "make test-fast    set up, then run the tests that need no torch, network, process or model (seconds)"
	@echo "make test-clients set up, then run third-party clients and bfcl against the server"
	@echo "make test-s3      set up, then test blobs on a small S3 server, with PostgreSQL and without a shared folder"
	@echo "make test-browser set up, then test the dashboard in Chromium"
	@echo "make test-postgres set up, then run the store's tests on PostgreSQL, with two servers on one database, and a short crash test"
	@echo "make test-cluster set up, then kill parts of a cluster with Ray, PostgreSQL and S3 (root, 15 minutes)"
	@echo "make test-trackers set up, then write runs with each experiment tracker and read them back"
	@echo "make test-container set up, then build the image with buildah and chat with it (needs buildah and mmdebstrap)"
	@echo "make test-emulation set up, then run the kernels for ARM64 in QEMU (needs g++-aarch64-linux-gnu and qemu-user)"
	@echo "make crashtest    set up, then kill a server 260 times under load and check that nothing is lost (20 minutes)"
	@echo "make fuzz         set up, then try a million mutated inputs on parsers and routes (20 minutes of CPU time)"
	@echo "make check        set up, then ruff, codespell, mypy and bandit"
	@echo "make audit        set up, then check the installed packages for known vulnerabilities (needs the network)"
	@echo "make test-wheel   build a wheel, install it into an empty environment, run its quickstart"
	@echo "make docs         build the documentation as a site, into build/docs; broken links fail"
	@echo "make wheel        build a wheel with compiled kernels for all CPUs of this architecture, into dist"
	@echo "make clean        remove $(VENV)"

quickstart: base
	$(BIN)/luthier quickstart

# ARGS=--write-ring-times also regenerates tests/RINGS.md.
test: base clients
	$(BIN)/python tests/suite.py $(ARGS)

# The ring `fast` of tests/rings.py.
test-fast: setup
	$(BIN)/python tests/suite.py --fast

# Third-party clients, each in its own environment (2 GB in all), run against the server.
test-clients: setup
	$(BIN)/python tests/conformance/fetch.py --other-clients
	$(BIN)/python -m pytest -m clients tests/conformance

# Without what nanio asks of uvicorn: uvloop would be another event loop for all servers of the tests.
s3-server: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps nanio==0.1.7 aiofiles==25.1.0 defusedxml==0.7.1

test-s3: s3-server
	$(BIN)/python -m pytest -m 'postgres or services' tests/store/test_s3.py tests/cluster/test_two_machines.py

# The dashboard in Chromium, which must be installed (Debian: apt-get install chromium fonts-noto-cjk).
test-browser: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(BIN)/python -m pytest -m browser -n 2 --dist loadfile tests/browser

# PostgreSQL must be installed (Debian: apt-get install postgresql); it is started in a temporary folder.
test-postgres: setup
	$(BIN)/python -m pytest --postgres tests/store
	$(BIN)/python -m pytest -m postgres tests/cluster tests/crash

# Ray has an environment of its own (400 MB), on top of $(VENV). As root, with PostgreSQL and iproute2.
RAY := build/ray
test-cluster: s3-server $(RAY)/.installed
	PYTHONPATH=tests $(RAY)/bin/python -m cluster $(ARGS)

$(RAY)/.installed: constraints.txt
	$(BIN)/python -m venv --clear $(RAY)
	$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ray
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> "$$($(RAY)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/luthier.pth"
	@touch $@

# The packages of the trackers go into a folder of their own: they bring what nobody else needs.
TRACKERS := build/trackers
test-trackers: $(TRACKERS)/.installed
	PYTHONPATH=$(CURDIR)/$(TRACKERS) $(BIN)/python -m pytest -m trackers tests/worker/test_tracker_packages.py

$(TRACKERS)/.installed: $(VENV)/.installed
	rm -rf $(TRACKERS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(TRACKERS) -c constraints.txt \
		alembic mlflow-skinny swanlab tensorboard trackio wandb
	@touch $@

# The image of deploy/Dockerfile; as root, minutes, and 8 GB of disk.
test-container: setup
	$(BIN)/python -m pytest -m container -o faulthandler_timeout=0 tests/container

# The kernels for ARM64 (Debian: apt-get install g++-aarch64-linux-gnu qemu-user); a minute.
test-emulation: setup
	$(BIN)/python -m pytest -m emulation tests/emulation

.PHONY: crashtest fuzz

# Another seed draws other requests and other kills: make crashtest ARGS='--seed 2'. With the database on PostgreSQL,
# which is killed, too: make crashtest ARGS='--store postgresql'.
crashtest: setup
	PYTHONPATH=tests $(BIN)/python -m crash $(ARGS)

# One target, or a share of the inputs: make fuzz ARGS='jsonl --inputs 0.1'.
fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

# Needs g++ or clang++; without LUTHIER_BUILD_KERNELS the wheel is pure Python, and kernels are compiled where they run.
wheel: setup
	rm -rf build/lib
	LUTHIER_BUILD_KERNELS=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

# A wheel, installed as a user installs it, passes its own quickstart; takes some ten minutes and 2 GB of disk.
test-wheel: setup
	$(BIN)/python tests/wheel_quickstart.py

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src

# Sends names and versions of what is installed to PyPI's advisory database; not part of any other target.
audit: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9'
	$(BIN)/pip-audit --skip-editable

setup: $(VENV)/.installed

# The base model is fetched and converted once, into a cache outside this folder.
base: setup
	$(BIN)/luthier models pull

# Third-party clients and OpenAI's own tests, for the conformance tests: once, each apart, into the same cache.
clients: setup
	$(BIN)/python tests/conformance/fetch.py

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (PyTorch is large: this takes a minute or more)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Luthier needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV)
