%%% @doc The house is as ARCHITECTURE.md draws it: modules in their rooms, calls going down, the
%%% core of the native library free of Erlang.
-module(layout_tests).
-include_lib("eunit/include/eunit.hrl").

every_module_is_in_a_known_room_test() ->
    Rooms = maps:keys(bct_layout:rooms()),
    Files = files(),
    ?assertNotEqual([], Files),
    Known = fun(File) -> lists:member(bct_layout:room_of_file(File), Rooms) end,
    ?assertEqual([], [File || File <- Files, not Known(File)]),
    Beside = [module(File) || File <- Files, filename:dirname(File) =:= "."],
    ?assertEqual([], Beside -- maps:get("", bct_layout:placed())).

modules_that_users_know_are_in_their_folder_test() ->
    Placed = [{Module, Folder} || {Folder, Modules} <- maps:to_list(bct_layout:placed()),
                                  Module <- Modules],
    Found = [{module(File), folder(File)} || File <- files()],
    Misplaced = [{Module, [{is_in, Is}, {belongs_to, proplists:get_value(Module, Placed)}]}
                 || {Module, Is} <- Found, lists:keymember(Module, 1, Placed),
                    not lists:member({Module, Is}, Placed)],
    ?assertEqual([], Misplaced).

calls_go_down_test_() ->
    {timeout, 60, fun() ->
        Ebin = filename:dirname(code:which(bc_gitops_sup)),
        ?assertEqual([], bct_layout:wrong_calls(Ebin, rooms_of_modules()))
    end}.

%% Room by room the table has no way back up.
the_allowed_directions_have_no_circle_test() ->
    Graph = digraph:new([acyclic]),
    Rooms = bct_layout:rooms(),
    lists:foreach(fun(Room) -> digraph:add_vertex(Graph, Room) end, maps:keys(Rooms)),
    Edges = [digraph:add_edge(Graph, From, To) || {From, Tos} <- maps:to_list(Rooms), To <- Tos],
    ?assertEqual([], [Edge || {error, _} = Edge <- Edges]).

an_injected_wrong_call_is_named_test_() ->
    {timeout, 60, fun() -> bct_dir:with("layout", fun an_injected_wrong_call_is_named/1) end}.

%% A build module that calls the reconciler, one that hands its function on, and one that may do
%% what it does.
an_injected_wrong_call_is_named(Dir) ->
    ok = compile(Dir, bc_gitops_bad_caller, "run() -> bc_gitops_reconciler:reconcile()."),
    ok = compile(Dir, bc_gitops_bad_fun, "run() -> fun bc_gitops_reconciler:reconcile/0."),
    ok = compile(Dir, bc_gitops_good_caller, "run() -> bc_gitops_git:pull(a, b)."),
    Injected = #{bc_gitops_bad_caller => build, bc_gitops_bad_fun => source,
                 bc_gitops_good_caller => build},
    Called = {bc_gitops_reconciler, reconcile, 0},
    ?assertEqual(
        [{build, {bc_gitops_bad_caller, run, 0}, reconcile, Called},
         {source, {bc_gitops_bad_fun, run, 0}, reconcile, Called}],
        bct_layout:wrong_calls(binary_to_list(Dir), maps:merge(rooms_of_modules(), Injected))).

core_crate_knows_nothing_of_erlang_test() ->
    Core = bct_layout:rust_dependencies("bc_gitops_core"),
    ?assert(lists:member("git2", Core)),
    ?assertEqual([], [Crate || Crate <- Core, string:prefix(Crate, "rustler") =/= nomatch]),
    %% that the same question finds it where it is
    ?assert(lists:member("rustler", bct_layout:rust_dependencies("bc_gitops_nif"))).

only_the_core_decides_test() ->
    Files = bct_layout:sources("native/core/src/**/*.rs"),
    ?assertEqual([], [File || File <- Files, mentions(File, "rustler::")]).

rooms_of_modules() ->
    maps:from_list([{module(File), bct_layout:room_of_file(File)} || File <- files()]).

files() -> filelib:wildcard("**/*.erl", filename:join(bct_layout:root(), "erlang")).

module(File) -> list_to_atom(filename:basename(File, ".erl")).

folder(File) ->
    case filename:dirname(File) of
        "." -> "";
        Folder -> Folder
    end.

lines(File) ->
    {ok, Text} = file:read_file(filename:join(bct_layout:root(), File)),
    binary:split(Text, <<"\n">>, [global, trim]).

mentions(File, Word) ->
    lists:any(fun(Line) -> string:find(Line, Word) =/= nomatch end, lines(File)).

compile(Dir, Module, Body) ->
    Source = io_lib:format("-module(~s).~n-export([run/0]).~n~s~n", [Module, Body]),
    File = filename:join(binary_to_list(Dir), atom_to_list(Module) ++ ".erl"),
    ok = file:write_file(File, Source),
    {ok, Module} = compile:file(File, [debug_info, {outdir, binary_to_list(Dir)}]),
    ok.
