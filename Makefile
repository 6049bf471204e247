# SPDX-License-Identifier: Apache-2.0
# Two commands do everything: `make up` brings a cluster up, `make test` proves the project.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help setup up verify status doctor down demo dashboard test test-full lint unit molecule faults lifecycle test-machines lab lab-down docs lock packages-lock bench findings release clean-cache

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s $$'\t'

setup: ## make the virtual environment, of pinned and verified packages
	@./scripts/setup

up: setup ## a real cluster on Docker hosts of this machine
	@./scripts/deploy.py up

verify: setup ## prove that the cluster works
	@./scripts/deploy.py verify

status: setup ## nodes, pods, certificates
	@./scripts/deploy.py status

dashboard: setup ## where the dashboard is, and how to get in
	@./scripts/deploy.py dashboard

demo: up ## a web service to look at, out of the cluster's own registry
	@./scripts/demo

doctor: setup ## what is wrong, and what would fix it
	@./scripts/deploy.py doctor

down: setup ## remove the cluster and its hosts; FORCE=1 deletes the images of its registry, too
	@./scripts/deploy.py down --yes $(if $(FORCE),--force)

test: setup ## lint, unit tests, then real clusters
	@./tests/run

test-full: setup ## the same and what takes longer
	@./tests/run --full

lint: setup ## ansible-lint, yamllint, ruff, mypy
	@./tests/run lint

unit: setup ## unit tests
	@./tests/run unit

molecule: setup ## the scenarios of Molecule
	@./tests/run molecule

faults: setup ## faults injected into real clusters
	@./tests/run faults

lifecycle: setup ## clusters planned, grown, shrunk, cut off and taken away
	@./tests/run lifecycle

test-machines: setup ## clusters on virtual machines: as installed, and with firewalls, swap, file systems, networks
	@./tests/run machines --full

lab: setup ## run a test and keep its lab: make lab TEST=lifecycle/test_status.py K=silent
	@PATH="$(CURDIR)/.venv/bin:$$PATH" YUNKUBE_KEEP_LAB=1 pytest tests/$(TEST) $(if $(K),-k '$(K)')

lab-down: setup ## remove the labs that `make lab` keeps
	@for lab in "$${XDG_CACHE_HOME:-$$HOME/.cache}"/yunkube/labs/*/; do \
	  [ ! -d "$$lab" ] || { ./scripts/deploy.py down --yes --force -i "$$lab/inventory" && rm -r "$$lab"; }; done

docs: setup ## write what is generated in docs/
	@.venv/bin/python scripts/reference

lock: setup ## lock another patch release of Kubernetes: make lock K8S=1.36.6 [WITH='etcd=3.6.17']
	@.venv/bin/python scripts/lock '$(K8S)' $(WITH)

packages-lock: setup ## pin today's versions of Debian's packages, with their security fixes
	@.venv/bin/python scripts/packages-lock

bench: setup ## measure what the README quotes
	@./bench/run

findings: ## run what surprised us in other people's tools; each says whether it is still so
	@for script in findings/*.sh; do echo "$$script"; $$script || exit 1; done

release: setup ## commit and tag a version: make release VERSION=0.2.0
	@.venv/bin/python scripts/release.py '$(VERSION)'

clean-cache: ## remove everything that was built and fetched
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/yunkube"
