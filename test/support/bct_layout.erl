%%% @doc The rooms of the house, and who may call whom. `layout_tests' holds the code to it.
-module(bct_layout).
-export([rooms/0, placed/0, room_of_file/1, wrong_calls/2, root/0, sources/1, rust_dependencies/1]).

%% @doc A room is a folder of erlang/; the modules that stand beside the folders are rooms by name.
%% Calls go down: a room may call those listed, and its own modules. Nothing else may be called.
rooms() ->
    Everybody = [native, config, identicon, observe],
    #{
        api => [reconcile, source, build, runtime, cluster, health, release | Everybody],
        reconcile => [source, build, runtime, cluster, health, release | Everybody],
        release => [build, runtime, health | Everybody],
        runtime => [build, cluster, health | Everybody],
        build => [source | Everybody],
        source => Everybody,
        cluster => Everybody,
        health => Everybody,
        config => [native],
        identicon => [native],
        observe => [],
        native => []
    }.

%% @doc Where each module is that users call or that stands beside the folders. What else there is
%% belongs to the room in whose folder it is.
placed() ->
    #{
        "" => [bc_gitops, bc_gitops_app, bc_gitops_sup, bc_gitops_config, bc_gitops_native,
               bc_gitops_identicon],
        "reconcile" => [bc_gitops_reconciler, bc_gitops_cycle, bc_gitops_managed_app,
                        bc_gitops_managed_sup, bc_gitops_state, bc_gitops_registry],
        "source" => [bc_gitops_git, bc_gitops_parser, bc_gitops_source_watch],
        "build" => [bc_gitops_workspace, bc_gitops_command],
        "runtime" => [bc_gitops_runtime, bc_gitops_runtime_default, bc_gitops_runtime_isolated,
                      bc_gitops_vm_spawner, bc_gitops_hot_reload],
        "cluster" => [bc_gitops_cluster],
        "health" => [bc_gitops_health],
        "release" => [],
        "observe" => [bc_gitops_telemetry]
    }.

%% @doc The room of a source file, given from erlang/ on.
room_of_file(File) ->
    case {filename:dirname(File), filename:basename(File, ".erl")} of
        {".", "bc_gitops_config"} -> config;
        {".", "bc_gitops_native"} -> native;
        {".", "bc_gitops_identicon"} -> identicon;
        {".", _} -> api;
        {Folder, _} -> list_to_atom(Folder)
    end.

%% @doc The calls against the direction in the beam files of Dir, as
%% `{CallerRoom, Caller :: mfa(), CalledRoom, Called :: mfa()}'. RoomOf maps modules to rooms.
wrong_calls(Dir, RoomOf) ->
    {ok, Server} = xref:start([{xref_mode, functions}]),
    try
        ok = xref:set_default(Server, [{verbose, false}, {warnings, false}]),
        {ok, _Modules} = xref:add_directory(Server, Dir),
        {ok, Calls} = xref:q(Server, "XC"),
        lists:usort(lists:flatmap(fun(Call) -> wrong_call(Call, RoomOf) end, Calls))
    after
        xref:stop(Server)
    end.

wrong_call({{From, _, _} = Caller, {To, _, _} = Called}, RoomOf) ->
    case {RoomOf, RoomOf} of
        {#{From := Room}, #{To := Room}} -> [];
        {#{From := FromRoom}, #{To := ToRoom}} ->
            Allowed = lists:member(ToRoom, maps:get(FromRoom, rooms(), [])),
            [{FromRoom, Caller, ToRoom, Called} || not Allowed];
        _ -> []
    end.

%% @doc Every crate that a crate of Cargo.lock needs, itself not counted.
rust_dependencies(Crate) ->
    {ok, Lock} = file:read_file(filename:join(root(), "Cargo.lock")),
    [_ | Packages] = binary:split(Lock, <<"[[package]]">>, [global]),
    Graph = maps:from_list([{field(Package), needs(Package)} || Package <- Packages]),
    lists:delete(Crate, reach([Crate], Graph, [])).

field(Package) ->
    {match, [Name]} = re:run(Package, "name = \"([^\"]+)\"", [{capture, all_but_first, list}]),
    Name.

needs(Package) ->
    case re:run(Package, "dependencies = \\[([^\\]]*)\\]", [{capture, all_but_first, list}]) of
        {match, [List]} -> [hd(string:lexemes(Need, " \"")) || Need <- string:lexemes(List, ",\n"),
                                                                string:trim(Need) =/= ""];
        nomatch -> []
    end.

reach([], _Graph, Seen) -> Seen;
reach([Crate | Rest], Graph, Seen) ->
    case lists:member(Crate, Seen) of
        true -> reach(Rest, Graph, Seen);
        false -> reach(maps:get(Crate, Graph, []) ++ Rest, Graph, [Crate | Seen])
    end.

%% @doc The files of a pattern, given from the project's root on.
sources(Pattern) ->
    filelib:wildcard(Pattern, root()).

%% @doc The project's root: tests run from below _build.
root() ->
    root(filename:dirname(filename:absname(code:which(?MODULE)))).

root(Dir) ->
    case filelib:is_regular(filename:join(Dir, "Cargo.lock")) of
        true -> Dir;
        false when Dir =/= "/" -> root(filename:dirname(Dir))
    end.
