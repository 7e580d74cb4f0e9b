# The one door. `make` alone lists what is behind it.
#
# Every step says one line when it succeeds and everything when it fails (scripts/quietly).

export CARGO_TERM_COLOR = never
export LANG = C.UTF-8
quietly = scripts/quietly
libs = _build/rebar3/default/lib
# Those in which a reading is the matter; the others hold as well, and test nothing new there.
comma = ,
space = $(subst ,, )
over_port = $(subst $(space),$(comma),$(strip $(foreach suite,counts kinds list holders faults registry acceptors monitor,test/accept_queue_$(suite)_SUITE)))

.DEFAULT_GOAL := help
.PHONY: help setup build demo check test matrix servers load fuzz memcheck bench docs release deb fmt clean
SECONDS ?= 300
MINUTES ?= 10

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## install Erlang, rebar3, Elixir, Rust and what the tests take where they are missing, or say the one command that does
	@scripts/setup

.PHONY: tools
tools:
	@scripts/setup building

build: ## the NIF, the program and the Erlang application, under _build/rebar3
	@$(quietly) "build" rebar3 compile

demo: tools build ## the experiment of 2009 on real sockets; about 20 s
	@ERL_LIBS=$(libs) escript examples/experiment_2009.escript

check: ## what must hold before each commit; no sockets, fast
	@$(quietly) "cargo fmt" cargo fmt --all --check
	@$(quietly) "cargo clippy" cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
	@$(quietly) "cargo test" cargo test --quiet --workspace --locked
	@$(quietly) "xref" rebar3 xref
	@$(quietly) "dialyzer" rebar3 dialyzer
	@$(quietly) "eunit" rebar3 eunit

test: setup check ## everything, on real sockets
	@$(quietly) "NIFs that panic and hang" cargo build --quiet --release --locked --package panicking-nif --package hanging-nif
	@$(quietly) "components" test/components
	@$(quietly) "program" cargo test --quiet --locked --package accept-queue-cli -- --ignored
	@$(quietly) "common test" env ACCEPT_QUEUE_LOAD_SECONDS=20 rebar3 ct
	@# What compiles in a clone of its own does so meanwhile.
	@$(quietly) "packaging" test/packaging & packaging=$$!; \
		$(quietly) "the same over the port program" env ACCEPT_QUEUE_SOURCE=port rebar3 ct --suite $(over_port) && \
		$(quietly) "exunit" mix test && \
		$(quietly) "edoc" rebar3 edoc && \
		$(quietly) "what the documents show" test/docs; rest=$$?; \
		wait $$packaging && exit $$rest

matrix: setup build ## the suites on OTP 27 and 29, in roots of other Debian releases; about 8 min
	@$(quietly) "what the suites need" sh -c "cargo build --quiet --release --locked --package panicking-nif --package hanging-nif && \
		cargo build --quiet --locked --package accept-queue-core --example without_sock_diag"
	@$(quietly) "OTP 27 (trixie)" test/roots trixie 27
	@$(quietly) "OTP 29 (forky)" test/roots forky 29
	@$(quietly) "hex package" test/hex_package

servers: setup build ## RabbitMQ, ejabberd, yaws and cowboy out of Debian's packages, on loopback; about 2 min
	@test/servers

load: setup build ## a hundred listeners whose pools stall under load, for MINUTES=10, and a minute of calls; the figures in _build/load
	@$(quietly) "calls" rebar3 ct --suite test/accept_queue_load_SUITE,test/accept_queue_registry_SUITE
	@$(quietly) "load" env ACCEPT_QUEUE_STALLS_MINUTES=$(MINUTES) rebar3 ct --suite test/accept_queue_stalls_SUITE \
		--case every_stall_is_reported_once_and_nothing_else_is
	@cat _build/load/stalls.md

fuzz: setup ## each parser of outside bytes under libFuzzer for SECONDS=300
	@native/fuzz/run $(SECONDS)

memcheck: setup build ## the NIFs under valgrind, and a million of all that they make; several minutes
	@test/memcheck

bench: setup build ## what it costs, as ratios within one run; about 12 min, or PARTS="readings calls"
	@bench/run $(PARTS)

docs: setup ## the documentation of the modules, by EDoc into _build/doc; what ExDoc wants is in mix.exs
	@$(quietly) "edoc" rebar3 edoc
	@echo "_build/doc/index.html"

release: setup ## library and program for this platform in one archive, with checksums, in _build/release
	@scripts/release

deb: setup ## the program as a Debian package, in _build/release
	@scripts/deb

fmt: ## format the Rust sources
	@cargo fmt --all

clean: ## remove everything that was built
	@rm -rf _build target priv
