# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later

PYTHON ?= python3
DEFAULT_CORE := 2.19
CORE ?= $(DEFAULT_CORE)
INVENTORY ?=
EXTRA ?=
REQUIRE_ALL ?=

# Everything made lies in the virtual environment of a core, in .cache or in dist.
VENV := .venv$(if $(filter-out $(DEFAULT_CORE),$(CORE)),-$(CORE))
BIN := $(VENV)/bin
READY := $(VENV)/ready
TREE := .cache/tree/ansible_collections/bulwark/node
SRC := .cache/src/ansible_collections/bulwark/node

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory --warn-undefined-variables
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
# Ansible wants UTF-8; comm wants the order in which sort put its input.
export LC_ALL := C.UTF-8
# What bash's `time` prints after a step.
export TIMEFORMAT := --- %1R s
# The tools find one another, and ansible-test shellcheck, in the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# pip would compile all that it installs, and Python compiles what it imports: a tenth of it. sanity.py hands it on to ansible-test's pip.
export PIP_COMPILE := 0
# Away from ~/.ansible, where another bulwark.node may be installed.
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "CORE=2.16 takes another ansible-core than $(DEFAULT_CORE), PYTHON=python3.12 another Python; REQUIRE_ALL=1 lets no test be skipped."

.PHONY: venv
venv: $(READY) ## make .venv: ansible-core, the tools, and this checkout as bulwark.node

# Ansible and pytest find the checkout under its import name in the environment.
$(READY): requirements.txt tests/requirements.txt
	test -x $(BIN)/pip || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	time $(BIN)/pip install --quiet 'ansible-core~=$(CORE).0' $(^:%=-r %)
	$(call link,$(BIN))
	touch $@

