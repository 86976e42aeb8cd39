-module(bc_gitops_scratch_tests).
-include_lib("eunit/include/eunit.hrl").

in_workspace(Fun) ->
    InDir = fun(Dir) -> Fun(filename:join(Dir, "workspace")) end,
    {timeout, 60, fun() -> bct_dir:with("scratch", InDir) end}.

scratch_test_() ->
    [{Name, in_workspace(Fun)} || {Name, Fun} <- [
        {"a workspace is private", fun private/1},
        {"what this VM made is left alone", fun own/1},
        {"a dead VM's is removed", fun dead/1},
        {"a process id that was given anew is another VM", fun reused/1},
        {"what cannot be judged lives while it beats", fun foreign/1},
        {"without owner it has its time", fun nameless/1}
    ]].

open(Workspace) ->
    {ok, Dir} = bc_gitops_scratch:open(Workspace),
    {ok, Build} = bc_gitops_scratch:new(Dir),
    ok = file:write_file(filename:join(Build, "file"), "x"),
    Dir.

owner(Dir, Owner) ->
    ok = file:write_file(filename:join(Dir, "owner"), io_lib:format("~p.~n", [Owner])).

private(Workspace) ->
    _ = open(Workspace),
    {ok, Info} = file:read_file_info(Workspace),
    ?assertEqual(8#700, element(8, Info) band 8#777).

own(Workspace) ->
    Dir = open(Workspace),
    Second = open(Workspace),
    ?assertNotEqual(Dir, Second),
    ok = bc_gitops_scratch:reap_dead(Workspace),
    ?assert(filelib:is_dir(Dir)).

dead(Workspace) ->
    Dir = open(Workspace),
    owner(Dir, (bc_gitops_scratch:own_process())#{os_pid := <<"4194303">>}),
    ok = bc_gitops_scratch:reap_dead(Workspace),
    ?assertNot(filelib:is_dir(Dir)).

reused(Workspace) ->
    Dir = open(Workspace),
    owner(Dir, (bc_gitops_scratch:own_process())#{started := <<"1">>}),
    ok = bc_gitops_scratch:reap_dead(Workspace),
    ?assertNot(filelib:is_dir(Dir)).

foreign(Workspace) ->
    Dir = open(Workspace),
    owner(Dir, (bc_gitops_scratch:own_process())#{space := <<"another machine">>}),
    ok = bc_gitops_scratch:reap_dead(Workspace),
    ?assert(filelib:is_dir(Dir)),
    ok = bc_gitops_scratch:beat(Dir),
    ok = file:change_time(filename:join(Dir, "owner"), {{2020, 1, 1}, {0, 0, 0}}),
    ok = bc_gitops_scratch:reap_dead(Workspace),
    ?assertNot(filelib:is_dir(Dir)).

nameless(Workspace) ->
    Dir = open(Workspace),
    ok = file:write_file(filename:join(Dir, "owner"), "#{half"),
    ok = bc_gitops_scratch:reap_dead(Workspace),
    ?assert(filelib:is_dir(Dir)),
    ok = file:change_time(Dir, {{2020, 1, 1}, {0, 0, 0}}),
    ok = bc_gitops_scratch:reap_dead(Workspace),
    ?assertNot(filelib:is_dir(Dir)).
