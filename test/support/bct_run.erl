%%% @doc Runs tests that are compiled already, for tools/gate.sh: one VM for each suite, so that suites
%%% run side by side. Says what it ran in the words of rebar3 and ends the VM.
%%%
%%%     erl -run bct_run suite git_SUITE LOG_DIRECTORY
%%%     erl -run bct_run eunit
-module(bct_run).
-export([suite/1, eunit/0]).
%% a hook of common test
-export([init/2, on_tc_fail/4, on_tc_skip/4]).

-define(PATIENCE, 600).

%% @doc One suite of common test; its pages are in the directory.
suite([Suite, Logs]) ->
    ok = filelib:ensure_path(Logs),
    case ct:run_test([{dir, beams()}, {suite, Suite}, {logdir, Logs}, {auto_compile, false},
                      {ct_hooks, [?MODULE]}]) of
        {Passed, 0, {0, 0}} ->
            ended(0, "All ~b tests passed.~n", [Passed]);
        {Passed, Failed, {ByUser, Auto}} ->
            ended(1, "Failed ~b tests. Skipped ~b (~b, ~b) tests. Passed ~b tests.~nPages: ~ts~n",
                  [Failed, ByUser + Auto, ByUser, Auto, Passed, filename:join(Logs, "index.html")]);
        {error, Reason} ->
            ended(1, "~ts cannot run: ~tp~n", [Suite, Reason])
    end.

%% @private
init(_Id, _Options) ->
    {ok, none}.

%% @private Common test itself shows the beginning of a reason.
on_tc_fail(Suite, Case, Reason, State) ->
    io:format(user, "~n~p:~p failed:~n~tp~n", [Suite, Case, Reason]),
    State.

%% @private
on_tc_skip(Suite, Case, Reason, State) ->
    io:format(user, "~n~p:~p skipped:~n~tp~n", [Suite, Case, Reason]),
    State.

%% @doc All modules of EUnit, each in a process of its own: what one leaves in it meets no other.
eunit() ->
    Files = filelib:wildcard("*_tests.beam", beams()),
    Modules = [list_to_atom(filename:basename(File, ".beam")) || File <- Files],
    case eunit:test([{spawn, {atom_to_list(Module), tests(Module)}} || Module <- Modules], [verbose]) of
        ok -> ended(0, "", []);
        error -> ended(1, "", [])
    end.

%% EUnit gives a test five seconds, which is little on a machine that does much else.
tests(Module) ->
    lists:append([test(Module, Function, lists:reverse(atom_to_list(Function)))
                  || {Function, 0} <- Module:module_info(exports)]).

test(Module, Function, "tset_" ++ _) -> [{timeout, ?PATIENCE, {Module, Function}}];
test(Module, Function, "_tset_" ++ _) -> [{generator, Module, Function}];
test(_Module, _Function, _Name) -> [].

beams() ->
    filename:dirname(code:which(?MODULE)).

ended(Status, Format, Args) ->
    io:format(Format, Args),
    halt(Status).
