# This is not the real erlang.mk: that is one large file which projects download from
# https://erlang.mk and commit. This small stand-in offers the same `make app` (sources in src/,
# modules and the .app file in ebin/) so that the sample needs nothing from the network.
# In a project of your own put the real file here; the Makefile stays as it is.

ERLC ?= erlc
ERLC_OPTS ?= +debug_info +warnings_as_errors
SOURCES := $(sort $(wildcard src/*.erl))
MODULES := $(patsubst src/%.erl,%,$(SOURCES))
BEAMS := $(patsubst %,ebin/%.beam,$(MODULES))

empty :=
space := $(empty) $(empty)
comma := ,

.PHONY: all app clean

all: app

app: ebin/$(PROJECT).app

# The list of modules is filled in, as the real one does.
ebin/$(PROJECT).app: src/$(PROJECT).app.src $(BEAMS)
	@sed 's/{modules, *\[\]}/{modules, [$(subst $(space),$(comma),$(MODULES))]}/' $< > $@.new
	@mv $@.new $@

ebin/%.beam: src/%.erl | ebin
	@echo " ERLC   $(notdir $<)"
	@$(ERLC) $(ERLC_OPTS) -I include -o ebin $<

ebin:
	@mkdir -p $@

clean:
	@rm -rf ebin