# This checkout, as Python finds it in the environment whose programs are in the folder $(1).
link = site=$$($(1)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ansible_collections/bulwark && \
	mkdir -p $$site && ln -sfn '$(CURDIR)' $$site/node

# On this machine the modules run on the environment's own Python: it is there, and it starts,
# which the first python3.x in PATH (a shim, say) need not.
THIS_MACHINE := -i localhost, -c local -e 'ansible_python_interpreter={{ ansible_playbook_python }}'
# This machine is ours to try out; a fleet is only looked at, unless PROBE=active says otherwise.
PROBE ?= $(if $(INVENTORY),passive,active)
.PHONY: audit
audit: $(READY) ## audit this machine, trying it out (PROBE=passive: only looking); a fleet: INVENTORY=hosts.ini EXTRA='-l web'
	@ansible-playbook bulwark.node.audit $(if $(INVENTORY),-i '$(INVENTORY)',$(THIS_MACHINE)) -e audit_probe='$(PROBE)' $(EXTRA)

.PHONY: check
check: lint unit ## what to run before each commit: lint and unit tests

.PHONY: test
test: packages check sanity $(if $(filter 1,$(REQUIRE_ALL)),integration-and-more,integration) ## everything: check, sanity and integration; with REQUIRE_ALL=1 also browser, test-vm and the gates

# Tests on machines wait most of the time, for boots and timers; the gates compute meanwhile. What runs beside is shown when it is done.
.PHONY: integration-and-more
integration-and-more: $(READY)
	@mkdir -p .cache; status=0; \
	$(MAKE) --keep-going browser test-vm gates >.cache/beside.log 2>&1 & beside=$$!; \
	$(MAKE) integration || status=$$?; \
	wait $$beside || status=$$?; \
	cat .cache/beside.log; exit $$status

# mypy looks for no sources in the environment, hence the link; antsibull-docs logs to the home.
.PHONY: lint
lint: $(READY) ## style, types, documentation, changelog, licences
	time ruff check --quiet .
	time ruff format --quiet --diff .
	time vermin --quiet --no-tips --violations --target=3.9- plugins/modules plugins/module_utils
	mkdir -p .cache/home $(dir $(SRC)) && ln -sfn '$(CURDIR)' $(SRC)
	time mypy -p ansible_collections.bulwark.node.plugins -p ansible_collections.bulwark.node.tests
	time yamllint --strict .
	time ANSIBLE_HOME='$(CURDIR)/.cache/ansible-lint' ansible-lint -q
	time HOME='$(CURDIR)/.cache/home' antsibull-docs lint-collection-docs --plugin-docs .
	time antsibull-changelog lint
	time reuse lint --quiet

.PHONY: generate
generate: $(READY) ## write what is made of the modules' and roles' documentation: settings.py, roles/*/README.md and more
	python tests/tools/generate.py

# Parts of the unit tests to leave out.
APART ?=
.PHONY: unit
unit: $(READY) ## unit tests
	pytest --quiet --numprocesses auto $(APART:%=--ignore=%) tests/test_collection.py tests/unit

.PHONY: sanity
sanity: $(READY) tree ## ansible-test sanity, every test, nothing ignored
	cd $(TREE) && python tests/tools/sanity.py '$(CURDIR)/.cache/home'

.PHONY: integration
integration: $(READY) ## the modules and playbooks on this machine's own kernel
	pytest --quiet tests/integration

.PHONY: test-vm
test-vm: $(READY) ## true reboots and a new kernel, on an emulated machine with GRUB (REQUIRE_ALL=1, root)
	time pytest --quiet tests/vm

.PHONY: browser
browser: $(READY) ## report.html in Chromium; pictures of it in .cache/screenshots
	time pytest --quiet tests/browser

.PHONY: picture
picture: $(READY) ## take the picture of report.html that is in the README
	python tests/tools/picture.py

# The cores that `make` does not take itself; 2.16 is the oldest that meta/runtime.yml allows.
OTHER_CORES := $(filter-out $(CORE),2.16 2.18 $(DEFAULT_CORE))
.PHONY: gates $(OTHER_CORES:%=core-%) core-newest
gates: artifact kubernetes-oldest peers $(OTHER_CORES:%=core-%) core-newest ## what a release takes: the tarball, galaxy-importer, each ansible-core
# What imports nothing of Ansible's is the same on each core; the newest, on another Python, has it all.
# Of ansible-test sanity 2.18 has the tests that the default core has, and no other.
THE_SAME := tests/unit/plugins/module_utils/node tests/unit/fakes tests/unit/tools \
	$(filter-out %/test_prometheus.py,$(wildcard tests/unit/plugins/module_utils/reboot/test_*.py)) \
	$(filter-out %/test_credentials.py,$(wildcard tests/unit/plugins/module_utils/gcp/test_*.py))
$(OTHER_CORES:%=core-%): core-%:
	time $(MAKE) CORE=$* APART='$(THE_SAME)' unit $(if $(filter-out 2.18,$*),sanity)

core-newest: $(READY) tree
	time tests/tools/newest.sh $(TREE) $(CURDIR)/$(BIN)/python

# The environment of the tests has the newest package kubernetes, this one the oldest that requirements.txt allows,
# with the urllib3 1 that distributions have beside it (Debian 12, Ubuntu 22.04, EL 9).
.PHONY: kubernetes-oldest
kubernetes-oldest: .venv-kubernetes/ready
	time .venv-kubernetes/bin/pytest --quiet tests/unit/plugins/module_utils/kube

.venv-kubernetes/ready: requirements.txt
	test -x $(@D)/bin/pip || { rm -rf $(@D); $(PYTHON) -m venv $(@D); }
	time $(@D)/bin/pip install --quiet 'ansible-core~=$(DEFAULT_CORE).0' cryptography hypothesis pytest 'urllib3<2' \
		"$$(sed -n 's/^kubernetes>=\(.*\)/kubernetes==\1.*/p' requirements.txt)"
	$(call link,$(@D)/bin)
	touch $@

.PHONY: artifact
artifact: build .venv-importer/ready
	pytest --quiet tests/gates

.venv-importer/ready:
	test -x $(@D)/bin/pip || { rm -rf $(@D); $(PYTHON) -m venv $(@D); }
	time $(@D)/bin/pip install --quiet 'galaxy-importer>=0.4.44'
	touch $@

.PHONY: bench
bench: $(READY) .venv-peers/ready ## what facts, settings, the report's page, a drain, a plan and a fleet cost, beside ping, setup and the peers
	python tests/bench/node_facts.py
	python tests/bench/settings.py .venv-peers/bin
	python tests/bench/report.py
	python tests/bench/node_drain.py .venv-peers/bin
	python tests/bench/reboot_plan.py
	python tests/bench/scale.py

.PHONY: peers
peers: $(READY) .venv-peers/ready ## what others' modules do on the same input, and ours does not
	time pytest --quiet tests/peers

# The package ansible whose core is ours, with the collections that people take today.
.venv-peers/ready:
	test -x $(@D)/bin/pip || { rm -rf $(@D); $(PYTHON) -m venv $(@D); }
	time $(@D)/bin/pip install --quiet 'ansible~=12.0' 'ansible-core~=$(DEFAULT_CORE).0'
	touch $@

.PHONY: packages
packages: $(READY)
	tests/tools/ensure-packages.sh

# ansible-test refuses a link, so the files that git knows or would add are copied. It asks git
# for their names, and to ours all of .cache is ignored: the copy is a repository of its own.
.PHONY: tree
tree:
	rm -rf $(TREE)
	mkdir -p $(TREE)
	comm -z -23 <(git ls-files -coz --exclude-standard | sort -z) <(git ls-files -dz | sort -z) | tar -c --null -T - | tar -x -C $(TREE)
	git init --quiet $(TREE)

.PHONY: build
build: $(READY) tree ## build the collection's tarball in dist/
	ansible-galaxy collection build --force --output-path dist $(TREE)

.PHONY: clean
clean: ## remove everything made, but for the reports of audits
	rm -rf .venv .venv-* .cache dist
